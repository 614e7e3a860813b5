//! What is not over: as it looks while it runs, when its host is dead, and when the next run finds
//! it. Never a success.

use super::{SpanMaker, approval_id, asked, detail, parked_id, step_id, tool_id};
use crate::span::{Decision, Outcome, Span, StepStatus};

/// What became of a run that has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its host lives.
    Runs,
    /// Its host is dead, and nobody has gone on with it.
    Lies,
    /// The next run has begun: what it left open has its span now.
    Died,
}

impl SpanMaker {
    /// What is not over, as it looks now: the run under way with its step and calls, questions that
    /// nobody answered, calls that are parked. Each has the id that its span will have. Whether its
    /// host lives is for the caller to say: the records cannot.
    pub fn open(&self, host_lives: bool) -> Vec<Span> {
        let mut open = Vec::new();
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return open;
        };
        if !run.ended {
            let (fate, status, outcome) = match host_lives {
                true => (Fate::Runs, StepStatus::Running, Outcome::Running),
                false => (Fate::Lies, StepStatus::Crashed, Outcome::Crashed),
            };
            self.open_calls(fate, &mut open);
            for (step, from_ms) in &run.open_steps {
                self.step(run, (*step, *from_ms), status, self.last_at_ms, &mut open);
            }
            self.root_of(run, (outcome, None, None), self.last_at_ms, &mut open);
        }
        let trace = &run.started.trace_id;
        for (position, call) in session.calls() {
            let step = position.step_index();
            let mut show = |id, from_ms: u64, detail| {
                let time = (from_ms, self.last_at_ms.saturating_sub(from_ms));
                self.emit(
                    &mut open,
                    (id, Some(step_id(trace, step))),
                    step,
                    time,
                    detail,
                );
            };
            if let Some(state) = call.approval.as_ref().filter(|a| a.decision.is_none())
                && call.observed.is_none()
            {
                let detail = asked(state, Decision::Pending, "");
                show(
                    approval_id(trace, state),
                    state.approval.requested_at_ms,
                    detail,
                );
            }
            if call.parked.is_some() {
                let from_ms = call.started_at_ms.unwrap_or(run.began_ms);
                let detail = detail::parked_call(session, call);
                show(parked_id(trace, position, call), from_ms, detail);
            }
        }
        open
    }

    /// Calls of the present steps that have begun, and have not ended.
    pub(super) fn open_calls(&self, fate: Fate, made: &mut Vec<Span>) {
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return;
        };
        for (position, call) in session.calls() {
            let open = call.observed.is_none() && call.started_at_ms.is_some();
            // One that is parked waits for a person; of a run that died it is told all the same.
            let waits = call.parked.is_some() && fate != Fate::Died;
            let step = position.step_index();
            let is_now = step == run.step || run.open_steps.contains_key(&step);
            if !open || waits || !is_now {
                continue;
            }
            let from_ms = call.started_at_ms.unwrap_or(run.began_ms);
            let trace = &run.started.trace_id;
            let ids = (tool_id(trace, position), Some(step_id(trace, step)));
            let latency_ms = self.last_at_ms.saturating_sub(from_ms);
            let detail = detail::open_call(session, call, fate == Fate::Runs);
            self.emit(made, ids, step, (from_ms, latency_ms), detail);
        }
    }
}
