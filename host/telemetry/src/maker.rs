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
//! Invariants: a span is made when what it is about is over, and never changes; the same records
//! give the same spans in the same order. What is not over yet is shown apart, by
//! [`SpanMaker::open`], and is never a success.

mod detail;
mod open;

use stoplog_model::event::{
    ApprovalDecided, Event, ModelFailed, Observed, RunEnded, RunOutcome, RunStarted,
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
    step_began_ms: u64,
    step: u32,
    step_open: bool,
    ended: bool,
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
        session.apply(record)?;
        let mut made = Vec::new();
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
            step_began_ms: at_ms,
            step: started.at_iteration.saturating_sub(1),
            step_open: false,
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
        if let Some(run) = &mut self.run {
            run.step_open = in_turn;
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
        if self.run.as_ref().is_some_and(|run| run.step_open) {
            self.close_step(StepStatus::Crashed, self.last_at_ms, made);
        }
        self.root((Outcome::Crashed, None, None), self.last_at_ms, made);
    }

    fn turn(&mut self, turn: &Turn, failure: Option<FailureClass>, made: &mut Vec<Span>) {
        let step = turn.iteration.saturating_sub(1);
        if let Some(run) = &mut self.run {
            run.cost += turn.cost;
            run.step = step;
            run.step_open = true;
            run.step_began_ms = turn.started_at_ms;
        }
        let Some(run) = &self.run else { return };
        let trace = run.started.trace_id.clone();
        let parent = step_id(&trace, step);
        self.retries(&turn.failed_attempts, &turn.model_id, step, made);
        let id = SpanId::derived(&[trace.as_str(), "llm_call", &step.to_string()]);
        let detail = detail::llm_call(turn, failure);
        let time = (turn.started_at_ms, turn.latency_ms);
        self.emit(made, (id, Some(parent)), step, time, detail);
        if failure.is_none() && turn.calls.is_empty() {
            let ended_ms = turn.started_at_ms + turn.latency_ms;
            self.close_step(StepStatus::Complete, ended_ms, made);
        }
    }

    fn model_failed(&mut self, failed: &ModelFailed, made: &mut Vec<Span>) {
        let step = failed.iteration.saturating_sub(1);
        if let Some(run) = &mut self.run {
            run.step = step;
            run.step_open = true;
            run.step_began_ms = failed
                .attempts
                .first()
                .map_or(self.last_at_ms, |a| a.started_at_ms);
            run.cost += failed.attempts.iter().map(|a| a.cost).sum();
        }
        self.retries(&failed.attempts, &failed.model_id, step, made);
    }

    fn retries(&self, attempts: &[FailedAttempt], model: &str, step: u32, made: &mut Vec<Span>) {
        let Some(run) = &self.run else { return };
        let trace = run.started.trace_id.as_str();
        for (i, failed) in attempts.iter().enumerate() {
            let n = i as u32 + 1;
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
            self.close_step(StepStatus::Complete, at_ms, made);
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

    fn close_step(&mut self, status: StepStatus, at_ms: u64, made: &mut Vec<Span>) {
        let Some(run) = &mut self.run else { return };
        run.step_open = false;
        if let Some(run) = &self.run {
            self.step(run, status, at_ms, made);
        }
    }

    fn step(&self, run: &Run, status: StepStatus, at_ms: u64, made: &mut Vec<Span>) {
        let (step, from_ms) = (run.step, run.step_began_ms);
        let trace = &run.started.trace_id;
        let first = step + 1 == run.started.at_iteration || step == 0;
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
        if self.run.as_ref().is_some_and(|r| r.step_open) {
            self.close_step(status, at_ms, made);
        }
        let reason = ended.reason.map(|r| r.code().to_owned());
        self.root((outcome, reason, ended.failure), at_ms, made);
    }

    fn root(&mut self, end: End, at_ms: u64, made: &mut Vec<Span>) {
        let Some(run) = &self.run else { return };
        self.root_of(run, end, at_ms, made);
        if let Some(run) = &mut self.run {
            run.step_open = false;
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
