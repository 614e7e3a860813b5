//! Questions to the trace store that the projection itself has.

use rusqlite::{Connection, OptionalExtension, Row, params};
use stoplog_journal::Cursor;
use stoplog_telemetry::{BrokenSession, Finished, OpenRun, Progress};

/// A value of `meta`; empty if there is none.
pub(super) fn meta(c: &Connection, name: &str) -> rusqlite::Result<String> {
    let found = c
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// A number of `meta`; 0 for what is none.
pub(super) fn number(c: &Connection, name: &str) -> rusqlite::Result<u64> {
    Ok(meta(c, name)?.parse().unwrap_or(0))
}

pub(super) fn progress(c: &Connection) -> rusqlite::Result<Progress> {
    // One statement sees one moment.
    c.prepare_cached(
        "SELECT max(CASE name WHEN 'cursor' THEN value END),
                max(CASE name WHEN 'generation' THEN value END),
                max(CASE name WHEN 'remaking' THEN value END) FROM meta",
    )?
    .query_row([], |r| {
        let text = |i: usize| r.get::<_, Option<String>>(i).map(Option::unwrap_or_default);
        Ok(Progress {
            cursor: Cursor::from_text(text(0)?),
            generation: text(1)?.parse().unwrap_or(0),
            is_remaking: text(2)? == "1",
        })
    })
}

pub(super) fn open_runs(c: &Connection) -> rusqlite::Result<Vec<OpenRun>> {
    let mut statement = c.prepare_cached(
        "SELECT session_id, status = 'running' FROM spans
         WHERE place IS NULL AND kind = 'final_response' ORDER BY session_id",
    )?;
    let rows = statement.query_map([], |r| {
        Ok(OpenRun {
            session_id: r.get(0)?,
            is_running: r.get(1)?,
        })
    })?;
    rows.collect()
}

pub(super) fn spans_of_session(c: &Connection, id: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare_cached(
        "SELECT b.body FROM spans s JOIN bodies b ON b.id = s.id
         WHERE s.session_id = ?1 ORDER BY s.started_ms, s.place IS NULL, s.place, s.id",
    )?;
    let rows = statement.query_map([id], |r| r.get(0))?;
    rows.collect()
}

/// A trace has a root from its first event on, so its session is found by that.
pub(super) fn spans_of_trace(c: &Connection, id: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare_cached(
        "SELECT b.body FROM spans s JOIN bodies b ON b.id = s.id
         WHERE s.trace_id = ?1 AND s.session_id IN
               (SELECT session_id FROM spans WHERE trace_id = ?1 AND kind = 'final_response')
         ORDER BY s.started_ms, s.place IS NULL, s.place, s.id",
    )?;
    let rows = statement.query_map([id], |r| r.get(0))?;
    rows.collect()
}

pub(super) fn broken(c: &Connection) -> rusqlite::Result<Vec<BrokenSession>> {
    let mut statement =
        c.prepare_cached("SELECT session_id, seq, what FROM broken ORDER BY session_id")?;
    let rows = statement.query_map([], |r| {
        Ok(BrokenSession {
            session_id: r.get(0)?,
            seq: r.get(1)?,
            what: r.get(2)?,
        })
    })?;
    rows.collect()
}

pub(super) fn finished(c: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<Finished>> {
    let mut statement = c.prepare_cached(
        "SELECT s.place, b.body FROM spans s JOIN bodies b ON b.id = s.id
         WHERE s.place IS NOT NULL AND s.place > ?1 ORDER BY s.place LIMIT ?2",
    )?;
    let row = |r: &Row<'_>| {
        Ok(Finished {
            place: r.get(0)?,
            body: r.get(1)?,
        })
    };
    let rows = statement.query_map(params![after, limit], row)?;
    rows.collect()
}

pub(super) fn place_of(c: &Connection, span_id: &str) -> rusqlite::Result<Option<u64>> {
    let found: Option<Option<u64>> = c
        .prepare_cached("SELECT place FROM spans WHERE span_id = ?1")?
        .query_row([span_id], |r| r.get(0))
        .optional()?;
    Ok(found.flatten())
}

pub(super) fn sent(c: &Connection, sink: &str) -> rusqlite::Result<u64> {
    let found = c
        .prepare_cached("SELECT place FROM sinks WHERE name = ?1")?
        .query_row([sink], |r| r.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}
