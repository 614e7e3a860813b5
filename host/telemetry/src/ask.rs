//! Reading a trace store by SQL over its documented views.
//!
//! One door for every question: those of the `stoplog` command and those that a person writes. So
//! whatever a command says can be asked again by hand, and nobody sees more than the views show.
//!
//! Invariants of whoever implements it: nothing is written; only the documented views are read; an
//! answer is bounded in rows, bytes and time, and says when it was cut.

use std::time::Duration;

use async_trait::async_trait;

use crate::traces::TraceError;

/// One value of an answer, or one that a statement is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Whole(i64),
    /// Another number.
    Real(f64),
    /// A text.
    Text(String),
}

impl Cell {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that is not negative.
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Cell::Whole(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    /// A number beyond what SQLite can hold becomes the largest one: no span is there.
    fn from(n: u64) -> Cell {
        Cell::Whole(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

/// A question: SQL, and the values for its `?`, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statement {
    /// One `SELECT`, or `WITH ... SELECT`.
    pub sql: String,
    /// The values.
    pub values: Vec<Cell>,
}

/// How much an answer may be, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerBounds {
    /// Rows: the rest is cut off, and the answer says so.
    pub rows: usize,
    /// Bytes of all texts together: more is an error, since half a row is worth nothing.
    pub bytes: usize,
    /// Wall clock.
    pub time: Duration,
}

impl AnswerBounds {
    /// Texts of an answer, 64 MiB: it is held in memory while it is printed.
    pub const BYTES: usize = 64 * 1024 * 1024;
    /// Longest time of a command's own questions, seconds. Millions of spans take some.
    pub const SECONDS: u64 = 60;
}

impl Default for AnswerBounds {
    fn default() -> AnswerBounds {
        AnswerBounds {
            rows: 100_000,
            bytes: AnswerBounds::BYTES,
            time: Duration::from_secs(AnswerBounds::SECONDS),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// There were more rows than were asked for.
    pub is_cut: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is no SQL, or names what is not there.
    #[error("{0}")]
    Wrong(String),
    /// It would do more than read the views.
    #[error("{0}")]
    Refused(String),
    /// The time was over.
    #[error("no answer within {} s", .0.as_secs())]
    TooLong(Duration),
    /// The answer is too large to be held.
    #[error("the answer has more than {} MiB", .0 / (1024 * 1024))]
    TooLarge(usize),
    /// The trace store could not be read.
    #[error(transparent)]
    Traces(#[from] TraceError),
}

/// Whoever can be asked.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Answers from one moment of the store.
    async fn ask(&self, statement: Statement, bounds: AnswerBounds) -> Result<Answer, AskError>;
}
