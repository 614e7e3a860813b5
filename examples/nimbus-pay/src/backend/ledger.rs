//! What was asked of the backend, and what it really did.
//!
//! Each write is a row before anything else happens to it, and the row is closed in the
//! transaction that carries the write out. A row that stays `received` was cut short.

use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::deeds::Kind;
use super::faults::{self, Played};

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has arrived, and has not ended.
    Received,
    /// It was done now.
    Executed,
    /// It had been done; the kept answer was given.
    Replayed,
    /// Its key was used before with other content.
    Conflict,
    /// Another request with its key was being done.
    InFlight,
    /// It was wrong.
    Refused,
    /// A fault or the database failed it; nothing was done.
    Failed,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Conflict => "conflict",
            Self::InFlight => "in_flight",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What the ledger writes down about a request.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) method: String,
    /// The path with its placeholders, as the router knows it.
    pub(super) route: String,
    pub(super) path: String,
    pub(super) key: Option<String>,
    pub(super) tenant: Option<String>,
}

/// Takes the faults that strike a read. Reads are not written down.
pub(super) fn receive_read(db: &mut Connection, line: &Line) -> rusqlite::Result<Played> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let played = faults::take(&tx, &line.method, &line.route)?;
    tx.commit()?;
    Ok(played)
}

/// Writes a write down, and takes the faults that strike it. Gives the number of its row.
pub(super) fn receive_write(db: &mut Connection, line: &Line) -> rusqlite::Result<(i64, Played)> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute(
        "INSERT INTO requests (method, path, key, tenant, outcome) VALUES (?, ?, ?, ?, ?)",
        (
            &line.method,
            &line.path,
            &line.key,
            &line.tenant,
            Outcome::Received.name(),
        ),
    )?;
    let seq = tx.last_insert_rowid();
    let played = faults::take(&tx, &line.method, &line.route)?;
    tx.commit()?;
    Ok((seq, played))
}

/// Writes down how request `seq` ended.
pub(super) fn close(db: &Connection, seq: i64, outcome: Outcome) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE requests SET outcome = ? WHERE seq = ?",
        (outcome.name(), seq),
    )?;
    Ok(())
}

/// All writes that arrived, in order.
pub(super) fn requests(db: &Connection) -> Result<Answer, Failure> {
    let requests: Vec<Value> = db
        .prepare_cached(
            "SELECT method, path, key, tenant, outcome, at_ms FROM requests ORDER BY seq",
        )?
        .query_map([], |row| {
            let outcome: String = row.get(4)?;
            Ok(json!({
                "method": row.get::<_, String>(0)?,
                "path": row.get::<_, String>(1)?,
                "key": row.get::<_, Option<String>>(2)?,
                "tenant": row.get::<_, Option<String>>(3)?,
                "replayed": outcome == Outcome::Replayed.name(),
                "outcome": outcome,
                "at_ms": row.get::<_, i64>(5)?,
            }))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Answer::ok(&json!({ "requests": requests })))
}

/// What was done, per kind, and how many writes arrived.
pub(super) fn counts(db: &Connection) -> Result<Answer, Failure> {
    let ended = |kind: Kind, outcome: Outcome| -> rusqlite::Result<i64> {
        db.prepare_cached(
            "SELECT count(*) FROM requests WHERE method = 'POST' AND path = ? AND outcome = ?",
        )?
        .query_row([kind.path(), outcome.name()], |row| row.get(0))
    };
    let count = |sql: &str| -> rusqlite::Result<i64> { db.query_row(sql, [], |row| row.get(0)) };

    let mut counts = Map::new();
    for kind in Kind::ALL {
        let mut of_kind = json!({
            "executed": count(&format!("SELECT count(*) FROM {}", kind.plural()))?,
            "replayed": ended(kind, Outcome::Replayed)?,
            "conflicts": ended(kind, Outcome::Conflict)?,
            "in_flight": ended(kind, Outcome::InFlight)?,
        });
        if kind == Kind::Act {
            of_kind["undone"] = count("SELECT count(*) FROM acts WHERE undone = 1")?.into();
        }
        counts.insert(kind.plural().into(), of_kind);
    }
    counts.insert(
        "requests".into(),
        count("SELECT count(*) FROM requests")?.into(),
    );
    Ok(Answer::ok(&counts.into()))
}
