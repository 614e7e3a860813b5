//! Spans of a session as the story that they tell: its runs in order, and what happened in each.
//!
//! Invariants: from spans alone, so it can be told when the journal has the session no more; every
//! span is in exactly one run.

use std::collections::BTreeMap;

use stoplog_telemetry::{Detail, LlmCall, Outcome, Span, ToolCall};

/// A session.
#[derive(Debug, Clone)]
pub struct Story<'a> {
    /// Its runs, in order. Never empty.
    pub runs: Vec<Run<'a>>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// Its trace id.
    pub trace: &'a str,
    /// Its spans in the order in which things happened: by step, then model, questions, calls.
    pub spans: Vec<&'a Span>,
}

impl<'a> Story<'a> {
    /// The story of these spans, which are of one session. None for no spans.
    pub fn of(spans: &'a [Span]) -> Option<Story<'a>> {
        let mut by_trace: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            by_trace
                .entry(span.common.trace_id.as_str())
                .or_default()
                .push(span);
        }
        let mut runs: Vec<Run<'a>> = by_trace
            .into_iter()
            .map(|(trace, mut spans)| {
                spans
                    .sort_by_key(|s| (s.common.step_index, rank(&s.detail), s.common.timestamp_ms));
                Run { trace, spans }
            })
            .collect();
        runs.sort_by_key(|run| (run.began_ms(), run.trace));
        // Each run names the one before: two that began in one millisecond are put in order by that.
        let mut ordered: Vec<Run<'a>> = Vec::with_capacity(runs.len());
        while !runs.is_empty() {
            let last = ordered.last().map(|run| run.trace);
            let next = runs.iter().position(|run| run.resumed_from() == last);
            ordered.push(runs.remove(next.unwrap_or(0)));
        }
        (!ordered.is_empty()).then_some(Story { runs: ordered })
    }

    /// The same, up to a run; all of it if it has no such run.
    pub fn up_to(mut self, trace: &str) -> Story<'a> {
        if let Some(at) = self.runs.iter().position(|run| run.trace == trace) {
            self.runs.truncate(at + 1);
        }
        self
    }

    /// Its spans, run by run.
    pub fn spans(&self) -> impl Iterator<Item = &'a Span> + '_ {
        self.runs.iter().flat_map(|run| run.spans.iter().copied())
    }

    /// A span, for what all of them have in common.
    pub fn any(&self) -> Option<&'a Span> {
        self.spans().next()
    }

    /// Calls as they were observed in the end: in the order of the steps, without those that a later
    /// run only remembers, that go on, or whose host died before they had an end.
    pub fn calls(&self) -> Vec<(&'a Span, &'a ToolCall)> {
        let calls = self.spans().filter_map(|span| match &span.detail {
            Detail::ToolCall(call) => Some((span, call)),
            _ => None,
        });
        let is_over = |call: &ToolCall| {
            !matches!(
                call.disposition.as_str(),
                "replayed" | "in_doubt" | "running"
            ) && !is_waiting(call)
        };
        let mut over: Vec<_> = calls.filter(|(_, call)| is_over(call)).collect();
        over.sort_by_key(|(span, _)| span.common.step_index);
        over
    }

    /// Turns of the model, in order.
    pub fn turns(&self) -> impl Iterator<Item = (&'a Span, &'a LlmCall)> + '_ {
        self.spans().filter_map(|span| match &span.detail {
            Detail::LlmCall(call) => Some((span, call)),
            _ => None,
        })
    }

    /// What was paid for all of it, micro-dollars.
    pub fn cost_micros(&self) -> u64 {
        self.spans().map(|span| span.detail.cost().0).sum()
    }
}

impl<'a> Run<'a> {
    /// The root of the trace.
    pub fn root(&self) -> Option<&'a Span> {
        let is_root = |span: &&&Span| matches!(span.detail, Detail::FinalResponse { .. });
        self.spans.iter().find(is_root).copied()
    }

    /// When it began, milliseconds since the Unix epoch.
    pub fn began_ms(&self) -> u64 {
        let first = self.spans.iter().map(|s| s.common.timestamp_ms).min();
        let root = self.root().map(|root| root.common.timestamp_ms);
        root.or(first).unwrap_or(0)
    }

    /// The run that it goes on from.
    pub fn resumed_from(&self) -> Option<&'a str> {
        match &self.root()?.detail {
            Detail::FinalResponse { resumed_from, .. } => resumed_from.as_ref().map(|t| t.as_str()),
            _ => None,
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match self.root().map(|root| &root.detail) {
            Some(Detail::FinalResponse { outcome, .. }) => *outcome,
            _ => Outcome::Running,
        }
    }

    /// Why, if not success: a reason code, or the class of the failure.
    pub fn reason(&self) -> Option<String> {
        match &self.root()?.detail {
            Detail::FinalResponse {
                reason, failure, ..
            } => reason.clone().or_else(|| failure.map(|f| f.as_str())),
            _ => None,
        }
    }
}

/// Whether a person is asked about the call.
pub(crate) fn is_waiting(call: &ToolCall) -> bool {
    matches!(
        call.result_status,
        stoplog_telemetry::ToolStatus::Waiting | stoplog_telemetry::ToolStatus::Running
    )
}

/// Within a step: attempts before the turn, the turn, questions to people, calls; the run at the end.
fn rank(detail: &Detail) -> u8 {
    match detail {
        Detail::Retry { what, .. } if what.starts_with("chat ") => 0,
        Detail::LlmCall(_) => 1,
        Detail::HitlApproval { .. } => 2,
        Detail::Retry { .. } => 3,
        Detail::ToolCall(_) => 4,
        Detail::AgentStep { .. } => 5,
        Detail::FinalResponse { .. } => 6,
    }
}
