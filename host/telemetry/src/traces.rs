//! What a trace store does: spans in columns, and how far they are. All of it can be made again.
//!
//! Invariants of whoever implements it:
//! * a step is all or nothing: its spans and the place in the journal behind them;
//! * a step from another place than the store's is refused, so two who project never do the same
//!   work twice, and neither does half of it;
//! * a span that is over has one row, whatever comes twice; its place in the order stays when it is
//!   made again, and no place is given twice: whoever sends spans on knows what is new.

use async_trait::async_trait;
use stoplog_journal::Cursor;

use crate::row::SpanRow;

/// Why a trace store refused, or could not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Nothing was written, or nothing can be read now.
    #[error("the trace store cannot be used: {0}")]
    Unusable(String),
    /// What is stored cannot be read.
    #[error("the trace store is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("the trace store has version {found}; this program knows up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// How far a projection is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Behind which event.
    pub cursor: Cursor,
    /// How often it was begun anew.
    pub generation: u64,
    /// Whether it is being made anew over what was there.
    pub is_remaking: bool,
}

/// What is open of a session: all of it, or nothing any more.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenSpans {
    /// The session.
    pub session_id: String,
    /// Its spans that are not over.
    pub rows: Vec<SpanRow>,
}

/// A session that cannot be projected from some event on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenSession {
    /// The session.
    pub session_id: String,
    /// The event.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// One step of a projection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Advance {
    /// Where the store must be.
    pub from: Progress,
    /// Where it is afterwards.
    pub to: Cursor,
    /// Whether that is the end of the journal: then what the generations before left over goes.
    pub is_end: bool,
    /// Spans that are over, in the order in which they ended.
    pub finished: Vec<SpanRow>,
    /// What is open of the sessions that were touched.
    pub open: Vec<OpenSpans>,
    /// Every session that was touched.
    pub touched: Vec<String>,
    /// Sessions that cannot be projected any further.
    pub broken: Vec<BrokenSession>,
}

/// A run that has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// The session.
    pub session_id: String,
    /// Whether it is shown as one whose host lives.
    pub is_running: bool,
}

/// Which spans to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Those of a session, in all its traces.
    Session(&'a str),
    /// Those of one trace.
    Trace(&'a str),
}

/// A span that is over, as a line, with its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Counted up; gaps are possible.
    pub place: u64,
    /// The span, as JSON.
    pub body: String,
}

/// A place for spans.
#[async_trait]
pub trait TraceStore: Send + Sync {
    /// How far it is.
    async fn progress(&self) -> Result<Progress, TraceError>;

    /// Takes a step. False: the store is somewhere else by now, and nothing was written.
    async fn advance(&self, step: Advance) -> Result<bool, TraceError>;

    /// Begins anew: from the first event, over what is there. Spans that come again keep their
    /// places; those that do not, and whose session the journal still has, go at the end. Spans of
    /// sessions that the journal has no more stay.
    async fn begin_anew(&self) -> Result<(), TraceError>;

    /// Runs without an end.
    async fn open_runs(&self) -> Result<Vec<OpenRun>, TraceError>;

    /// Spans as JSON, open ones too, by their start.
    async fn spans(&self, scope: Scope<'_>) -> Result<Vec<String>, TraceError>;

    /// Sessions that cannot be projected.
    async fn broken(&self) -> Result<Vec<BrokenSession>, TraceError>;

    /// Spans that are over behind a place (0 for the first), so many at most.
    async fn finished(&self, after: u64, limit: u32) -> Result<Vec<Finished>, TraceError>;

    /// The place of a span that is over.
    async fn place_of(&self, span_id: &str) -> Result<Option<u64>, TraceError>;

    /// How far somebody who sends spans on has got: a place, 0 for nobody's.
    async fn sent(&self, sink: &str) -> Result<u64, TraceError>;

    /// Notes how far somebody has got.
    async fn note_sent(&self, sink: &str, place: u64) -> Result<(), TraceError>;

    /// Deletes spans that began before this time, so many at most. How many were.
    async fn prune(&self, before_ms: u64, limit: u32) -> Result<u64, TraceError>;
}
