//! Spans of calls that ended, of what was sent again in them, of their own parts, and of the questions
//! that were asked about them.

use stoplog_model::event::{ApprovalDecided, Observed};
use stoplog_model::session::CallState;
use stoplog_model::{Position, SpanId, UsdMicros};

use super::{SpanMaker, approval_id, asked, detail};
use crate::span::{Detail, Span, StepStatus};

impl SpanMaker {
    pub(super) fn approval(&self, decided: &ApprovalDecided, at_ms: u64, made: &mut Vec<Span>) {
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
        let ids = (id, Some(SpanId::of_step(trace, position.step_index())));
        let time = (asked_ms, at_ms.saturating_sub(asked_ms));
        self.emit(made, ids, position.step_index(), time, detail);
    }

    pub(super) fn observed(&mut self, observed: &Observed, at_ms: u64, made: &mut Vec<Span>) {
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
        let ids = (
            SpanId::of_call(trace, position),
            Some(SpanId::of_step(trace, step)),
        );
        let began_ms = at_ms.saturating_sub(observed.latency_ms);
        let detail = detail::observed_call(session, call, observed, observed.disposition.as_str());
        self.emit(made, ids, step, (began_ms, observed.latency_ms), detail);
        self.tool_spans(call, observed, (position, began_ms), made);
        let turn = session.turn(step + 1);
        if turn.is_some_and(|t| t.calls.iter().all(|c| c.observed.is_some())) {
            self.close_step(step, StepStatus::Complete, at_ms, made);
        }
    }

    /// Parts of a call that the tool marked.
    fn tool_spans(
        &self,
        call: &CallState,
        observed: &Observed,
        (position, began_ms): (Position, u64),
        made: &mut Vec<Span>,
    ) {
        let (Some(session), Some(run)) = (&self.session, &self.run) else {
            return;
        };
        let trace = &run.started.trace_id;
        let id = |place: u32| {
            let (at, place) = (position.to_string(), place.to_string());
            SpanId::derived(&[trace.as_str(), "tool_span", &at, &place])
        };
        for (place, span) in (0..).zip(&observed.spans) {
            let parent = match span.parent {
                Some(parent) => id(parent),
                None => SpanId::of_call(trace, position),
            };
            let time = (began_ms.saturating_add(span.from_ms), span.latency_ms);
            let detail = detail::tool_span(session, call, span);
            let step = position.step_index();
            self.emit(made, (id(place), Some(parent)), step, time, detail);
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
                what: match &self.session {
                    Some(session) => format!("effect of {}", detail::tool_name(session, call)),
                    None => "effect".to_owned(),
                },
                idempotency_key: Some(detail::key_of_call(&effect.intent)),
                attempt,
                error: "the attempt before was in doubt".into(),
                cost_usd: 0.0,
                cost_usd_micros: UsdMicros(0),
            };
            let ids = (id, Some(SpanId::of_call(&run.started.trace_id, position)));
            let step = position.step_index();
            self.emit(made, ids, step, (effect.touched_at_ms, 0), detail);
        }
    }
}
