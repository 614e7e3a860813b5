//! Questions to the file.

use rusqlite::{Connection, OptionalExtension, Row as Sql, params};
use stoplog_journal::{ActKeyRow, ActKeyState, Head, Lease, OpenIntentRow, Row, SessionRow};

pub(super) fn rows(c: &Connection, session: &str, from_seq: u64) -> rusqlite::Result<Vec<Row>> {
    let mut statement = c.prepare_cached(
        "SELECT e.seq, e.format, e.epoch, e.at_ms, e.kind, e.iteration, e.ordinal, e.tool,
                e.args_digest, e.key, e.summary, coalesce(e.body, p.body)
         FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE e.session_id = ?1 AND e.seq >= ?2 ORDER BY e.seq",
    )?;
    let rows = statement.query_map(params![session, from_seq], |r| {
        Ok(Row {
            seq: r.get(0)?,
            format: r.get(1)?,
            epoch: r.get(2)?,
            at_ms: r.get(3)?,
            kind: r.get(4)?,
            iteration: r.get(5)?,
            ordinal: r.get(6)?,
            tool: r.get(7)?,
            args_digest: r.get(8)?,
            key: r.get(9)?,
            summary: r.get(10)?,
            body: r.get(11)?,
        })
    })?;
    rows.collect()
}

pub(super) fn sessions(c: &Connection, only: Option<&str>) -> rusqlite::Result<Vec<SessionRow>> {
    let mut statement = c.prepare_cached(
        "SELECT session_id, tenant_id, user_id, feature, status, trace_id, last_seq,
                updated_at_ms, lease_holder, lease_epoch, lease_expires_ms
         FROM sessions WHERE last_seq > 0 AND (?1 IS NULL OR session_id = ?1)
         ORDER BY updated_at_ms DESC, session_id",
    )?;
    let rows = statement.query_map(params![only], |r| {
        let session: String = r.get(0)?;
        let holder: Option<String> = r.get(8)?;
        let lease = match holder {
            Some(holder) => Some(Lease {
                session: session.clone(),
                holder,
                epoch: r.get(9)?,
                expires_at_ms: r.get(10)?,
            }),
            None => None,
        };
        Ok(SessionRow {
            session,
            head: Head {
                tenant: r.get(1)?,
                user: r.get(2)?,
                feature: r.get(3)?,
                status: r.get(4)?,
                trace_id: r.get(5)?,
            },
            last_seq: r.get(6)?,
            updated_at_ms: r.get(7)?,
            lease,
        })
    })?;
    rows.collect()
}

pub(super) fn act_key(
    c: &Connection,
    scope: &str,
    key: &str,
) -> rusqlite::Result<Option<ActKeyRow>> {
    c.prepare_cached(
        "SELECT scope, key, tool, session_id, iteration, ordinal, args_digest, state, seq
         FROM act_keys WHERE scope = ?1 AND key = ?2",
    )?
    .query_row(params![scope, key], |r: &Sql<'_>| {
        let state: String = r.get(7)?;
        Ok(ActKeyRow {
            scope: r.get(0)?,
            key: r.get(1)?,
            tool: r.get(2)?,
            session: r.get(3)?,
            iteration: r.get(4)?,
            ordinal: r.get(5)?,
            args_digest: r.get(6)?,
            // What is not known to be done is in flight: that refuses, and never repeats.
            state: if state == DONE {
                ActKeyState::Done
            } else {
                ActKeyState::InFlight
            },
            seq: r.get(8)?,
        })
    })
    .optional()
}

/// The words in `act_keys.state`.
pub(super) const DONE: &str = "done";
/// The words in `act_keys.state`.
pub(super) const IN_FLIGHT: &str = "in_flight";

pub(super) fn open_intents(c: &Connection) -> rusqlite::Result<Vec<OpenIntentRow>> {
    let mut statement = c.prepare_cached(
        "SELECT session_id, iteration, ordinal, label, key, attempt, at_ms FROM open_intents
         ORDER BY session_id, iteration, ordinal, label",
    )?;
    let rows = statement.query_map([], |r| {
        Ok(OpenIntentRow {
            session: r.get(0)?,
            iteration: r.get(1)?,
            ordinal: r.get(2)?,
            label: r.get(3)?,
            key: r.get(4)?,
            attempt: r.get(5)?,
            at_ms: r.get(6)?,
        })
    })?;
    rows.collect()
}
