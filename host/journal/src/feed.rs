//! The events of all sessions, in the order in which they were committed: for projections.
//!
//! Invariants of whoever implements it:
//! * every row that is committed comes once, and comes behind every row that was committed before;
//! * the rows of a session come in the order of their `seq`;
//! * a place that was given once keeps its meaning: also when what lay before it is pruned, and
//!   also when the process that asked is another one.
//!
//! What a [`Cursor`] says is the store's own affair. Whoever keeps one never looks into it: with
//! one writer the order of rows is the order of commits, with several it is not.

use async_trait::async_trait;

use crate::store::{Row, StoreError};

/// A place in the order of commits. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Cursor(String);

impl Cursor {
    /// Before everything.
    pub fn start() -> Cursor {
        Cursor::default()
    }

    /// Whether it stands before everything.
    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    /// The place that a store wrote down as this text; the empty text is the start.
    pub fn from_text(text: impl Into<String>) -> Cursor {
        Cursor(text.into())
    }

    /// As it is kept.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// How much to read at once, at most. One row is always read, however large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Rows.
    pub rows: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
}

/// Rows behind a place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fed {
    /// In the order of their commits, each with its session.
    pub rows: Vec<(String, Row)>,
    /// The place behind the last of them.
    pub cursor: Cursor,
    /// Whether there was more when they were read.
    pub has_more: bool,
}

/// A journal that can be followed.
#[async_trait]
pub trait Feed: Send + Sync {
    /// What was committed behind a place. None: the place is not one of this journal, as happens
    /// when an older copy of it was put back.
    async fn feed(&self, after: &Cursor, portion: Portion) -> Result<Option<Fed>, StoreError>;
}
