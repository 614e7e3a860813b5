//! Deleting what is old: one batch of sessions a commit, so that a host's commits wait shortly.
//!
//! Invariants: a session goes whole, with its snapshot and the payloads that nothing else uses;
//! a key that is kept takes its result along; a session that somebody holds, that has an open
//! intent, or that is not over, stays.

use rusqlite::{Connection, OptionalExtension, named_params, params};
use stoplog_journal::{ActKeyState, Pruned, Retention};

use super::connection::FORMAT;
use super::write::Transaction;
use super::{feed, read};

/// Pages that one step gives back to the disk at most: 4 MiB, a fraction of a second of writing.
const VACUUM_PAGES: u32 = 1000;

/// Deletes one batch.
pub(super) fn step(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<Pruned> {
    let mut pruned = Pruned::default();
    let highest = feed::highest(t.c)?;
    for session in prunable(t, retention)? {
        pruned.sessions += 1;
        pruned.events += delete(t, &session, retention, &mut pruned.keys)?;
    }
    if feed::highest(t.c)? < highest {
        feed::note_highest(t.c, highest)?;
    }
    if pruned.sessions == 0 {
        pruned.keys += delete_kept(t, retention)?;
    }
    if !pruned.is_nothing() {
        give_back(t.c, VACUUM_PAGES)?;
    }
    Ok(pruned)
}

/// Gives free pages back to the disk, so many at most.
pub(super) fn give_back(c: &Connection, pages: u32) -> rusqlite::Result<()> {
    // One row a page: whoever takes only the first step gives one page back.
    let mut statement = c.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Over, old, not held, nothing in doubt, and not of the latest: by the index `sessions_over`.
const PRUNABLE: &str = "FROM sessions AS s
    WHERE s.status IN ('ended', 'failed') AND s.last_seq > 0
      AND s.updated_at_ms < :before
      AND (s.updated_at_ms, s.session_id) <= (:latest_ms, :latest_name)
      AND (s.lease_holder IS NULL OR s.lease_expires_ms <= :now)
      AND NOT EXISTS (SELECT 1 FROM open_intents AS o WHERE o.session_id = s.session_id)";

const LATEST: &str = "SELECT s.updated_at_ms, s.session_id FROM sessions AS s
    WHERE s.status IN ('ended', 'failed') AND s.last_seq > 0
    ORDER BY s.updated_at_ms DESC, s.session_id DESC LIMIT 1 OFFSET :keep_latest";

/// The latest session that is not among those that stay for being the latest; none if all are.
fn latest(c: &Connection, retention: &Retention) -> rusqlite::Result<Option<(i64, String)>> {
    if retention.keep_latest == 0 {
        return Ok(Some((i64::MAX, String::new())));
    }
    c.prepare_cached(LATEST)?
        .query_row([retention.keep_latest], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()
}

fn oldest() -> String {
    format!("SELECT s.session_id {PRUNABLE} ORDER BY s.updated_at_ms, s.session_id LIMIT :batch")
}

#[cfg(test)]
pub(super) fn queries() -> [String; 2] {
    [LATEST.to_owned(), oldest()]
}

/// Sessions that may go, the oldest first.
fn prunable(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<Vec<String>> {
    let Some((latest_ms, latest_name)) = latest(t.c, retention)? else {
        return Ok(Vec::new());
    };
    let mut statement = t.c.prepare_cached(&oldest())?;
    let names = statement.query_map(
        named_params! {
            ":before": retention.sessions_before_ms,
            ":latest_ms": latest_ms,
            ":latest_name": latest_name,
            ":now": retention.now_ms,
            ":batch": retention.batch,
        },
        |r| r.get(0),
    )?;
    names.collect()
}

/// What pruning would delete, without deleting it. Keys of a file of an older format are not
/// counted.
pub(super) fn count(
    c: &Connection,
    format: u32,
    retention: &Retention,
) -> rusqlite::Result<Pruned> {
    let transaction = c.unchecked_transaction()?;
    let c = &*transaction;
    let mut counted = Pruned::default();
    let (latest_ms, latest_name) = latest(c, retention)?.unwrap_or((i64::MIN, String::new()));
    let common = named_params! {
        ":before": retention.sessions_before_ms,
        ":latest_ms": latest_ms,
        ":latest_name": latest_name,
        ":now": retention.now_ms,
    };
    let sql = format!("SELECT count(*), coalesce(sum(s.last_seq), 0) {PRUNABLE}");
    (counted.sessions, counted.events) =
        c.query_row(&sql, common, |r| Ok((r.get(0)?, r.get(1)?)))?;
    if format < 3 {
        return Ok(counted);
    }
    let sql = format!(
        "SELECT class, at_ms FROM act_keys
         WHERE kept IS NOT NULL OR session IN (SELECT s.id {PRUNABLE})"
    );
    let mut statement = c.prepare(&sql)?;
    let mut rows = statement.query(common)?;
    while let Some(row) = rows.next()? {
        let (class, at_ms): (u8, u64) = (row.get(0)?, row.get(1)?);
        counted.keys += u64::from(is_outdated(class, at_ms, retention));
    }
    Ok(counted)
}

fn is_outdated(class: u8, at_ms: u64, retention: &Retention) -> bool {
    at_ms < retention.keys_before_ms[usize::from(class.min(4))]
}

/// Deletes a session. Gives the number of its events.
fn delete(
    t: &Transaction<'_>,
    name: &str,
    retention: &Retention,
    keys: &mut u64,
) -> rusqlite::Result<u64> {
    let session: i64 =
        t.c.prepare_cached("SELECT id FROM sessions WHERE session_id = ?1")?
            .query_row([name], |r| r.get(0))?;
    for mut act in read::act_keys_of(t.c, FORMAT, name)? {
        if is_outdated(act.class, act.at_ms, retention) {
            t.delete_act_key(&act.scope, &act.key)?;
            *keys += 1;
            continue;
        }
        act.kept = match act.state {
            ActKeyState::Done => body(t, session, act.seq)?,
            ActKeyState::InFlight => Some(String::new()),
        };
        t.put_act_key(&act, session)?;
    }
    let payloads = payloads_of(t, session)?;
    let last: Option<i64> =
        t.c.prepare_cached("SELECT max(id) FROM events WHERE session = ?1")?
            .query_row([session], |r| r.get(0))?;
    t.note_state_floor(last.unwrap_or(0))?;
    let events =
        t.c.prepare_cached("DELETE FROM events WHERE session = ?1")?
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
        t.c.prepare_cached(sql)?.execute([name])?;
    }
    Ok(events as u64)
}

fn body(t: &Transaction<'_>, session: i64, seq: u64) -> rusqlite::Result<Option<String>> {
    let mut statement = t.c.prepare_cached(
        "SELECT coalesce(e.body, p.body) FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE e.session = ?1 AND e.seq = ?2",
    )?;
    let mut rows = statement.query(params![session, seq])?;
    rows.next()?.map(|r| r.get(0)).transpose()
}

fn payloads_of(t: &Transaction<'_>, session: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = t.c.prepare_cached(
        "SELECT DISTINCT payload FROM events WHERE session = ?1 AND payload IS NOT NULL",
    )?;
    let rows = statement.query_map([session], |r| r.get(0))?;
    rows.collect()
}

/// Deletes keys that outlived their session, and now their own time.
fn delete_kept(t: &Transaction<'_>, retention: &Retention) -> rusqlite::Result<u64> {
    let newest = retention.keys_before_ms.iter().copied().max().unwrap_or(0);
    let mut deleted = 0;
    for act in read::kept_act_keys(t.c, newest, retention.batch)? {
        if is_outdated(act.class, act.at_ms, retention) {
            t.delete_act_key(&act.scope, &act.key)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
