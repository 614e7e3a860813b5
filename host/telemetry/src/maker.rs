//! Records to spans. The tree of one run:
//!
//! ```text
//! final_response (root, made at the end)
//! └─ agent_step 0
//!    ├─ llm_call
//!    ├─ tool_call, tool_call ...     siblings at one step_index
//!    └─ agent_step 1                 steps are nested (requirement 35)
//! ```
//!
//! A client that takes the turns has its steps side by side, several of them open at once, and no
//! `llm_call`: nobody paid for a model.
//!
//! Invariants: a span is made when what it is about is over, and never changes; the same records
//! give the same spans in the same order. What is not over yet is shown apart, by
//! [`SpanMaker::open`], and is never a success.

mod detail;
mod open;

use std::collections::BTreeMap;

use stoplog_model::event::{
    ApprovalDecided, Event, ModelAsked, ModelFailed, Observed, RunEnded, RunOutcome, RunStarted,
};
use stoplog_model::session::{ApprovalState, CallState, IllegalEvent, Session, Status};
use stoplog_model::turn::{FailedAttempt, FailureClass, Turn};
use stoplog_model::{Position, Record, SpanId, TraceId, UsdMicros};

use open::Fate;

use crate::span::{Common, Decision, Detail, Outcome, Span, StepStatus, dollars};

/// All spans of a session.
pub fn spans(records: &[Record]) -> Result<Vec<Span>, IllegalEvent> {
    let mut maker = SpanMaker::default();
    let mut all = Vec::new();
    for record in records {
        all.extend(maker.push(record)?);
    }
    Ok(all)
}

/// What is known of the present run.
#[derive(Debug, Clone)]
struct Run {
    started: RunStarted,
    began_ms: u64,
    cost: UsdMicros,
    /// The latest step.
    step: u32,
    /// Attempts and answers of the model that have their span in this step: it may be asked again
    /// with a shorter prompt.
    told: (u32, u32),
    /// When the steps that are not over began. One at most, unless a client takes the turns.
    open_steps: BTreeMap<u32, u64>,
    ended: bool,
}

impl Run {
    /// The model, or a client, is at a step, since this time.
    fn enter(&mut self, step: u32, began_ms: u64) {
        if self.step != step || !self.open_steps.contains_key(&step) {
            self.step = step;
            self.open_steps.insert(step, began_ms);
            self.told = (0, 0);
        }
    }
}

/// Folds the records of one session into spans.
#[derive(Debug, Default)]
pub struct SpanMaker {
    session: Option<Session>,
    run: Option<Run>,
    last_at_ms: u64,
}

impl SpanMaker {
    /// The `seq` of the last record that was taken.
    pub fn last_seq(&self) -> u64 {
        self.session.as_ref().map_or(0, |s| s.last_seq)
    }

    /// Whether nothing can come behind the last record.
    pub fn is_over(&self) -> bool {
        let status = self.session.as_ref().map(Session::status);
        status == Some(Status::Ended)
    }

    /// Takes the next record, and gives the spans that it completes.
    pub fn push(&mut self, record: &Record) -> Result<Vec<Span>, IllegalEvent> {
        let Some(session) = &mut self.session else {
            self.session = Some(Session::begin(record)?);
            return Ok(Vec::new());
        };
        let unanswered = match &record.event {
            Event::RunStarted(_) | Event::RunEnded(_) => session.unanswered().to_vec(),
            _ => Vec::new(),
        };
        session.apply(record)?;
        let mut made = Vec::new();
        self.gave_up(&unanswered, record.at_ms, &mut made);
        match &record.event {
            Event::RunStarted(started) => self.run_started(started, record.at_ms, &mut made),
            Event::TurnTaken(turn) => self.turn(turn, None, &mut made),
            Event::TurnRejected(rejected) => {
                self.turn(&rejected.turn, Some(rejected.failure), &mut made);
            }
            Event::ModelFailed(failed) => self.model_failed(failed, &mut made),
            Event::ApprovalDecided(decided) => self.approval(decided, record.at_ms, &mut made),
            Event::Observed(observed) => self.observed(observed, record.at_ms, &mut made),
            Event::RunEnded(ended) => self.run_ended(ended, record.at_ms, &mut made),
            _ => {}
        }
        self.last_at_ms = record.at_ms;
        Ok(made)
    }

    fn common(&self, run: &Run, id: SpanId, parent: Option<SpanId>, step: u32) -> Option<Common> {
        let started = &self.session.as_ref()?.started;
        Some(Common {
            trace_id: run.started.trace_id.clone(),
            span_id: id,
            parent_span_id: parent,
            tenant_id: started.tenant.clone(),
            session_id: started.session.clone(),
            user_id: started.user.clone(),
            feature: started.feature.clone(),
            step_index: step,
            timestamp_ms: 0,
            latency_ms: 0,
        })
    }

    fn emit(
        &self,
        made: &mut Vec<Span>,
        (id, parent): (SpanId, Option<SpanId>),
        step: u32,
        (from_ms, latency_ms): (u64, u64),
        detail: Detail,
    ) {
        let common = self
            .run
            .as_ref()
            .and_then(|run| self.common(run, id, parent, step));
        if let Some(common) = common {
            let common = Common {
                timestamp_ms: from_ms,
                latency_ms,
                ..common
            };
            made.push(Span { common, detail });
        }
    }

    fn run_started(&mut self, started: &RunStarted, at_ms: u64, made: &mut Vec<Span>) {
        // A run that has its end keeps its name here: people decide between runs, and their
        // decisions belong to the trace that asked. Only a run without an end has died.
        if self.run.as_ref().is_some_and(|run| !run.ended) {
            self.crashed(made);
        }
        self.run = Some(Run {
            started: started.clone(),
            began_ms: at_ms,
            cost: UsdMicros(0),
            step: started.at_iteration.saturating_sub(1),
            told: (0, 0),
            open_steps: BTreeMap::new(),
            ended: false,
        });
        if started.resumed_from.is_some() {
            self.replayed(at_ms, made);
        }
        // A run that goes on in the middle of a turn is in that step from its first moment.
        let in_turn = self
            .session
            .as_ref()
            .is_some_and(|s| s.iterations() >= started.at_iteration);
        if let Some(run) = self.run.as_mut().filter(|_| in_turn) {
            run.open_steps.insert(run.step, at_ms);
        }
    }

    /// What earlier runs did, marked `replayed`: at no cost, and never as if executed.
    fn replayed(&self, at_ms: u64, made: &mut Vec<Span>) {
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return;
        };
        for (position, call) in session.calls() {
            let Some(observed) = &call.observed else {
                continue;
            };
            let trace = &run.started.trace_id;
            let ids = (tool_id(trace, position), Some(root_id(trace)));
            let detail = detail::observed_call(session, call, observed, "replayed");
            self.emit(made, ids, position.step_index(), (at_ms, 0), detail);
        }
    }

    /// The spans of a run that died: its fatal call, its step, and the run itself.
    fn crashed(&mut self, made: &mut Vec<Span>) {
        self.open_calls(Fate::Died, made);
        self.close_steps(StepStatus::Crashed, self.last_at_ms, made);
        self.root((Outcome::Crashed, None, None), self.last_at_ms, made);
    }

    fn turn(&mut self, turn: &Turn, failure: Option<FailureClass>, made: &mut Vec<Span>) {
        let step = turn.iteration.saturating_sub(1);
        if let Some(run) = &mut self.run {
            run.cost += turn.cost;
            run.enter(step, turn.started_at_ms);
        }
        if self.is_clients() {
            return;
        }
        self.retries(&turn.failed_attempts, &turn.model_id, step, made);
        let Some(run) = &mut self.run else { return };
        let trace = run.started.trace_id.clone();
        let parent = step_id(&trace, step);
        run.told.1 += 1;
        let (nth, step_word) = (run.told.1.to_string(), step.to_string());
        let mut parts = vec![trace.as_str(), "llm_call", &step_word];
        if run.told.1 > 1 {
            parts.push(&nth);
        }
        let id = SpanId::derived(&parts);
        let detail = detail::llm_call(turn, failure);
        let time = (turn.started_at_ms, turn.latency_ms);
        self.emit(made, (id, Some(parent)), step, time, detail);
        if failure.is_none() && turn.calls.is_empty() {
            let ended_ms = turn.started_at_ms + turn.latency_ms;
            self.close_step(step, StepStatus::Complete, ended_ms, made);
        }
    }

    fn model_failed(&mut self, failed: &ModelFailed, made: &mut Vec<Span>) {
        let step = failed.iteration.saturating_sub(1);
        if let Some(run) = &mut self.run {
            let first = failed.attempts.first();
            run.enter(step, first.map_or(self.last_at_ms, |a| a.started_at_ms));
            run.cost += failed.attempts.iter().map(|a| a.cost).sum();
        }
        self.retries(&failed.attempts, &failed.model_id, step, made);
    }

    /// Requests to the model that nobody reads the answer of: the host died, or was told to stop.
    fn gave_up(&mut self, unanswered: &[ModelAsked], at_ms: u64, made: &mut Vec<Span>) {
        let Some(last) = unanswered.last() else {
            return;
        };
        let mut attempts: Vec<FailedAttempt> =
            unanswered.iter().filter_map(|a| a.after.clone()).collect();
        attempts.push(FailedAttempt {
            failure: FailureClass::ProviderTransient,
            message: String::new(),
            started_at_ms: self.last_at_ms.min(at_ms),
            latency_ms: 0,
            cost: last.cost,
            cost_is_estimated: true,
        });
        let step = last.iteration.saturating_sub(1);
        if let Some(run) = &mut self.run {
            run.cost += Session::cost_of(unanswered);
            run.enter(step, attempts[0].started_at_ms);
        }
        self.retries(&attempts, &last.model_id, step, made);
    }

    fn retries(
        &mut self,
        attempts: &[FailedAttempt],
        model: &str,
        step: u32,
        made: &mut Vec<Span>,
    ) {
        let Some(run) = &mut self.run else { return };
        let before = run.told.0;
        run.told.0 += attempts.len() as u32;
        let Some(run) = &self.run else { return };
        let trace = run.started.trace_id.as_str();
        for (i, failed) in attempts.iter().enumerate() {
            let n = before + i as u32 + 1;
            let id = SpanId::derived(&[trace, "retry", &step.to_string(), &n.to_string()]);
            let detail = Detail::Retry {
                what: format!("chat {model}"),
                attempt: n,
                // The provider's own words stay in the journal.
                error: failed.failure.as_str(),
                cost_usd: dollars(failed.cost),
                cost_usd_micros: failed.cost,
            };
            let ids = (id, Some(step_id(&run.started.trace_id, step)));
            self.emit(
                made,
                ids,
                step,
                (failed.started_at_ms, failed.latency_ms),
                detail,
            );
        }
    }

    fn approval(&self, decided: &ApprovalDecided, at_ms: u64, made: &mut Vec<Span>) {
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return;
        };
        let Some((position, state)) = session.approval(&decided.id) else {
            return;
        };
        let asked_ms = state.approval.requested_at_ms;
        let detail = asked(state, decided.verdict.into(), &decided.by);
        let trace = &run.started.trace_id;
        let id = approval_id(trace, state);
        let ids = (id, Some(step_id(trace, position.step_index())));
        let time = (asked_ms, at_ms.saturating_sub(asked_ms));
        self.emit(made, ids, position.step_index(), time, detail);
    }

    fn observed(&mut self, observed: &Observed, at_ms: u64, made: &mut Vec<Span>) {
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return;
        };
        let position = observed.position;
        let Some(call) = session.call(position) else {
            return;
        };
        let trace = &run.started.trace_id;
        let step = position.step_index();
        self.resends(call, position, made);
        let ids = (tool_id(trace, position), Some(step_id(trace, step)));
        let began_ms = at_ms.saturating_sub(observed.latency_ms);
        let detail = detail::observed_call(session, call, observed, observed.disposition.as_str());
        self.emit(made, ids, step, (began_ms, observed.latency_ms), detail);
        let turn = session.turn(step + 1);
        if turn.is_some_and(|t| t.calls.iter().all(|c| c.observed.is_some())) {
            self.close_step(step, StepStatus::Complete, at_ms, made);
        }
    }

    /// Effects that were sent more than once.
    fn resends(&self, call: &CallState, position: Position, made: &mut Vec<Span>) {
        let Some(run) = &self.run else { return };
        let trace = run.started.trace_id.as_str();
        for effect in call.effects.iter().filter(|e| e.intent.attempt > 1) {
            let label = &effect.intent.label;
            let at = position.to_string();
            let attempt = effect.intent.attempt;
            let id = SpanId::derived(&[trace, "retry", &at, label, &attempt.to_string()]);
            let detail = Detail::Retry {
                what: format!("effect under {}", effect.intent.key),
                attempt,
                error: "the attempt before was in doubt".into(),
                cost_usd: 0.0,
                cost_usd_micros: UsdMicros(0),
            };
            let ids = (id, Some(tool_id(&run.started.trace_id, position)));
            let step = position.step_index();
            self.emit(made, ids, step, (effect.touched_at_ms, 0), detail);
        }
    }

    fn is_clients(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|s| s.started.client.is_some())
    }

    fn close_steps(&mut self, status: StepStatus, at_ms: u64, made: &mut Vec<Span>) {
        let open = self.run.iter().flat_map(|run| run.open_steps.keys());
        for step in open.copied().collect::<Vec<u32>>() {
            self.close_step(step, status, at_ms, made);
        }
    }

    fn close_step(&mut self, step: u32, status: StepStatus, at_ms: u64, made: &mut Vec<Span>) {
        let Some(run) = &mut self.run else { return };
        let from_ms = run.open_steps.remove(&step).unwrap_or(run.began_ms);
        if let Some(run) = &self.run {
            self.step(run, (step, from_ms), status, at_ms, made);
        }
    }

    fn step(
        &self,
        run: &Run,
        (step, from_ms): (u32, u64),
        status: StepStatus,
        at_ms: u64,
        made: &mut Vec<Span>,
    ) {
        let trace = &run.started.trace_id;
        // What a client calls does not follow from its call before.
        let first = step + 1 == run.started.at_iteration || step == 0 || self.is_clients();
        let parent = if first {
            root_id(trace)
        } else {
            step_id(trace, step - 1)
        };
        let time = (from_ms, at_ms.saturating_sub(from_ms));
        let ids = (step_id(trace, step), Some(parent));
        self.emit(made, ids, step, time, Detail::AgentStep { status });
    }

    fn run_ended(&mut self, ended: &RunEnded, at_ms: u64, made: &mut Vec<Span>) {
        let (outcome, status) = match ended.outcome {
            RunOutcome::Success => (Outcome::Success, StepStatus::Complete),
            RunOutcome::Error => (Outcome::Error, StepStatus::Failed),
            RunOutcome::Interrupt => (Outcome::Interrupt, StepStatus::Interrupted),
        };
        self.close_steps(status, at_ms, made);
        let reason = ended.reason.map(|r| r.code().to_owned());
        self.root((outcome, reason, ended.failure), at_ms, made);
    }

    fn root(&mut self, end: End, at_ms: u64, made: &mut Vec<Span>) {
        let Some(run) = &self.run else { return };
        self.root_of(run, end, at_ms, made);
        if let Some(run) = &mut self.run {
            run.open_steps.clear();
            run.ended = true;
        }
    }

    fn root_of(
        &self,
        run: &Run,
        (outcome, reason, failure): End,
        at_ms: u64,
        made: &mut Vec<Span>,
    ) {
        let latency_ms = at_ms.saturating_sub(run.began_ms);
        let detail = Detail::FinalResponse {
            outcome,
            reason,
            failure,
            latency_total: latency_ms,
            cost_total: dollars(run.cost),
            cost_total_micros: run.cost,
            resumed_from: run.started.resumed_from.clone(),
            at_iteration: run.started.at_iteration,
        };
        let ids = (root_id(&run.started.trace_id), None);
        self.emit(made, ids, run.step, (run.began_ms, latency_ms), detail);
    }
}

/// How a run ended: its outcome, a reason code, and the class of its failure.
type End = (Outcome, Option<String>, Option<FailureClass>);

/// A question to a person. `by` is empty until somebody has decided.
fn asked(state: &ApprovalState, decision: Decision, by: &str) -> Detail {
    Detail::HitlApproval {
        approval_id: state.approval.id.to_string(),
        tool_name: state.approval.tool.clone(),
        decision,
        decided_by: by.to_owned(),
        blast_radius_class: state.approval.class.number(),
    }
}

fn root_id(trace: &TraceId) -> SpanId {
    SpanId::derived(&[trace.as_str(), "root"])
}

fn step_id(trace: &TraceId, step: u32) -> SpanId {
    SpanId::derived(&[trace.as_str(), "agent_step", &step.to_string()])
}

fn tool_id(trace: &TraceId, position: Position) -> SpanId {
    SpanId::derived(&[trace.as_str(), "tool_call", &position.to_string()])
}

fn approval_id(trace: &TraceId, state: &ApprovalState) -> SpanId {
    let id = state.approval.id.as_str();
    SpanId::derived(&[trace.as_str(), "hitl_approval", id])
}

/// A call that the loop has seen, and that the far side does not know, has a span already.
fn parked_id(trace: &TraceId, position: Position, call: &CallState) -> SpanId {
    match call.observed {
        None => tool_id(trace, position),
        Some(_) => SpanId::derived(&[trace.as_str(), "parked", &position.to_string()]),
    }
}
