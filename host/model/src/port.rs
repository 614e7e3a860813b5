//! The seams: what the host's stages need from each other and from the world, as traits.
//!
//! The sandbox implements [`Runner`] and calls [`Gate`]; the dispatcher implements [`Gate`] and
//! calls [`Runner`]. So neither knows the other, and everything but the sandbox builds and tests
//! without wasmtime.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::call::Position;
use crate::class::Class;
use crate::digest::Digest;
use crate::effect::{EffectError, Request, Response};
use crate::id::SessionId;
use crate::outcome::{Finding, ToolError};
use crate::state::{StateGot, StateOp, StateRefused};
use crate::tool_span::ToolSpan;

/// The wall clock, handed in: replay must be exact.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The only way from a guest to the outside world.
#[async_trait]
pub trait Gate: Send + Sync {
    /// The key that an effect under this label will carry.
    fn key(&self, label: &str) -> String;
    /// Takes a label for one more effect; an error when it is malformed or taken.
    fn split(&self, label: &str) -> Result<(), String>;
    /// Performs the effect of a permit. Each label is good once.
    async fn perform(&self, label: &str, request: Request) -> Result<Response, EffectError>;
    /// Sends a plain `wasi:http` request: a safe method, or, from the call of a write tool, an
    /// effect under an implicit permit.
    async fn fetch(&self, request: Request) -> Result<Response, EffectError>;
    /// Asks the tool's state, or writes to it: the writes are the call's own until it is observed.
    /// A gate that says nothing else has none.
    async fn state(&self, _: StateOp) -> Result<StateGot, StateRefused> {
        Err(StateRefused::Denied("there is no state here".to_owned()))
    }
}

/// Which export to run, with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `call`.
    Call {
        /// JSON text, validated.
        input: String,
    },
    /// `undo` of class 2.
    Undo {
        /// The input of the call.
        input: String,
        /// Its output, or empty when nobody knows.
        output: String,
    },
    /// `probe` of class 2 and up.
    Probe {
        /// The input of the call.
        input: String,
        /// The key to look for.
        key: String,
    },
    /// `preview` of class 4.
    Preview {
        /// The input of the call.
        input: String,
    },
}

impl Entry {
    /// Whether the entry gets a permit.
    pub fn may_write(&self) -> bool {
        matches!(self, Entry::Call { .. } | Entry::Undo { .. })
    }
}

/// Facts of a call that the guest may see (`context.call-info`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "field for field the record `call-info` of wit/tool.wit"
)]
pub struct CallInfo {
    pub tenant: String,
    pub session: String,
    pub call_id: String,
    pub attempt: u32,
    pub started_at_ms: u64,
    pub scheduled_for_ms: Option<u64>,
    pub deadline_ms: u64,
}

/// One run of one export in a fresh instance.
#[derive(Debug, Clone)]
pub struct Job {
    /// Digest of the component.
    pub component: Digest,
    /// Its class.
    pub class: Class,
    /// What to run.
    pub entry: Entry,
    /// What it may know.
    pub info: CallInfo,
    /// Milliseconds until it is stopped.
    pub timeout_ms: u64,
    /// Seed of its random numbers.
    pub seed: [u8; 32],
}

/// What an export returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// JSON or plain text, from `call`, `undo` or `preview`.
    Text(String),
    /// From `probe`.
    Finding(Finding),
    /// The tool's own error.
    Error(ToolError),
}

/// How a run in the sandbox ended other than by returning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The component is not there, or will not load.
    #[error("{0}")]
    NotLoaded(String),
    /// It trapped.
    #[error("the tool trapped: {0}")]
    Trapped(String),
    /// It met a limit.
    #[error("the tool met a limit: {0}")]
    Limit(String),
    /// It took too long.
    #[error("the tool took longer than {0} ms and was stopped")]
    Timeout(u64),
}

/// What a run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The result.
    pub result: Result<Returned, RunError>,
    /// Standard output, standard error and log lines, bounded.
    pub log: String,
    /// Names and values for the span.
    pub annotations: Vec<(String, String)>,
    /// Parts of the run that the tool marked, in the order in which they began.
    pub spans: Vec<ToolSpan>,
}

/// Runs tools.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one export in a fresh instance whose only way out is the gate.
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran;
}

/// Told of the model's text while it comes, for people who watch (requirement 142).
///
/// Nothing of it is true yet: it is committed when the turn's event is durable, and until then it
/// may be taken back. An attempt is named by iteration and number; its number is that of
/// [`ModelAsked`](crate::event::ModelAsked).
pub trait Hearing: Send + Sync {
    /// The model goes on writing.
    fn provisional(&self, session: &SessionId, iteration: u32, attempt: u32, text: &str);
    /// What was heard of this attempt does not count: it broke, or its turn cannot be used.
    fn retracted(&self, session: &SessionId, iteration: u32, attempt: u32);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl Hearing for Unheard {
    fn provisional(&self, _: &SessionId, _: u32, _: u32, _: &str) {}
    fn retracted(&self, _: &SessionId, _: u32, _: u32) {}
}

/// A point at which the host may die. Each has a moment before and a moment after.
///
/// Every step that is durable, leaves the host or gives something back is here. The crash sweep
/// matches on this enum without a wildcard: a new stage does not compile until a test visits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A request to a model provider is handed to the journal, and leaves. It is durable with the
    /// commit that comes next.
    ModelAsked,
    /// The model's turn is handed to the journal; it is durable with the commit that comes next.
    TurnTaken,
    /// An intent is durable.
    IntentDurable,
    /// The approval is consumed, in the commit of the intent.
    ApprovalConsumed,
    /// The request is sent. Before: it is about to leave. After: sending is over, with an answer or
    /// without. In between the far side has it, and only a kill from outside hits that.
    RequestSent,
    /// The answer is received.
    AnswerReceived,
    /// The outcome is handed to the journal; it is durable with the commit that comes next.
    OutcomeSettled,
    /// The observation is durable.
    ObservationDurable,
    /// The loop is given the observation.
    ReplyGiven,
    /// A batch of events is appended to the store, whatever is in it.
    BatchAppended,
    /// The store's transaction is committed.
    TransactionCommitted,
    /// A file of the store is synced to the disk. SQLite does this inside; only a VFS around it
    /// can tell, as the one of the tests does.
    FileSynced,
    /// A session's lease is taken.
    LeaseTaken,
    /// A session's lease is renewed.
    LeaseRenewed,
    /// A session's lease is given back.
    LeaseReleased,
    /// A batch that carries a snapshot of its session is appended.
    SnapshotWritten,
    /// One batch of old sessions is deleted.
    SessionsPruned,
    /// One step of an orderly shutdown is done.
    ShutdownStep,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 18] = [
        Stage::ModelAsked,
        Stage::TurnTaken,
        Stage::IntentDurable,
        Stage::ApprovalConsumed,
        Stage::RequestSent,
        Stage::AnswerReceived,
        Stage::OutcomeSettled,
        Stage::ObservationDurable,
        Stage::ReplyGiven,
        Stage::BatchAppended,
        Stage::TransactionCommitted,
        Stage::FileSynced,
        Stage::LeaseTaken,
        Stage::LeaseRenewed,
        Stage::LeaseReleased,
        Stage::SnapshotWritten,
        Stage::SessionsPruned,
        Stage::ShutdownStep,
    ];
}

/// Before or after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Just before it.
    Before,
    /// Just after it.
    After,
}

/// Told of every stage that is passed. The tests hand in one that kills the process; the
/// `stoplog` command hands in [`Unwatched`].
pub trait Watch: Send + Sync {
    /// The host is at this point. May not return.
    fn reached(&self, stage: Stage, moment: Moment, position: Option<Position>);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn reached(&self, _: Stage, _: Moment, _: Option<Position>) {}
}
