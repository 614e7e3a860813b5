//! What the front doors need of the host.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use stoplog_admission::Load;
use stoplog_model::event::{Observed, Verdict};
use stoplog_model::{ApprovalId, Class, Reason, Record, Session, SessionId, TraceContext, TraceId};
use tokio::sync::broadcast;

use crate::caller::Caller;

/// A tool of the lock, as clients are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Its definition, as MCP has it.
    pub definition: Value,
}

/// A call that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The tool.
    pub tool: String,
    /// Its input.
    pub arguments: Value,
    /// The client's own key of the call.
    pub key: Option<String>,
    /// The conversation that it belongs to; empty for the caller's common one.
    pub conversation: String,
    /// Name and version of the client's program.
    pub program: String,
}

/// What came of a call so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The session that it is in.
    pub session: SessionId,
    /// Its position there, such as `4.0`.
    pub position: String,
    /// The trace of the run that took it.
    pub trace_id: Option<TraceId>,
    /// How far it is.
    pub came: Came,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// It ended, and that is durable.
    Observed {
        /// How.
        observed: Box<Observed>,
        /// It ended before this was asked: nothing was done for it now.
        replayed: bool,
    },
    /// A person has to decide.
    Waits(Waiting),
}

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// An approval.
    Approval {
        /// Which.
        id: ApprovalId,
        /// What the tool would do, in its own words, readable.
        preview: String,
        /// Undecided by then is rejected. Milliseconds since the Unix epoch.
        expires_at_ms: u64,
    },
    /// A decision about a parked call.
    Parked {
        /// `SESSION/ITERATION.ORDINAL`.
        id: String,
        /// Why.
        reason: Reason,
    },
}

/// Why the host did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code, and the page in `docs/reasons/`; none for what should not happen.
    pub reason: Option<Reason>,
    /// What happened, to what.
    pub message: String,
    /// Milliseconds to wait before another try makes sense.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// With a reason code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal {
            reason: Some(reason),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// What has no page.
    pub fn internal(message: impl Into<String>) -> Refusal {
        Refusal {
            reason: None,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The same, with a wait.
    pub fn retry_after(self, ms: u64) -> Refusal {
        Refusal {
            retry_after_ms: Some(ms),
            ..self
        }
    }
}

/// A run that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAsk {
    /// What the agent is asked to do.
    pub task: String,
    /// The workflow's name; the configuration's if there is none.
    pub feature: Option<String>,
    /// Who talks, for cost; the caller's name if there is none.
    pub user: Option<String>,
    /// The client's own key of the run.
    pub key: Option<String>,
    /// The client's span, below which the run's trace is seen.
    pub trace: Option<TraceContext>,
}

/// A run that is in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its session.
    pub session: SessionId,
    /// It was there before: this was asked before, with the same words.
    pub before: bool,
}

/// A session, as its tenant may follow it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Every record, in order.
    pub records: Vec<Record>,
    /// Their fold.
    pub session: Session,
    /// Whether the host is at work on it, or is about to be.
    pub progress: Progress,
}

/// Something of a turn that is still being written. Nothing of it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The session.
    pub session: SessionId,
    /// The turn, from 1.
    pub iteration: u32,
    /// The request to a model that it answers, from 1 in each turn.
    pub attempt: u32,
    /// What was added; none when all of this attempt is taken back.
    pub text: Option<String>,
}

/// Whether a session goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// At work, or in line.
    AtWork,
    /// Not by itself: it has ended, failed, or waits for a person.
    AtRest,
}

/// A person's decision about a parked call.
#[derive(Debug, Clone, PartialEq)]
pub enum Settle {
    /// It was done; with its output, if that is known.
    Done(Option<Value>),
    /// It was not done.
    NotDone,
    /// Nobody knows.
    Abandon,
}

/// A person's decision about an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub note: String,
}

/// One condition of being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub said: String,
}

/// An answer that a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The route as the document has it; empty for none.
    pub route: &'a str,
    /// The method, as the client wrote it.
    pub method: &'a str,
    /// Its status.
    pub status: u16,
    /// The reason code of a problem.
    pub reason: Option<&'a str>,
    /// From the head of the request to the head of the answer.
    pub took: Duration,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Spans, one by one or in groups.
    Traces,
    /// Money.
    Cost,
}

/// How an event stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// All was told that there was to tell.
    Whole,
    /// Its client went away.
    Left,
    /// The host could not go on with it.
    Cut,
}

/// The host behind the doors. Every method that is given a [`Caller`] answers for that tenant
/// alone; what the caller may do was asked before.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// The tools of the lock, by name. Told from memory: nothing is compiled for it.
    fn tools(&self) -> &[Tool];

    /// Has a call done, or tells what came of it before. Goes on when the caller is gone.
    async fn call(&self, caller: &Caller, ask: Ask) -> Result<Answer, Refusal>;

    /// Begins a session, durably, and puts it in line.
    async fn admit(&self, caller: &Caller, ask: RunAsk) -> Result<Admitted, Refusal>;

    /// A session of the caller's tenant.
    async fn find(&self, caller: &Caller, id: &SessionId) -> Result<Found, Refusal>;

    /// Told of every session that something was committed to. May miss some: look now and then.
    fn commits(&self) -> broadcast::Receiver<SessionId>;

    /// Told of the text of a model that is still writing. Who misses some is told the whole text with
    /// its turn.
    fn hearing(&self) -> broadcast::Receiver<Heard>;

    /// The approvals that wait; with `all`, decided ones too.
    async fn approvals(&self, caller: &Caller, all: bool) -> Result<Vec<Value>, Refusal>;

    /// Decides about an approval in the caller's name. What it is then.
    async fn decide(
        &self,
        caller: &Caller,
        id: &ApprovalId,
        decision: Decision,
    ) -> Result<Value, Refusal>;

    /// The calls that are parked.
    async fn parked(&self, caller: &Caller) -> Result<Vec<Value>, Refusal>;

    /// Decides about a parked call in the caller's name.
    async fn settle(
        &self,
        caller: &Caller,
        id: &str,
        settle: Settle,
        note: String,
    ) -> Result<Value, Refusal>;

    /// The spans of a session, or of one trace of it, redacted.
    async fn trace(&self, caller: &Caller, what: &str) -> Result<Vec<Value>, Refusal>;

    /// Answers a question about the caller's tenant; its words are those of the query.
    async fn ask(
        &self,
        caller: &Caller,
        about: Question,
        words: &[(String, String)],
    ) -> Result<Value, Refusal>;

    /// What it takes to be ready, and whether it is so.
    async fn ready(&self) -> Vec<Condition>;

    /// Told of every answer, when its head is there. Must not wait for anything.
    fn answered(&self, answered: &Answered<'_>);

    /// Told of every event stream that ended. Must not wait for anything.
    fn streamed(&self, end: StreamEnd);

    /// The golden signals of all tenants, as Prometheus reads them; `doors` is how full the doors are.
    async fn metrics(&self, doors: &Load) -> Result<String, Refusal>;
}
