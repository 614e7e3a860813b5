//! The one gate: everything that leaves on behalf of a call passes here.
//!
//! `effects.perform` and `wasi:http` both end in this file. A request with a safe method is
//! vetted and sent; for a write tool it is recorded too. Anything else needs the rights of a
//! write tool's `call` or `undo`, spends a permit, and is sent only by a durable intent.
//!
//! On a rerun the gate replays: what is recorded is returned, what is in doubt is sent again when
//! that is the cure, and a request that differs from the recorded one stops the call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use stoplog_egress::{Egress, Vetted};
use stoplog_journal::{ActKeyRow, JournalError, SessionJournal, StoreError};
use stoplog_model::class::is_safe_method;
use stoplog_model::event::{Event, ReadRecorded};
use stoplog_model::key::{UNDO_LABEL, effect_key};
use stoplog_model::port::{Gate, Moment, Stage};
use stoplog_model::session::{CallState, EffectState};
use stoplog_model::state::{StateGot, StateOp, StateRefused, StateWrite};
use stoplog_model::{
    Aftermath, Class, Digest, EffectError, Outcome, Position, Reason, Request, Response,
};
use stoplog_policy::{Clearance, Permit};
use tokio_util::task::TaskTracker;

use crate::dispatcher::Access;
use crate::state::{Failed, StateRights, StateView};

/// Requests that one call may make: a tool that needs more than this is a crawler.
pub(crate) const MAX_REQUESTS: u32 = 64;

/// Start of the labels of implicit permits. Guests cannot take them.
const IMPLICIT_PREFIX: &str = "http-";

/// What a run may do, and how it treats what is recorded.
#[derive(Debug)]
pub(crate) enum Rights {
    /// `probe`, `preview`, and every call of class 0 and 1: no permit exists.
    Look,
    /// `call` of a write tool.
    Write {
        /// The right to its effects.
        clearance: Clearance,
        /// Effects in doubt are sent again.
        send_again: bool,
    },
    /// `undo`.
    Undo {
        /// The right to its effect.
        clearance: Clearance,
    },
}

/// Everything of the gate that one run changes.
struct State {
    clearance: Option<Clearance>,
    effects: Vec<EffectState>,
    /// Recorded reads that this run has not asked for yet.
    to_replay: Vec<ReadRecorded>,
    reads: u32,
    visited: BTreeSet<String>,
    split: BTreeSet<String>,
    implicit: BTreeMap<String, u32>,
    requests: u32,
    stop: Option<Stop>,
}

/// Why the call cannot go on, whatever the guest returns.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// It asked for something else than before.
    Diverged(String),
    /// Another call claimed the act first.
    ActTaken(Box<ActKeyRow>),
    /// The journal failed.
    Journal(JournalError),
}

struct Inner {
    journal: Arc<SessionJournal>,
    egress: Egress,
    access: Access,
    secrets: Vec<String>,
    class: Class,
    position: Position,
    header_key: String,
    deadline: Duration,
    /// What goes out with every request: the call's place in its trace.
    trace: Vec<(String, String)>,
    writes: bool,
    undoing: bool,
    send_again: bool,
    tasks: TaskTracker,
    kept: StateView,
    /// Held while a read gets its number and is staged: the journal takes them in order.
    numbering: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// The gate of one run.
#[derive(Clone)]
pub(crate) struct CallGate {
    inner: Arc<Inner>,
}

/// What a gate is made of.
pub(crate) struct Parts<'a> {
    pub(crate) journal: Arc<SessionJournal>,
    pub(crate) egress: Egress,
    pub(crate) access: Access,
    pub(crate) secrets: Vec<String>,
    pub(crate) class: Class,
    pub(crate) position: Position,
    pub(crate) header_key: String,
    pub(crate) deadline: Duration,
    pub(crate) trace: Vec<(String, String)>,
    pub(crate) call: &'a CallState,
    /// The export that runs changes something: it may write state, too.
    pub(crate) may_write: bool,
}

impl CallGate {
    pub(crate) fn new(parts: Parts<'_>, rights: Rights) -> CallGate {
        let (clearance, undoing, send_again) = match rights {
            Rights::Look => (None, false, false),
            Rights::Write {
                clearance,
                send_again,
            } => (Some(clearance), false, send_again),
            Rights::Undo { clearance } => (Some(clearance), true, false),
        };
        let state = match (parts.access.state, parts.may_write) {
            (false, _) => StateRights::None,
            (true, false) => StateRights::Look,
            (true, true) => StateRights::Write,
        };
        // What `undo` reads is not recorded, neither here nor there: it is run to its end, or anew.
        let kept = StateView::new(
            Some(parts.journal.clone()),
            (parts.position, &parts.call.call.tool),
            state,
            clearance.is_some() && !undoing,
            &parts.call.state_reads,
        );
        CallGate {
            inner: Arc::new(Inner {
                kept,
                journal: parts.journal,
                egress: parts.egress,
                access: parts.access,
                secrets: parts.secrets,
                class: parts.class,
                position: parts.position,
                header_key: parts.header_key,
                deadline: parts.deadline,
                trace: parts.trace,
                writes: clearance.is_some(),
                undoing,
                send_again,
                tasks: TaskTracker::new(),
                numbering: tokio::sync::Mutex::new(()),
                state: Mutex::new(State {
                    clearance,
                    effects: parts.call.effects.clone(),
                    to_replay: if undoing {
                        Vec::new()
                    } else {
                        parts.call.reads.clone()
                    },
                    reads: parts.call.reads.len() as u32,
                    visited: BTreeSet::new(),
                    split: BTreeSet::new(),
                    implicit: BTreeMap::new(),
                    requests: 0,
                    stop: None,
                }),
            }),
        }
    }

    /// Waits for every request that the run has under way.
    pub(crate) async fn drain(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// The effects of the call as this run leaves them.
    pub(crate) fn effects(&self) -> Vec<EffectState> {
        self.inner.state().effects.clone()
    }

    /// What the run has written into the tool's state.
    pub(crate) async fn state_writes(&self) -> Vec<StateWrite> {
        self.inner.kept.writes().await
    }

    /// Why the call cannot go on, if it cannot.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.inner.state().stop.clone()
    }

    /// The label of an effect that is recorded and in force, and that the rerun did not ask for.
    pub(crate) fn missed(&self) -> Option<String> {
        self.inner.state().missed()
    }
}

impl State {
    /// The label of an effect that is recorded and in force, and that this run did not ask for yet.
    fn missed(&self) -> Option<String> {
        let missed = |e: &&EffectState| {
            !e.void
                && e.intent.label != UNDO_LABEL
                && (e.earlier_doubt || !matches!(e.outcome, Some(Outcome::NotSent { .. })))
                && !self.visited.contains(&e.intent.label)
        };
        let label = |e: &EffectState| e.intent.label.clone();
        self.effects.iter().find(missed).map(label)
    }
}

/// What is to be done about a request under a label.
enum Plan {
    /// It is recorded: this is its answer.
    Replay(Result<Response, EffectError>),
    /// It is to be sent.
    Send(u32),
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts a request; refuses one too many, and everything after a stop.
    fn admit(&self) -> Result<(), EffectError> {
        let mut state = self.state();
        if let Some(stop) = &state.stop {
            let detail = format!("the call is stopped: {stop:?}");
            return Err(EffectError::denied(Reason::Nondeterministic, detail));
        }
        state.requests += 1;
        if state.requests > MAX_REQUESTS {
            let detail = format!("more than {MAX_REQUESTS} requests in one call");
            return Err(EffectError::denied(Reason::RequestLimit, detail));
        }
        Ok(())
    }

    fn diverge(&self, state: &mut State, what: String) -> EffectError {
        tracing::warn!(position = %self.position, "{what}");
        state.stop.get_or_insert(Stop::Diverged(what.clone()));
        EffectError::denied(Reason::Nondeterministic, what)
    }

    async fn vet(&self, request: &Request) -> Result<Vetted, EffectError> {
        if !self.class.reaches_out() {
            let detail = format!("class {} reaches nothing", self.class);
            return Err(EffectError::denied(Reason::MethodRefused, detail));
        }
        self.egress
            .vet(request, &self.access.grants, &self.secrets)
            .await
    }

    /// Replay, or send? Decided by what is recorded under the label. A rerun asks for all that is
    /// recorded before it asks for anything new; one that does not is another call, and what it
    /// asks for does not leave.
    fn plan(&self, label: &str, request: &Request) -> Result<Plan, EffectError> {
        let mut state = self.state();
        state.visited.insert(label.to_owned());
        let Some(effect) = state
            .effects
            .iter()
            .find(|e| e.intent.label == label)
            .cloned()
        else {
            return match state.missed().filter(|_| !self.undoing) {
                None => Ok(Plan::Send(1)),
                Some(missed) => {
                    let what = format!(
                        "the effect `{label}`, {} {}, is new, where `{missed}` was asked for before",
                        request.method, request.url
                    );
                    Err(self.diverge(&mut state, what))
                }
            };
        };
        let again = Plan::Send(effect.intent.attempt + 1);
        // An undo that was answered with success is not undone twice: it is replayed.
        if effect.void || (self.undoing && effect.aftermath() != Aftermath::Changed) {
            return Ok(again);
        }
        if effect.intent.fingerprint != request.fingerprint() {
            let what = format!(
                "the effect `{label}` was {} {} and is {} {} now",
                effect.intent.request.method,
                effect.intent.request.url,
                request.method,
                request.url
            );
            return Err(self.diverge(&mut state, what));
        }
        match &effect.outcome {
            Some(Outcome::NotSent { .. }) => Ok(again),
            // What the far side refused may be asked again: the call ended in doubt all the same.
            _ if self.send_again && effect.aftermath() != Aftermath::Changed => Ok(again),
            Some(outcome @ Outcome::Answered { .. }) => Ok(Plan::Replay(outcome.result())),
            _ => {
                let what = format!("the effect `{label}` is in doubt");
                Err(self.diverge(&mut state, what))
            }
        }
    }

    async fn effect(
        self: Arc<Self>,
        label: &str,
        request: Request,
    ) -> Result<Response, EffectError> {
        self.admit()?;
        let attempt = match self.plan(label, &request)? {
            Plan::Replay(result) => return result,
            Plan::Send(attempt) => attempt,
        };
        let vetted = self.vet(&request).await?;
        let permit = {
            let mut state = self.state();
            let Some(clearance) = &mut state.clearance else {
                let detail = "there is no permit in this run";
                return Err(EffectError::denied(Reason::MethodRefused, detail));
            };
            clearance
                .permit(label)
                .map_err(|e| EffectError::denied(Reason::PermitSpent, e.to_string()))?
        };
        // From here on the host owns it: the guest may go, the request does not.
        let own = self.clone();
        let task = self
            .tasks
            .spawn(async move { own.send(permit, attempt, vetted, request).await });
        match task.await {
            Ok(result) => result,
            Err(_) => Err(EffectError::Unanswered(
                "the request's task ended early".into(),
            )),
        }
    }

    /// Intent, request, outcome: in this order, each by the proof of the one before.
    async fn send(
        self: Arc<Self>,
        permit: Permit,
        attempt: u32,
        vetted: Vetted,
        request: Request,
    ) -> Result<Response, EffectError> {
        let label = permit.label().to_owned();
        let at = Some(self.position);
        let several = label.starts_with(IMPLICIT_PREFIX) || !self.state().split.is_empty();
        let intent = match self.journal.intend(permit, attempt, request, several).await {
            Ok(intent) => intent,
            Err(JournalError::Store(StoreError::ActTaken(row))) => {
                self.state()
                    .stop
                    .get_or_insert(Stop::ActTaken(Box::new(row)));
                let detail = "another call does the same act";
                return Err(EffectError::denied(Reason::KeyInFlight, detail));
            }
            Err(error) => {
                let detail = error.to_string();
                self.state().stop.get_or_insert(Stop::Journal(error));
                return Err(EffectError::denied(Reason::JournalUnwritable, detail));
            }
        };
        self.adopt(&label);
        self.journal.reached(Stage::RequestSent, Moment::Before, at);
        let settled = self
            .egress
            .fire(intent, vetted, self.deadline, self.trace.clone())
            .await;
        self.journal.reached(Stage::RequestSent, Moment::After, at);
        self.journal
            .reached(Stage::AnswerReceived, Moment::Before, at);
        let outcome = settled.outcome().clone();
        self.note(&label, &outcome);
        self.journal
            .reached(Stage::AnswerReceived, Moment::After, at);
        self.journal.settle(settled);
        outcome.result()
    }

    /// Takes the effect over from the journal, now that its intent is there.
    fn adopt(&self, label: &str) {
        let durable = self
            .journal
            .read(|s| s.call(self.position).and_then(|c| c.effect(label)).cloned());
        let mut state = self.state();
        if let Some(effect) = durable {
            state.effects.retain(|e| e.intent.label != label);
            state.effects.push(effect);
        }
    }

    fn note(&self, label: &str, outcome: &Outcome) {
        let now_ms = self.journal.now_ms();
        let mut state = self.state();
        if let Some(effect) = state.effects.iter_mut().find(|e| e.intent.label == label) {
            effect.outcome = Some(outcome.clone());
            effect.touched_at_ms = now_ms;
        }
    }

    /// A read. Of a write tool it is recorded, and replayed.
    async fn look(&self, request: Request) -> Result<Response, EffectError> {
        self.admit()?;
        if self.writes
            && let Some(recorded) = self.recorded_read(&request)?
        {
            return Ok(recorded);
        }
        let vetted = self.vet(&request).await?;
        let fingerprint = request.fingerprint();
        let safe = vetted.into_safe().map_err(|_| {
            EffectError::denied(
                Reason::MethodRefused,
                format!("{} is not safe", request.method),
            )
        })?;
        let response = self.egress.read(safe, self.deadline, &self.trace).await?;
        if self.writes && !self.undoing {
            self.record_read(fingerprint, &response).await;
        }
        Ok(response)
    }

    /// The recorded answer to a read. A guest may have several reads under way at once, so their
    /// order does not matter; a read that was not made before does, as long as some are left.
    fn recorded_read(&self, request: &Request) -> Result<Option<Response>, EffectError> {
        let mut state = self.state();
        if state.to_replay.is_empty() {
            return Ok(None);
        }
        let fingerprint = request.fingerprint();
        let same = state
            .to_replay
            .iter()
            .position(|r| r.fingerprint == fingerprint);
        match same {
            Some(i) => Ok(Some(state.to_replay.remove(i).response)),
            None => {
                let what = format!("{} {} was not read before", request.method, request.url);
                Err(self.diverge(&mut state, what))
            }
        }
    }

    async fn record_read(&self, fingerprint: Digest, response: &Response) {
        let _numbering = self.numbering.lock().await;
        let index = {
            let mut state = self.state();
            state.reads += 1;
            state.reads - 1
        };
        let read = ReadRecorded {
            position: self.position,
            index,
            fingerprint,
            response: response.clone(),
        };
        self.journal.stage(Event::ReadRecorded(read));
    }

    /// Asks the tool's state, or writes to it. It does not leave the host, so it is no request.
    async fn keep(&self, op: StateOp) -> Result<StateGot, StateRefused> {
        if let Some(stop) = &self.state().stop {
            return Err(StateRefused::Stopped(format!(
                "the call is stopped: {stop:?}"
            )));
        }
        let failed = match self.kept.perform(op).await {
            Ok(got) => return Ok(got),
            Err(failed) => failed,
        };
        let mut state = self.state();
        match failed {
            Failed::Refused(refused) => Err(refused),
            Failed::Diverged(what) => {
                let stopped = self.diverge(&mut state, what);
                Err(StateRefused::Stopped(stopped.to_string()))
            }
            Failed::Journal(error) => {
                let why = error.to_string();
                state.stop.get_or_insert(Stop::Journal(error));
                Err(StateRefused::Stopped(why))
            }
        }
    }

    /// The label of an implicit permit: method, path, and which one of those.
    fn implicit_label(&self, request: &Request) -> String {
        let path = Digest::of_parts("stoplog/path1", &[&request.method, request.path()]);
        let method: String = request
            .method
            .to_ascii_lowercase()
            .chars()
            .filter(char::is_ascii_lowercase)
            .take(8)
            .collect();
        let stem = format!("{IMPLICIT_PREFIX}{method}-{}", &path.as_str()[..8]);
        let mut state = self.state();
        let count = state.implicit.entry(stem.clone()).or_insert(0);
        *count += 1;
        format!("{stem}-{count}")
    }
}

#[async_trait]
impl Gate for CallGate {
    fn key(&self, label: &str) -> String {
        // In `undo` a permit shows the key of what is to be taken back; it is sent under its own.
        let label = if self.inner.undoing {
            stoplog_model::key::MAIN_LABEL
        } else {
            label
        };
        effect_key(&self.inner.header_key, label)
    }

    fn split(&self, label: &str) -> Result<(), String> {
        if label.is_empty() || label == UNDO_LABEL || label.starts_with(IMPLICIT_PREFIX) {
            return Err(format!("the label `{label}` belongs to the host"));
        }
        if self.inner.undoing {
            return Err("undo has one effect".into());
        }
        let mut state = self.inner.state();
        if !state.visited.is_empty() {
            return Err("split before the first perform: after a crash the host must know".into());
        }
        match &state.clearance {
            None => return Err("there is no permit in this run".into()),
            Some(clearance) => clearance.check_label(label).map_err(|e| e.to_string())?,
        }
        if state.split.insert(label.to_owned()) {
            Ok(())
        } else {
            Err(format!("the label `{label}` was used before in this call"))
        }
    }

    async fn perform(&self, label: &str, request: Request) -> Result<Response, EffectError> {
        if !self.inner.writes {
            let detail = "there is no permit in this run";
            return Err(EffectError::denied(Reason::MethodRefused, detail));
        }
        let label = if self.inner.undoing {
            UNDO_LABEL
        } else {
            label
        };
        self.inner.clone().effect(label, request).await
    }

    async fn state(&self, op: StateOp) -> Result<StateGot, StateRefused> {
        self.inner.keep(op).await
    }

    async fn fetch(&self, request: Request) -> Result<Response, EffectError> {
        if is_safe_method(&request.method) {
            return self.inner.look(request).await;
        }
        if !self.inner.writes {
            let detail = format!(
                "{} is not a safe method, and class {} has no permit here",
                request.method, self.inner.class
            );
            return Err(EffectError::denied(Reason::MethodRefused, detail));
        }
        let label = match self.inner.undoing {
            true => UNDO_LABEL.to_owned(),
            false => self.inner.implicit_label(&request),
        };
        self.inner.clone().effect(&label, request).await
    }
}
