//! Deleting what is old: one batch of sessions a commit, so that a host's commits wait shortly.
//!
//! Invariants: a session goes whole, with its snapshot and the payloads that nothing else uses;
//! a key that is kept takes its result along; a session that somebody holds, that has an open
//! intent, or that is not over, stays.

use rusqlite::params;
use stoplog_journal::{ActKeyState, Pruned, Retention};

use super::read;
use super::write::Transaction;

/// Pages that one step gives back to the disk at most: 4 MiB, a fraction of a second of writing.
const VACUUM_PAGES: u32 = 1000;

/// Deletes one batch.
pub(super) fn step(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<Pruned> {
    let mut pruned = Pruned::default();
    for session in prunable(t, retention)? {
        pruned.sessions += 1;
        pruned.events += delete(t, &session, retention, &mut pruned.keys)?;
    }
    if pruned.sessions == 0 {
        pruned.keys += delete_kept(t, retention)?;
    }
    if !pruned.is_nothing() {
        let pragma = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        t.c.execute_batch(&pragma)?;
    }
    Ok(pruned)
}

/// Sessions that may go, the oldest first.
fn prunable(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<Vec<String>> {
    let mut statement = t.c.prepare_cached(
        "SELECT session_id FROM (
             SELECT session_id, updated_at_ms, lease_holder, lease_expires_ms FROM sessions
             WHERE status IN ('ended', 'failed') AND last_seq > 0
             ORDER BY updated_at_ms DESC, session_id DESC LIMIT -1 OFFSET ?2) listed
         WHERE updated_at_ms < ?1
           AND (lease_holder IS NULL OR lease_expires_ms <= ?3)
           AND NOT EXISTS (SELECT 1 FROM open_intents o WHERE o.session_id = listed.session_id)
         ORDER BY updated_at_ms, session_id LIMIT ?4",
    )?;
    let names = statement.query_map(
        params![
            retention.sessions_before_ms,
            retention.keep_latest,
            retention.now_ms,
            retention.batch
        ],
        |r| r.get(0),
    )?;
    names.collect()
}

/// Deletes a session. Gives the number of its events.
fn delete(
    t: &Transaction<'_>,
    session: &str,
    retention: &Retention,
    keys: &mut u64,
) -> rusqlite::Result<u64> {
    for mut act in read::act_keys_of(t.c, session)? {
        if act.at_ms < retention.keys_before_ms[usize::from(act.class.min(4))] {
            t.delete_act_key(&act.scope, &act.key)?;
            *keys += 1;
            continue;
        }
        act.kept = match act.state {
            ActKeyState::Done => body(t, session, act.seq)?,
            ActKeyState::InFlight => None,
        };
        t.put_act_key(&act)?;
    }
    let payloads = payloads_of(t, session)?;
    let events =
        t.c.prepare_cached("DELETE FROM events WHERE session_id = ?1")?
            .execute([session])?;
    for digest in payloads {
        t.c.prepare_cached(
            "DELETE FROM payloads WHERE digest = ?1
             AND NOT EXISTS (SELECT 1 FROM events WHERE payload = ?1)",
        )?
        .execute([digest])?;
    }
    for sql in [
        "DELETE FROM snapshots WHERE session_id = ?1",
        "DELETE FROM sessions WHERE session_id = ?1",
    ] {
        t.c.prepare_cached(sql)?.execute([session])?;
    }
    Ok(events as u64)
}

fn body(t: &Transaction<'_>, session: &str, seq: u64) -> rusqlite::Result<Option<String>> {
    let mut statement = t.c.prepare_cached(
        "SELECT coalesce(e.body, p.body) FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE e.session_id = ?1 AND e.seq = ?2",
    )?;
    let mut rows = statement.query(params![session, seq])?;
    rows.next()?.map(|r| r.get(0)).transpose()
}

fn payloads_of(t: &Transaction<'_>, session: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = t.c.prepare_cached(
        "SELECT DISTINCT payload FROM events WHERE session_id = ?1 AND payload IS NOT NULL",
    )?;
    let rows = statement.query_map([session], |r| r.get(0))?;
    rows.collect()
}

/// Deletes keys that outlived their session, and now their own time.
fn delete_kept(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<u64> {
    let newest = retention.keys_before_ms.iter().copied().max().unwrap_or(0);
    let mut deleted = 0;
    for act in read::kept_act_keys(t.c, newest, retention.batch)? {
        if act.at_ms < retention.keys_before_ms[usize::from(act.class.min(4))] {
            t.delete_act_key(&act.scope, &act.key)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
