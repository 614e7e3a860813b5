//! The backend told to misbehave.
//!
//! Faults lie in the database, so they outlive a restart. A fault is used up in the transaction
//! that writes the request down: one that kills the process does not kill it again afterwards.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Answer, Failure, Refusal};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Waits `delay_ms`, then does it. Meanwhile a look by key finds nothing.
    DelayBefore,
    /// Does it, then waits `delay_ms` before the answer.
    HoldAnswer,
    /// Answers 500 and does nothing.
    FailBefore,
    /// Does it, then answers 500.
    FailAfter,
    /// Does it, then the process ends without an answer, with exit code 137.
    DieAfterCommit,
    /// Does it, then resets the connection before the status line. The process lives on.
    HangUpAfter,
    /// Takes no notice of keys: does it again for every repeat, and keeps no answer. What is
    /// done still remembers its key. May be combined with one of the other modes.
    ForgetKeys,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::DelayBefore => "delay_before",
            Self::HoldAnswer => "hold_answer",
            Self::FailBefore => "fail_before",
            Self::FailAfter => "fail_after",
            Self::DieAfterCommit => "die_after_commit",
            Self::HangUpAfter => "hang_up_after",
            Self::ForgetKeys => "forget_keys",
        }
    }
}

impl ToSql for Mode {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.name().to_sql()
    }
}

impl FromSql for Mode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Mode::deserialize(value.as_str()?.into_deserializer())
            .map_err(|error: NameError| FromSqlError::Other(error.into()))
    }
}

/// A fault for the next requests to one route: the body of `POST /admin/misbehave`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method. Without it, POST for `/refunds`, `/mails` and `/acts`, and GET for the rest.
    #[serde(default)]
    pub method: Option<String>,
    /// The route with its placeholders: `/refunds`, `/refunds/by-key/{key}`.
    pub path: String,
    /// What goes wrong.
    pub mode: Mode,
    /// How many requests it strikes, whatever their answer would have been; 0 is for ever.
    #[serde(default = "once")]
    pub times: u32,
    /// For the modes that wait, in milliseconds.
    #[serde(default)]
    pub delay_ms: u32,
}

fn once() -> u32 {
    1
}

/// The routes that can be struck. The first of a path is the one meant when no method is named.
const ROUTES: [(&str, &str); 10] = [
    ("POST", "/refunds"),
    ("POST", "/mails"),
    ("POST", "/acts"),
    ("GET", "/customers"),
    ("GET", "/customers/{id}/orders"),
    ("GET", "/policies/{topic}"),
    ("GET", "/refunds/by-key/{key}"),
    ("GET", "/mails/by-key/{key}"),
    ("GET", "/acts/by-key/{key}"),
    ("DELETE", "/acts/by-key/{key}"),
];

/// Notes a fault. Faults of one route strike one after another, the oldest first.
pub(super) fn add(db: &Connection, fault: &Fault) -> Result<Answer, Failure> {
    let asked = fault.method.as_deref();
    let (method, path) = ROUTES
        .iter()
        .find(|(method, path)| *path == fault.path && asked.is_none_or(|asked| asked == *method))
        .ok_or_else(|| {
            let message = format!(
                "{} {} cannot be struck; name a route, such as /refunds/by-key/{{key}}",
                asked.unwrap_or("any method of"),
                fault.path,
            );
            Refusal::unprocessable("route_unknown", message)
        })?;
    let times_left = (fault.times > 0).then_some(fault.times);
    db.execute(
        "INSERT INTO faults (method, path, mode, times_left, delay_ms) VALUES (?, ?, ?, ?, ?)",
        (method, path, fault.mode, times_left, fault.delay_ms),
    )?;
    let noted = Fault {
        method: Some((*method).into()),
        ..fault.clone()
    };
    Ok(Answer::created(&json!(noted)))
}

/// The faults still to be played, the oldest first.
pub(super) fn list(db: &Connection) -> Result<Answer, Failure> {
    let faults: Vec<Fault> = db
        .prepare_cached("SELECT method, path, mode, times_left, delay_ms FROM faults ORDER BY id")?
        .query_map([], |row| {
            Ok(Fault {
                method: row.get(0)?,
                path: row.get(1)?,
                mode: row.get(2)?,
                times: row.get::<_, Option<u32>>(3)?.unwrap_or(0),
                delay_ms: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Answer::ok(&json!({ "faults": faults })))
}

/// Behave again.
pub(super) fn clear(db: &Connection) -> Result<Answer, Failure> {
    let removed = db.execute("DELETE FROM faults", [])?;
    Ok(Answer::ok(&json!({ "removed": removed })))
}

/// The faults that strike one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Played {
    pub(super) forget_keys: bool,
    /// Any mode but [`Mode::ForgetKeys`], and how long it waits.
    pub(super) mode: Option<(Mode, Duration)>,
}

/// Uses up the oldest fault of this route, and the oldest that forgets keys.
pub(super) fn take(tx: &Transaction<'_>, method: &str, route: &str) -> rusqlite::Result<Played> {
    let forgets = "mode = 'forget_keys'";
    let other = "mode <> 'forget_keys'";
    Ok(Played {
        forget_keys: take_oldest(tx, method, route, forgets)?.is_some(),
        mode: take_oldest(tx, method, route, other)?,
    })
}

fn take_oldest(
    tx: &Transaction<'_>,
    method: &str,
    route: &str,
    condition: &str,
) -> rusqlite::Result<Option<(Mode, Duration)>> {
    let sql = format!(
        "SELECT id, mode, delay_ms FROM faults
         WHERE method = ? AND path = ? AND {condition} ORDER BY id LIMIT 1"
    );
    let oldest = tx
        .prepare_cached(&sql)?
        .query_row((method, route), |row| {
            let delay = Duration::from_millis(row.get::<_, u32>(2)?.into());
            Ok((row.get::<_, i64>(0)?, (row.get(1)?, delay)))
        })
        .optional()?;
    let Some((id, played)) = oldest else {
        return Ok(None);
    };
    tx.execute(
        "UPDATE faults SET times_left = times_left - 1 WHERE id = ?",
        [id],
    )?;
    tx.execute("DELETE FROM faults WHERE id = ? AND times_left = 0", [id])?;
    Ok(Some(played))
}
