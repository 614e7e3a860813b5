//! The events in the order of their commits: the order of their row ids, since one transaction
//! writes at a time and each takes the next numbers.
//!
//! Invariant: a number is never given twice. SQLite alone would give the number of the last row
//! again once that row is pruned, and whoever has read up to there would miss the new one. So
//! pruning notes the highest number that it takes away, and the writer counts on from there.
//!
//! A place is the number of a row and the start of its link: in a journal that was put back from a
//! copy, another row has that number, or none was ever given it.

use rusqlite::{Connection, OptionalExtension, params};
use stoplog_journal::{Cursor, Fed, Link, Portion};

use super::read;

/// Name in `meta` of the highest number that pruning took away.
const FLOOR: &str = "events_floor";

/// Digits of a row's link in a place.
const MARK_DIGITS: usize = 16;

/// In a place whose row had no link yet.
const NO_MARK: &str = "-";

/// The highest number that was ever given to an event.
pub(super) fn highest(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached(
        "SELECT max(coalesce((SELECT max(id) FROM events), 0),
                    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1), 0))",
    )?
    .query_row([FLOOR], |r| r.get(0))
}

/// Notes that numbers up to this one were given.
pub(super) fn note_highest(c: &Connection, id: i64) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![FLOOR, id.to_string()])?;
    Ok(())
}

/// What was committed behind a place, as of one moment.
pub(super) fn fed(
    c: &Connection,
    format: u32,
    after: &Cursor,
    portion: Portion,
) -> rusqlite::Result<Option<Fed>> {
    let transaction = c.unchecked_transaction()?;
    let c = &*transaction;
    let Some(id) = place(c, format, after)? else {
        return Ok(None);
    };
    let mut fed = Fed {
        cursor: after.clone(),
        ..Fed::default()
    };
    let mut bytes = 0;
    let mut last = None;
    read::each_event_behind(c, format, id, |id, session, row| {
        if fed.rows.len() >= portion.rows.max(1) || (bytes > 0 && bytes >= portion.bytes.max(1)) {
            fed.has_more = true;
            return false;
        }
        bytes += row.body.len().max(1);
        last = Some((id, row.chain));
        fed.rows.push((session, row));
        true
    })?;
    if let Some((id, link)) = last {
        fed.cursor = Cursor::from_text(format!("{id} {}", mark(&link)));
    }
    Ok(Some(fed))
}

/// The number behind which to read; none if the place is not of this journal.
fn place(c: &Connection, format: u32, cursor: &Cursor) -> rusqlite::Result<Option<i64>> {
    if cursor.is_start() {
        return Ok(Some(0));
    }
    let parsed = cursor.as_text().split_once(' ');
    let parsed = parsed.and_then(|(id, mark)| Some((id.parse::<i64>().ok()?, mark)));
    let Some((id, told)) = parsed else {
        return Ok(None);
    };
    let chain = if format >= 2 { "chain" } else { "NULL" };
    let there: Option<Option<Link>> = c
        .prepare_cached(&format!("SELECT {chain} FROM events WHERE id = ?1"))?
        .query_row([id], |r| r.get(0))
        .optional()?;
    let is_ours = match there {
        Some(link) => told == NO_MARK || told == mark(&link.unwrap_or_default()),
        // Pruned, if there ever was one.
        None => id <= highest(c)?,
    };
    Ok(is_ours.then_some(id))
}

fn mark(link: &Link) -> String {
    if *link == Link::default() {
        return NO_MARK.to_owned();
    }
    let mut digits: String = link.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(MARK_DIGITS);
    digits
}
