//! The chain of a session's events: each row's link is SHA-256 over the link before it and the row.
//!
//! A row that was changed, left out, put elsewhere or taken from another session breaks the chain
//! there, and the session's own row keeps the link of its last event, so a missing end shows too.
//! The chain shows damage and clumsy editing. Who can rewrite the whole file can rewrite the chain:
//! for that, keep an export, or its last link, somewhere else.

use stoplog_model::digest::sha256;

use crate::store::{Link, Reading, Row, SnapshotRow, StoreError};

/// Domain of the links.
const LINK_DOMAIN: &str = "stoplog/chain1";
/// Domain of the seals of snapshots.
const SEAL_DOMAIN: &str = "stoplog/snapshot1";

/// What the first event of a session is linked to.
pub fn genesis(session: &str) -> Link {
    sha256(LINK_DOMAIN, &[session.as_bytes()])
}

/// The link of a row behind another.
pub fn link(before: &Link, row: &Row) -> Link {
    let number = |n: Option<u32>| match n {
        Some(n) => n.to_le_bytes().to_vec(),
        None => Vec::new(),
    };
    let text = |t: &Option<String>| match t {
        // A zero byte before, so that an empty text and none differ.
        Some(t) => [b"\0", t.as_bytes()].concat(),
        None => Vec::new(),
    };
    sha256(
        LINK_DOMAIN,
        &[
            before,
            &row.seq.to_le_bytes(),
            &row.format.to_le_bytes(),
            &row.epoch.to_le_bytes(),
            &row.at_ms.to_le_bytes(),
            row.kind.as_bytes(),
            &number(row.iteration),
            &number(row.ordinal),
            &text(&row.tool),
            &text(&row.args_digest),
            &text(&row.key),
            &text(&row.summary),
            row.stored().as_bytes(),
        ],
    )
}

/// The seal of a snapshot.
pub fn seal(chain: &Link, body: &str) -> Link {
    sha256(SEAL_DOMAIN, &[chain, body.as_bytes()])
}

/// Whether a snapshot is as it was written.
pub fn is_sealed(snapshot: &SnapshotRow) -> bool {
    snapshot.seal == seal(&snapshot.chain, &snapshot.body)
}

fn broken(session: &str, row: &Row, why: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "session {session}, event {} ({}): {why}",
        row.seq, row.kind
    ))
}

/// Checks that rows follow on each other and on what is before them. Gives the last link.
pub fn check_rows(
    session: &str,
    mut before: Link,
    mut last_seq: u64,
    rows: &[Row],
) -> Result<Link, StoreError> {
    for row in rows {
        if row.seq != last_seq + 1 {
            let why = format!("event {} was expected", last_seq + 1);
            return Err(broken(session, row, &why));
        }
        before = link(&before, row);
        if before != row.chain {
            let why = "it, or its link, is not what was written";
            return Err(broken(session, row, why));
        }
        last_seq = row.seq;
    }
    Ok(before)
}

/// Checks a whole session, or its first event and its tail. Gives the last link; the zero link
/// for a journal that is older than the chain, in which only the numbers can be checked.
pub fn check(session: &str, reading: &Reading) -> Result<Link, StoreError> {
    let Some(listed) = &reading.row else {
        return match reading.rows.first() {
            None => Ok(genesis(session)),
            Some(row) => Err(broken(session, row, "its session is not listed")),
        };
    };
    let Some(head) = listed.chain else {
        return check_numbers(session, reading, listed.last_seq);
    };
    let (chain, last_seq) = match &reading.snapshot {
        None => {
            let chain = check_rows(session, genesis(session), 0, &reading.rows)?;
            (chain, reading.rows.last().map_or(0, |r| r.seq))
        }
        Some(snapshot) => {
            let (first, tail) = reading.rows.split_at(reading.rows.len().min(1));
            check_rows(session, genesis(session), 0, first)?;
            let chain = check_rows(session, snapshot.chain, snapshot.seq, tail)?;
            (chain, tail.last().map_or(snapshot.seq, |r| r.seq))
        }
    };
    if (last_seq, chain) == (listed.last_seq, head) {
        return Ok(chain);
    }
    Err(StoreError::Corrupt(format!(
        "session {session} ends with event {last_seq}, and is listed with another end, at event {}",
        listed.last_seq
    )))
}

fn check_numbers(session: &str, reading: &Reading, last_seq: u64) -> Result<Link, StoreError> {
    let found = reading.rows.last().map_or(0, |r| r.seq);
    if found == last_seq && reading.rows.len() as u64 == last_seq {
        return Ok(Link::default());
    }
    Err(StoreError::Corrupt(format!(
        "session {session} has {} events up to {found}, and is listed with {last_seq}",
        reading.rows.len()
    )))
}

#[cfg(test)]
mod tests;
