//! The events of a session: all that is ever written, and all that state is made from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::Position;
use crate::class::Class;
use crate::contract::Contract;
use crate::digest::Digest;
use crate::effect::{Outcome, Request, Response};
use crate::id::{ApprovalId, SessionId, Tenant, TraceId};
use crate::key::ActKey;
use crate::money::UsdMicros;
use crate::outcome::{Disposition, Finding, ToolError};
use crate::reason::Reason;
use crate::state::{StateRead, StateWrite};
use crate::tool_span::ToolSpan;
use crate::trace_context::TraceContext;
use crate::turn::{FailedAttempt, FailureClass, Turn};

/// One event with its place. The journal's unit; `(session, seq)` is unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Counted from 1 in each session, without gaps.
    pub seq: u64,
    /// Epoch of the lease under which it was written.
    pub epoch: u64,
    /// Wall clock of the host, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The event.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The session began. Always `seq` 1.
    SessionStarted(SessionStarted),
    /// A run began: the first, or a resume.
    RunStarted(RunStarted),
    /// A model provider is about to be asked, once.
    ModelAsked(ModelAsked),
    /// Part of the conversation is left out of every prompt from here on.
    ContextTrimmed(ContextTrimmed),
    /// The model answered.
    TurnTaken(Turn),
    /// The model answered with what cannot be used; paid for all the same.
    TurnRejected(TurnRejected),
    /// The model could not be asked.
    ModelFailed(ModelFailed),
    /// A person is asked.
    ApprovalRequested(Approval),
    /// The person, or the clock, decided.
    ApprovalDecided(ApprovalDecided),
    /// A call began to run, or to run again.
    CallStarted(CallStarted),
    /// A write tool looked something up; kept so that running it again sees the same.
    ReadRecorded(ReadRecorded),
    /// A write tool looked at its state; kept so that running it again sees the same.
    StateRead(StateRead),
    /// An effect is about to be sent.
    IntentRecorded(IntentRecorded),
    /// What came of it.
    OutcomeRecorded(OutcomeRecorded),
    /// The far side was asked.
    Probed(Probed),
    /// The effects of a call were taken back; it may run again.
    Undone(Undone),
    /// A call ended; the loop saw this.
    Observed(Observed),
    /// A call waits for a person.
    Parked(Parked),
    /// The person decided.
    ParkResolved(ParkResolved),
    /// A run ended in order. A run without this event died.
    RunEnded(RunEnded),
}

/// One tool as the session began with it: its pin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Digest of the component.
    pub component: Digest,
    /// Class, from its export.
    pub class: Class,
    /// Its contract.
    pub contract: Contract,
}

/// See [`Event::SessionStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStarted {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who talks, for cost and dashboards.
    pub user: String,
    /// The workflow's name: cost is rolled up by it.
    pub feature: String,
    /// What the agent is asked to do.
    pub task: String,
    /// The system prompt.
    pub system_prompt: String,
    /// Turns at most.
    pub max_iterations: u32,
    /// The tools, pinned.
    pub tools: Vec<Arc<Pin>>,
    /// Set when no model of ours decides on the calls: they come from a client, one turn each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
}

/// A client that calls tools by itself, and whose sessions are made as its calls come.
///
/// Its calls may be under way beside each other: none of them was decided on from what came of
/// another, as far as anybody here knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// What its sessions have in common, however many there are: acts of session scope reach over
    /// all sessions of one conversation of one user.
    pub conversation: String,
}

/// See [`Event::RunStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's trace.
    pub trace_id: TraceId,
    /// Which host runs it.
    pub host: String,
    /// The trace of the run before, if this is a resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<TraceId>,
    /// The iteration that it goes on with.
    pub at_iteration: u32,
    /// The run before did not end in order.
    pub after_crash: bool,
    /// The span of somebody else that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<TraceContext>,
}

/// See [`Event::ModelAsked`]. One for each request to a provider, before it leaves: what was asked
/// and never answered is on record, with what it may have cost. A model that sends nothing anywhere
/// (a script) has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAsked {
    /// The iteration that is to be.
    pub iteration: u32,
    /// Which request for this turn in this run, counted from 1 over all profiles.
    pub attempt: u32,
    /// The same profile was asked before for this turn: the request is paid from the session's
    /// budget of retries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Which profile; empty for the first of the configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The model that is asked for.
    pub model_id: String,
    /// Digest of the profile's system prompt and of the tool definitions.
    pub prompt_version_hash: String,
    /// Tokens of the prompt, estimated from its length.
    pub input_tokens: u64,
    /// What the request costs if nobody ever reads its answer: the estimated prompt at the price of
    /// input. What the model wrote by then is not in it.
    #[serde(default, skip_serializing_if = "UsdMicros::is_zero")]
    pub cost: UsdMicros,
    /// How the attempt before this one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FailedAttempt>,
}

/// Why the conversation was made shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrimCause {
    /// The prompt would have used more of the context window than the configuration allows.
    Share,
    /// The provider said that the prompt does not fit.
    Refused,
}

/// A tool's output that is cut in every later prompt. The journal keeps all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCut {
    /// The call.
    pub position: Position,
    /// The tool: what grew the context can be told by it.
    pub tool: String,
    /// Bytes that it had in the prompt.
    pub from_bytes: u64,
    /// Bytes of it that stay.
    pub to_bytes: u64,
}

/// See [`Event::ContextTrimmed`] (requirements 67, 68, 76, 103). System prompt, task and the newest
/// turns are never touched. Every later prompt is built from these events, so a resumed run builds
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextTrimmed {
    /// The iteration that is to be asked for.
    pub iteration: u32,
    /// Why.
    pub cause: TrimCause,
    /// Tokens that the model can hold.
    pub window_tokens: u64,
    /// Tokens of the prompt before, estimated from the last measured one.
    pub before_tokens: u64,
    /// Tokens of the prompt behind it, estimated the same way.
    pub after_tokens: u64,
    /// Outputs that are cut from here on, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<OutputCut>,
    /// Turns up to this one are left out whole, calls with their results; a list of those calls
    /// stands in their place. 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_through: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// See [`Event::TurnRejected`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnRejected {
    /// The turn, as it came.
    pub turn: Turn,
    /// Why it cannot be used.
    pub failure: FailureClass,
}

/// See [`Event::ModelFailed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFailed {
    /// The iteration that was to be.
    pub iteration: u32,
    /// The model that was asked for.
    pub model_id: String,
    /// Every attempt.
    pub attempts: Vec<FailedAttempt>,
    /// The class of the last one.
    pub failure: FailureClass,
}

/// A question to a person, with all that it takes to answer it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Derived from session, position and arguments.
    pub id: ApprovalId,
    /// The call.
    pub position: Position,
    /// The tool's name.
    pub tool: String,
    /// Its version.
    pub tool_version: String,
    /// Its component.
    pub component: Digest,
    /// The class that it is judged as.
    pub class: Class,
    /// What the tool would do, in its own words.
    pub preview: String,
    /// The arguments, whole: the journal is the scoped store.
    pub arguments: Value,
    /// Digest of the arguments: what the approval is bound to.
    pub args_digest: Digest,
    /// The rule that held the call.
    pub why: String,
    /// Milliseconds since the Unix epoch.
    pub requested_at_ms: u64,
    /// Undecided by then is rejected. Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// What was decided about an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Do it.
    Approved,
    /// Do not.
    Rejected,
    /// Nobody decided in time: do not.
    Expired,
}

/// See [`Event::ApprovalDecided`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalDecided {
    /// Which.
    pub id: ApprovalId,
    /// The call that it is about.
    pub position: Position,
    /// What.
    pub verdict: Verdict,
    /// Who: a person's name, or `clock`.
    pub by: String,
    /// Why, in the person's words.
    pub note: String,
}

/// See [`Event::CallStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStarted {
    /// The call.
    pub position: Position,
    /// What the guest's clock shows: the first start of the call, kept over recoveries.
    pub started_at_ms: u64,
}

/// See [`Event::ReadRecorded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRecorded {
    /// The call.
    pub position: Position,
    /// Which read of the call, counted from 0.
    pub index: u32,
    /// Digest of method, URL and body.
    pub fingerprint: Digest,
    /// The answer.
    pub response: Response,
}

/// See [`Event::IntentRecorded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecorded {
    /// The call.
    pub position: Position,
    /// Empty for the first explicit effect of the call.
    pub label: String,
    /// 1 for the first sending, more for each resending. Never part of the key.
    pub attempt: u32,
    /// The text of the `Idempotency-Key` header.
    pub key: String,
    /// The act that it claims, and its arguments.
    pub act_key: Option<ActKey>,
    /// Digest of the arguments.
    pub args_digest: Digest,
    /// Digest of method, URL and body.
    pub fingerprint: Digest,
    /// The request, with placeholders where secrets go.
    pub request: Request,
    /// The approval that is consumed by this commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The call may have further effects: it has split its permit, or sends by plain HTTP. Then an
    /// output found by probe cannot stand for the whole call.
    #[serde(default)]
    pub one_of_several: bool,
}

/// See [`Event::OutcomeRecorded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecorded {
    /// The call.
    pub position: Position,
    /// The effect.
    pub label: String,
    /// The attempt.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// Milliseconds from sending to outcome.
    pub latency_ms: u64,
}

/// Why the far side was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbePurpose {
    /// An effect was in doubt.
    Recovery,
    /// A settled write is confirmed after a crash (requirement 16).
    Confirm,
}

/// See [`Event::Probed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The call.
    pub position: Position,
    /// The effect.
    pub label: String,
    /// The key that was looked up.
    pub key: String,
    /// Why.
    pub purpose: ProbePurpose,
    /// What was found.
    pub finding: Finding,
    /// Whether `absent` could be believed: the settling time had passed.
    pub settled: bool,
}

/// See [`Event::Undone`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// The call.
    pub position: Position,
    /// What `undo` said.
    pub note: String,
    /// What `undo` wrote into the tool's state: visible from this commit on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateWrite>,
}

/// How a call ended, for the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// The output.
    Ok(Value),
    /// The error.
    Err(ToolError),
}

/// See [`Event::Observed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The call.
    pub position: Position,
    /// The tool's name as the model wrote it.
    pub tool: String,
    /// How it came about.
    pub disposition: Disposition,
    /// How it ended.
    pub result: CallResult,
    /// The key that its effects carried, or would have.
    pub key: String,
    /// The act, if the tool names one.
    pub act_key: Option<ActKey>,
    /// Digest of the arguments.
    pub args_digest: Digest,
    /// Wall clock at the start, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Milliseconds from start to end, in the run that ended it.
    pub latency_ms: u64,
    /// The call ran out of time.
    #[serde(default)]
    pub timed_out: bool,
    /// Output and log lines of the tool, bounded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// What the tool put on its span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(String, String)>,
    /// Parts of the call that the tool marked, in the order in which they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<ToolSpan>,
    /// What the call wrote into the tool's state: visible from this commit on. The fold leaves it
    /// out: the store has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateWrite>,
}

/// See [`Event::Parked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The call.
    pub position: Position,
    /// Why.
    pub reason: Reason,
    /// What was seen, for the person.
    pub detail: String,
}

/// What a person says of a parked call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It was done; the output, if known.
    Done(Option<Value>),
    /// It was not done: it may be sent, under the same key.
    NotDone,
    /// Leave it: the model is told that nobody knows.
    Abandon,
}

/// See [`Event::ParkResolved`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkResolved {
    /// The call.
    pub position: Position,
    /// What.
    pub resolution: Resolution,
    /// Who.
    pub by: String,
    /// Why, in the person's words.
    pub note: String,
}

/// How a run ended (requirement 106a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The model gave its answer.
    Success,
    /// It cannot go on.
    Error,
    /// It waits for a person.
    Interrupt,
}

/// See [`Event::RunEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    /// How.
    pub outcome: RunOutcome,
    /// The final answer, on success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// Why, if not success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The class of the failure, on error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureClass>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Event {
    /// The word in the journal's `kind` column.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::SessionStarted(_) => "session_started",
            Event::RunStarted(_) => "run_started",
            Event::ModelAsked(_) => "model_asked",
            Event::ContextTrimmed(_) => "context_trimmed",
            Event::TurnTaken(_) => "turn_taken",
            Event::TurnRejected(_) => "turn_rejected",
            Event::ModelFailed(_) => "model_failed",
            Event::ApprovalRequested(_) => "approval_requested",
            Event::ApprovalDecided(_) => "approval_decided",
            Event::CallStarted(_) => "call_started",
            Event::ReadRecorded(_) => "read_recorded",
            Event::StateRead(_) => "state_read",
            Event::IntentRecorded(_) => "intent_recorded",
            Event::OutcomeRecorded(_) => "outcome_recorded",
            Event::Probed(_) => "probed",
            Event::Undone(_) => "undone",
            Event::Observed(_) => "observed",
            Event::Parked(_) => "parked",
            Event::ParkResolved(_) => "park_resolved",
            Event::RunEnded(_) => "run_ended",
        }
    }

    /// The call that the event is about, if it is about one.
    pub fn position(&self) -> Option<Position> {
        match self {
            Event::ApprovalRequested(e) => Some(e.position),
            Event::ApprovalDecided(e) => Some(e.position),
            Event::CallStarted(e) => Some(e.position),
            Event::ReadRecorded(e) => Some(e.position),
            Event::StateRead(e) => Some(e.position),
            Event::IntentRecorded(e) => Some(e.position),
            Event::OutcomeRecorded(e) => Some(e.position),
            Event::Probed(e) => Some(e.position),
            Event::Undone(e) => Some(e.position),
            Event::Observed(e) => Some(e.position),
            Event::Parked(e) => Some(e.position),
            Event::ParkResolved(e) => Some(e.position),
            _ => None,
        }
    }
}
