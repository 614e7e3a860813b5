//! The host behind its front doors: what MCP and HTTP ask for, done as everything else is.
//!
//! * A tool call of a client is a turn of a session of that client: see `lane.rs`.
//! * A run is a session like any other, begun durably and put to work by the crew.
//! * What a person decides is written under the session's lease, in the name of their key.
//!
//! Invariants:
//! * a client's key is looked up before anything is begun, and two calls under one key are never
//!   at work beside each other;
//! * a tenant's caller is answered about that tenant alone: another one's session is not there.

mod asked;
mod calls;
mod decide;
mod lane;
mod line;
mod looks;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use stoplog_admission::Load;
use stoplog_journal::{OnCommit, Store};
use stoplog_model::event::{Pin, SessionStarted};
use stoplog_model::key::ActKey;
use stoplog_model::port::Hearing;
use stoplog_model::{ApprovalId, Digest, Position, Reason, Record, SessionId, Tenant};
use stoplog_serve::{
    Admitted, Answer, Answered, Ask, Caller, Condition, Decision, Found, Heard, Question, Refusal,
    RunAsk, Settle, StreamEnd, Tool,
};
use stoplog_store::TraceDb;
use tokio::sync::{OnceCell, broadcast};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Host;
use super::measure::Looked;
use crate::config::Metrics;
use crate::error::CliError;

pub(crate) use lane::CLIENT_SESSION;
use lane::Lanes;
pub(crate) use line::Line;

/// Sessions that somebody may hear of before they look themselves: who is behind looks at the
/// journal.
const COMMITS_HELD: usize = 1024;

/// Tells of every commit.
#[derive(Clone)]
pub(crate) struct Commits(broadcast::Sender<SessionId>);

impl Commits {
    pub(crate) fn new() -> Commits {
        Commits(broadcast::channel(COMMITS_HELD).0)
    }
}

impl OnCommit for Commits {
    fn committed(&self, session: &SessionId, _: &[Record]) {
        // Nobody may be listening.
        let _ = self.0.send(session.clone());
    }
}

/// Pieces of text that somebody may not have read yet: who is behind is told with the turn.
const PIECES_HELD: usize = 4096;

/// Tells of the text of models that are still writing.
#[derive(Clone)]
pub(crate) struct Spoken(broadcast::Sender<Heard>);

impl Spoken {
    pub(crate) fn new() -> Spoken {
        Spoken(broadcast::channel(PIECES_HELD).0)
    }

    fn tell(&self, session: &SessionId, iteration: u32, attempt: u32, text: Option<&str>) {
        // Nobody listens, mostly: nothing is copied then.
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(Heard {
                session: session.clone(),
                iteration,
                attempt,
                text: text.map(str::to_owned),
            });
        }
    }
}

impl Hearing for Spoken {
    fn provisional(&self, session: &SessionId, iteration: u32, attempt: u32, text: &str) {
        self.tell(session, iteration, attempt, Some(text));
    }

    fn retracted(&self, session: &SessionId, iteration: u32, attempt: u32) {
        self.tell(session, iteration, attempt, None);
    }
}

/// What a host with front doors knows of its configuration.
pub(crate) struct Plan {
    /// The tools of the lock, as sessions pin them.
    pub(crate) pins: Vec<Arc<Pin>>,
    /// The workflow's name.
    pub(crate) feature: String,
    /// The system prompt of runs.
    pub(crate) system_prompt: String,
    /// Turns of a run at most.
    pub(crate) max_iterations: u32,
    /// Runs of a tenant that may be in line or at work.
    pub(crate) runs: usize,
    /// Runs at work at once, of all tenants.
    pub(crate) runs_at_work: usize,
    /// What the model is, for `/ready`.
    pub(crate) model: String,
    /// What the golden signals are measured against.
    pub(crate) metrics: Metrics,
}

/// A call of a client without a key, as it would be made again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Repeat {
    who: lane::Who,
    tool: String,
    args_digest: Digest,
}

/// See the module.
pub(crate) struct Front {
    pub(super) host: Arc<Host>,
    pub(super) plan: Plan,
    tools: Vec<Tool>,
    lanes: Lanes,
    line: Line,
    /// Clients' keys whose call is under way.
    keys: Mutex<HashSet<ActKey>>,
    /// Calls without a key that wait for a person, or were decided on and not asked for since.
    waiting: Mutex<HashMap<Repeat, (SessionId, Position)>>,
    /// Runs in line or at work.
    runs: Mutex<HashMap<SessionId, Tenant>>,
    tasks: TaskTracker,
    model_failed_at_ms: Mutex<Option<u64>>,
    /// When the journal was tried last, and why it could not be written.
    written: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
    pub(super) looked: Looked,
    traces: OnceCell<TraceDb>,
}

impl Front {
    /// Over a host. Every tool of the plan is made ready: none is compiled when it is asked for.
    pub(crate) async fn new(host: Arc<Host>, plan: Plan, line: Line) -> Result<Front, CliError> {
        host.tools.ready(&host.journal.data, &plan.pins).await?;
        let told = plan.pins.iter().map(|pin| Tool {
            name: pin.contract.name.to_string(),
            class: pin.class,
            definition: stoplog_model::definition::mcp(&pin.contract, pin.class),
        });
        Ok(Front {
            tools: told.collect(),
            lanes: Lanes::default(),
            line,
            keys: Mutex::default(),
            waiting: Mutex::default(),
            runs: Mutex::default(),
            tasks: TaskTracker::new(),
            model_failed_at_ms: Mutex::default(),
            written: tokio::sync::Mutex::default(),
            looked: Looked::default(),
            traces: OnceCell::new(),
            plan,
            host,
        })
    }

    /// Ends what has no call under way, and waits until the rest has ended by itself.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.close_idle();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A run is not at work any more.
    pub(crate) fn came(&self, session: &SessionId, reason: Option<Reason>, now_ms: u64) {
        lock(&self.runs).remove(session);
        if reason == Some(Reason::ModelUnavailable) {
            *lock(&self.model_failed_at_ms) = Some(now_ms);
        } else {
            *lock(&self.model_failed_at_ms) = None;
        }
    }

    fn store(&self) -> &dyn Store {
        &*self.host.journal.store
    }

    /// A session that a client of these doors begins.
    fn started(&self, caller: &Caller, session: SessionId) -> SessionStarted {
        SessionStarted {
            session,
            tenant: caller.tenant.clone(),
            user: caller.name.clone(),
            feature: self.plan.feature.clone(),
            task: String::new(),
            system_prompt: String::new(),
            max_iterations: self.plan.max_iterations,
            tools: self.plan.pins.clone(),
            client: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the host, as a client is told of it.
pub(super) fn refusal(error: CliError) -> Refusal {
    match error.reason {
        Some(reason) => Refusal::new(reason, error.message),
        None => Refusal::internal(error.message),
    }
}

fn journal_refusal(error: stoplog_journal::JournalError) -> Refusal {
    refusal(error.into())
}

/// The seam, over an [`Front`] that tasks share.
pub(crate) struct Doors(pub(crate) Arc<Front>);

#[async_trait]
impl stoplog_serve::Host for Doors {
    fn tools(&self) -> &[Tool] {
        &self.0.tools
    }

    async fn call(&self, caller: &Caller, ask: Ask) -> Result<Answer, Refusal> {
        self.0.call(caller, ask).await
    }

    async fn admit(&self, caller: &Caller, ask: RunAsk) -> Result<Admitted, Refusal> {
        self.0.admit(caller, ask).await
    }

    async fn find(&self, caller: &Caller, id: &SessionId) -> Result<Found, Refusal> {
        self.0.find(caller, id).await
    }

    fn commits(&self) -> broadcast::Receiver<SessionId> {
        self.0.host.journal.commits.0.subscribe()
    }

    fn hearing(&self) -> broadcast::Receiver<Heard> {
        self.0.host.spoken.0.subscribe()
    }

    async fn approvals(&self, caller: &Caller, all: bool) -> Result<Vec<Value>, Refusal> {
        self.0.approvals(caller, all).await
    }

    async fn decide(
        &self,
        caller: &Caller,
        id: &ApprovalId,
        decision: Decision,
    ) -> Result<Value, Refusal> {
        self.0.decide(caller, id, decision).await
    }

    async fn parked(&self, caller: &Caller) -> Result<Vec<Value>, Refusal> {
        self.0.parked(caller).await
    }

    async fn settle(
        &self,
        caller: &Caller,
        id: &str,
        settle: Settle,
        note: String,
    ) -> Result<Value, Refusal> {
        self.0.settle(caller, id, settle, note).await
    }

    async fn trace(&self, caller: &Caller, what: &str) -> Result<Vec<Value>, Refusal> {
        self.0.trace(caller, what).await
    }

    async fn ready(&self) -> Vec<Condition> {
        self.0.ready().await
    }

    async fn ask(
        &self,
        caller: &Caller,
        about: Question,
        words: &[(String, String)],
    ) -> Result<Value, Refusal> {
        self.0.ask(caller, about, words).await
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.0
            .host
            .journal
            .signals
            .answered(stoplog_telemetry::Answered {
                route: answered.route,
                method: answered.method,
                status: answered.status,
                reason: answered.reason,
                took: answered.took,
            });
    }

    fn streamed(&self, end: StreamEnd) {
        self.0.host.journal.signals.stream_ended(match end {
            StreamEnd::Whole => "whole",
            StreamEnd::Left => "left",
            StreamEnd::Cut => "cut",
        });
    }

    async fn metrics(&self, doors: &Load) -> Result<String, Refusal> {
        self.0.metrics(doors).await
    }
}
