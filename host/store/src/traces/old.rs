//! A file of an older version: its spans are taken over line by line, and then made anew.
//!
//! What every version has: `spans` with `id`, `place` and `span_id`, `bodies` with `id` and `body`,
//! `sinks`, and `last_place` in `meta`. So places outlive the version, and nobody sends a span on
//! twice; a span of a session that is pruned outlives it too, if its line can still be read.

use rusqlite::{Connection, params};
use stoplog_telemetry::{Span, SpanRow};

use super::{SCHEMA, read, write};

/// Makes the present tables of an older file. The projection begins anew behind this.
pub(super) fn bring_up_to_date(c: &Connection) -> rusqlite::Result<()> {
    let (last_place, generation) = (
        read::number(c, "last_place")?,
        read::number(c, "generation")?,
    );
    for index in indices(c)? {
        c.execute_batch(&format!("DROP INDEX {index}"))?;
    }
    c.execute_batch(
        "ALTER TABLE spans RENAME TO spans_old;
         ALTER TABLE bodies RENAME TO bodies_old;
         ALTER TABLE sinks RENAME TO sinks_old;
         DROP TABLE IF EXISTS broken;
         DROP TABLE IF EXISTS remade;
         DROP TABLE meta;",
    )?;
    c.execute_batch(SCHEMA)?;
    take_over(c, generation)?;
    c.execute_batch(
        "INSERT INTO sinks (name, place) SELECT name, place FROM sinks_old;
         DROP TABLE spans_old; DROP TABLE bodies_old; DROP TABLE sinks_old;",
    )?;
    write::set(c, "last_place", &last_place.to_string())?;
    write::set(c, "generation", &(generation + 1).to_string())?;
    write::set(c, "remaking", "1")
}

/// Names of the indices that were made by name.
fn indices(c: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        c.prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")?;
    let names = statement.query_map([], |r| r.get(0))?;
    names.collect()
}

/// The rows that their lines give today. One whose line cannot be read any more is left out: if the
/// journal has its session, it comes again.
fn take_over(c: &Connection, generation: u64) -> rusqlite::Result<()> {
    let mut statement = c.prepare(
        "SELECT s.place, b.body FROM spans_old s JOIN bodies_old b ON b.id = s.id
         WHERE s.place IS NOT NULL ORDER BY s.place",
    )?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let (place, body): (u64, String) = (row.get(0)?, row.get(1)?);
        if let Ok(span) = serde_json::from_str::<Span>(&body) {
            write::put_finished(c, &SpanRow::of(&span), place, generation)?;
        }
    }
    Ok(())
}
