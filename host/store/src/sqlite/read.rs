//! Questions to the file.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as Sql, ToSql, params};
use stoplog_journal::{
    ActKeyRow, ActKeyState, Head, Lease, Link, OpenIntentRow, Part, Reading, Row, SessionRow,
    SnapshotRow,
};
use stoplog_model::SessionId;
use stoplog_model::digest::sha256;

const EVENT: &str = "SELECT e.seq, e.format, e.epoch, e.at_ms, e.kind, e.iteration, e.ordinal,
    e.tool, e.args_digest, e.key, e.summary, coalesce(e.body, p.body), ";
const EVENTS_OF: &str = " FROM events e LEFT JOIN payloads p ON p.digest = e.payload
    WHERE e.session = (SELECT id FROM sessions WHERE session_id = ?1) AND ";
const EVENTS_OF_NAME: &str = " FROM events e LEFT JOIN payloads p ON p.digest = e.payload
    WHERE e.session_id = ?1 AND ";

/// Sessions, or a part of each, as of one moment.
pub(super) fn readings(
    c: &Connection,
    format: u32,
    sessions: &[SessionId],
    part: Part,
) -> rusqlite::Result<Vec<Reading>> {
    let transaction = c.unchecked_transaction()?;
    let reading = |id: &SessionId| reading(&transaction, format, id.as_str(), part);
    sessions.iter().map(reading).collect()
}

fn reading(c: &Connection, format: u32, session: &str, part: Part) -> rusqlite::Result<Reading> {
    let snapshot = match part {
        Part::Tail if format >= 2 => snapshot(c, session)?,
        _ => None,
    };
    let rows = match (part, &snapshot) {
        (Part::Event(seq), _) => {
            let bounds = params![session, seq.saturating_sub(1), seq];
            rows(c, format, "e.seq BETWEEN ?2 AND ?3 ORDER BY e.seq", bounds)?
        }
        (Part::Tail, Some(snapshot)) => {
            let mut all = rows(c, format, "e.seq = ?2", params![session, 1])?;
            let bounds = params![session, snapshot.seq];
            all.extend(rows(c, format, "e.seq > ?2 ORDER BY e.seq", bounds)?);
            all
        }
        _ => rows(c, format, "e.seq >= ?2 ORDER BY e.seq", params![session, 0])?,
    };
    Ok(Reading {
        row: sessions(c, format, "session_id = ?1", params![session])?.pop(),
        snapshot,
        rows,
    })
}

/// The rows of a session that was copied from a file of format 1, and is not linked yet.
pub(super) fn rows_without_links(c: &Connection, session: &str) -> rusqlite::Result<Vec<Row>> {
    rows(c, 3, "e.seq >= ?2 ORDER BY e.seq", params![session, 0])
}

/// The rows of a session, each as it is read: those before one that cannot be read are told.
pub(super) fn each_row(
    c: &Connection,
    format: u32,
    session: &str,
    mut each: impl FnMut(Row),
) -> rusqlite::Result<()> {
    let mut statement = events(c, format, "e.seq >= ?2 ORDER BY e.seq")?;
    let mut rows = statement.query(params![session, 0])?;
    while let Some(row) = rows.next()? {
        each(event_row(row)?);
    }
    Ok(())
}

/// The events behind a number with their numbers and sessions, in the order of the numbers, until
/// the receiver has enough: it says so by `false`.
pub(super) fn each_event_behind(
    c: &Connection,
    format: u32,
    id: i64,
    mut each: impl FnMut(i64, String, Row) -> bool,
) -> rusqlite::Result<()> {
    let chain = if format >= 2 { "e.chain" } else { "NULL" };
    let mut statement = c.prepare_cached(&format!(
        "{EVENT}{chain}, e.id, e.session_id
         FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE e.id > ?1 ORDER BY e.id"
    ))?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(13)?, row.get(14)?, event_row(row)?) {
            return Ok(());
        }
    }
    Ok(())
}

fn rows(
    c: &Connection,
    format: u32,
    which: &str,
    bounds: &[&dyn ToSql],
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = events(c, format, which)?;
    let rows = statement.query_map(bounds, event_row)?;
    rows.collect()
}

fn events<'c>(
    c: &'c Connection,
    format: u32,
    which: &str,
) -> rusqlite::Result<CachedStatement<'c>> {
    let (chain, of) = match format {
        1 => ("NULL", EVENTS_OF_NAME),
        2 => ("e.chain", EVENTS_OF_NAME),
        _ => ("e.chain", EVENTS_OF),
    };
    c.prepare_cached(&format!("{EVENT}{chain}{of}{which}"))
}

fn event_row(r: &Sql<'_>) -> rusqlite::Result<Row> {
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
        encrypted: None,
        chain: r.get::<_, Option<Link>>(12)?.unwrap_or_default(),
    })
}

/// The snapshot of a session.
pub(super) fn snapshot(c: &Connection, session: &str) -> rusqlite::Result<Option<SnapshotRow>> {
    c.prepare_cached("SELECT seq, format, chain, seal, body FROM snapshots WHERE session_id = ?1")?
        .query_row([session], |r| {
            Ok(SnapshotRow {
                seq: r.get(0)?,
                format: r.get(1)?,
                chain: r.get(2)?,
                seal: r.get(3)?,
                body: r.get(4)?,
            })
        })
        .optional()
}

/// Sessions with at least one event, the latest first.
pub(super) fn listed(
    c: &Connection,
    format: u32,
    only: Option<&str>,
    unfinished: bool,
) -> rusqlite::Result<Vec<SessionRow>> {
    match (only, unfinished) {
        (Some(id), _) => sessions(c, format, "session_id = ?1", params![id]),
        (None, true) => sessions(c, format, "status <> 'ended'", params![]),
        (None, false) => sessions(c, format, "true", params![]),
    }
}

fn sessions(
    c: &Connection,
    format: u32,
    which: &str,
    values: &[&dyn ToSql],
) -> rusqlite::Result<Vec<SessionRow>> {
    let chain = if format >= 2 { "chain" } else { "NULL" };
    let mut statement = c.prepare_cached(&format!(
        "SELECT session_id, tenant_id, user_id, feature, status, trace_id, last_seq,
                updated_at_ms, lease_holder, lease_epoch, lease_expires_ms, {chain}
         FROM sessions WHERE {which} AND last_seq > 0
         ORDER BY updated_at_ms DESC, session_id"
    ))?;
    let rows = statement.query_map(values, |r| {
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
            chain: r.get(11)?,
            lease,
        })
    })?;
    rows.collect()
}

/// Who claims an act.
pub(super) fn act_key(
    c: &Connection,
    format: u32,
    scope: &str,
    key: &str,
) -> rusqlite::Result<Option<ActKeyRow>> {
    let found = match format {
        1 | 2 => {
            let sql = format!("{}WHERE scope = ?1 AND key = ?2", act_keys(format));
            c.prepare_cached(&sql)?
                .query_row(params![scope, key], act_key_row)
        }
        _ => {
            let sql = format!(
                "{}WHERE hash = ?3 AND scope = ?1 AND key = ?2",
                act_keys(format)
            );
            c.prepare_cached(&sql)?
                .query_row(params![scope, key, act_hash(scope, key)], act_key_row)
        }
    };
    found.optional()
}

/// What an act is looked up by.
pub(super) fn act_hash(scope: &str, key: &str) -> i64 {
    let digest = sha256("stoplog/act-hash1", &[scope.as_bytes(), key.as_bytes()]);
    let (first, _) = digest.split_at(8);
    first.try_into().map_or(0, i64::from_le_bytes)
}

/// Every claim with its place and the hash that is stored with it, in the order of the table.
pub(super) fn each_act_key(
    c: &Connection,
    mut each: impl FnMut(i64, i64, ActKeyRow),
) -> rusqlite::Result<()> {
    let mut statement = c.prepare(&format!(
        "{ACT_KEY}, class, at_ms, kept, id, hash FROM act_keys"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(row.get(12)?, row.get(13)?, act_key_row(row)?);
    }
    Ok(())
}

/// The claims of a session.
pub(super) fn act_keys_of(
    c: &Connection,
    format: u32,
    session: &str,
) -> rusqlite::Result<Vec<ActKeyRow>> {
    let of = match format {
        1 | 2 => "WHERE session_id = ?1",
        _ => "WHERE session = (SELECT id FROM sessions WHERE session_id = ?1)",
    };
    let mut statement = c.prepare_cached(&format!("{}{of}", act_keys(format)))?;
    let rows = statement.query_map([session], act_key_row)?;
    rows.collect()
}

/// Claims of pruned sessions, the oldest first.
pub(super) fn kept_act_keys(
    c: &Connection,
    before_ms: u64,
    limit: u32,
) -> rusqlite::Result<Vec<ActKeyRow>> {
    let sql = format!(
        "{}WHERE kept IS NOT NULL AND at_ms < ?1 ORDER BY at_ms LIMIT ?2",
        act_keys(2)
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map(params![before_ms, limit], act_key_row)?;
    rows.collect()
}

/// Claims of pruned sessions with their places, in the order of the table, behind a place.
pub(super) fn kept_act_keys_after(
    c: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<(i64, ActKeyRow)>> {
    let mut statement = c.prepare_cached(&format!(
        "{ACT_KEY}, class, at_ms, kept, id FROM act_keys
         WHERE id > ?1 AND kept IS NOT NULL ORDER BY id LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![after, limit], |r| Ok((r.get(12)?, act_key_row(r)?)))?;
    rows.collect()
}

const ACT_KEY: &str =
    "SELECT scope, key, tool, session_id, iteration, ordinal, args_digest, state, seq";

fn act_keys(format: u32) -> String {
    let newer = if format >= 2 {
        "class, at_ms, kept"
    } else {
        "4, 0, NULL"
    };
    format!("{ACT_KEY}, {newer} FROM act_keys ")
}

fn act_key_row(r: &Sql<'_>) -> rusqlite::Result<ActKeyRow> {
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
        class: r.get(9)?,
        at_ms: r.get(10)?,
        kept: r.get(11)?,
    })
}

/// The words in `act_keys.state`.
pub(super) const DONE: &str = "done";
/// The words in `act_keys.state`.
pub(super) const IN_FLIGHT: &str = "in_flight";

const INTENT: &str = "SELECT session_id, iteration, ordinal, label, key, attempt, at_ms
    FROM open_intents ";
const INTENTS_IN_ORDER: &str = "ORDER BY session_id, iteration, ordinal, label";

/// Intents without an outcome, of all sessions.
pub(super) fn open_intents(c: &Connection) -> rusqlite::Result<Vec<OpenIntentRow>> {
    let mut statement = c.prepare_cached(&format!("{INTENT}{INTENTS_IN_ORDER}"))?;
    let rows = statement.query_map([], intent_row)?;
    rows.collect()
}

/// Those of a session.
pub(super) fn open_intents_of(
    c: &Connection,
    session: &str,
) -> rusqlite::Result<Vec<OpenIntentRow>> {
    let sql = format!("{INTENT}WHERE session_id = ?1 {INTENTS_IN_ORDER}");
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([session], intent_row)?;
    rows.collect()
}

fn intent_row(r: &Sql<'_>) -> rusqlite::Result<OpenIntentRow> {
    Ok(OpenIntentRow {
        session: r.get(0)?,
        iteration: r.get(1)?,
        ordinal: r.get(2)?,
        label: r.get(3)?,
        key: r.get(4)?,
        attempt: r.get(5)?,
        at_ms: r.get(6)?,
    })
}
