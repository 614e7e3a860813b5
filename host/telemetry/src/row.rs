//! A span as narrow columns, for questions, with its line beside them, for showing.
//!
//! Invariant: the columns are a pure function of the span, so whoever has the line has the row.

use serde_json::Value;

use crate::span::{Decision, Detail, Outcome, Span, StepStatus, ToolStatus};

/// A row of the trace store. Fields that a kind of span has not are None.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanRow {
    /// Sixteen hex digits.
    pub span_id: String,
    /// None for the root of a trace.
    pub parent_span_id: Option<String>,
    /// The run.
    pub trace_id: String,
    /// The conversation.
    pub session_id: String,
    /// Whose it is.
    pub tenant_id: String,
    /// Who talks.
    pub user_id: String,
    /// The workflow.
    pub feature: String,
    /// The iteration, counted from 0.
    pub step_index: u32,
    /// `span_kind`.
    pub kind: &'static str,
    /// Wall clock at the start, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Milliseconds.
    pub latency_ms: u64,
    /// `success`, `error`, `timeout`, `interrupt`, `crashed`, or, while it is open, `running` or
    /// `waiting`: one list for all kinds.
    pub status: &'static str,
    /// Of the root: how the run ended.
    pub outcome: Option<&'static str>,
    /// Of a tool call: the error's code or reason. Of the root: the reason. Of a retry and of a turn
    /// that cannot be used: the class of the failure.
    pub error_code: Option<String>,
    /// The class of the failure, from the closed list.
    pub failure: Option<String>,
    /// Of a tool call and of a question about one.
    pub tool: Option<String>,
    /// Its version.
    pub tool_version: Option<String>,
    /// 0 to 4.
    pub class: Option<u8>,
    /// How a tool call came about.
    pub disposition: Option<String>,
    /// The key that the call's effects carried.
    pub idempotency_key: Option<String>,
    /// What came of a tool call in short, redacted.
    pub result_summary: Option<String>,
    /// Of a model call, and of an attempt at one that failed: the model that was asked for.
    pub model_id: Option<String>,
    /// The model that answered.
    pub model_version: Option<String>,
    /// Digest of prompt and tools.
    pub prompt_version_hash: Option<String>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// Tokens read.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Of the tokens read, those into the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Tokens that the model can hold; None where nobody has said.
    pub context_window_tokens: Option<u64>,
    /// Version of the price table; None where the price came from elsewhere.
    pub price_version: Option<String>,
    /// What was paid for this span alone, micro-dollars: of model calls and failed attempts. So the
    /// sum over all spans is what was paid; the root has its trace's sum in a field of its own.
    pub cost_usd_micros: u64,
    /// Of the root: what its whole run cost, micro-dollars. Never part of a sum over spans.
    pub run_cost_usd_micros: Option<u64>,
    /// Of a question: what was decided.
    pub decision: Option<&'static str>,
    /// Of a question: who decided.
    pub decided_by: Option<String>,
    /// Of a run that went on with a session: the trace before.
    pub resumed_from: Option<String>,
    /// The span, as JSON.
    pub body: String,
}

impl SpanRow {
    /// The row of a span.
    pub fn of(span: &Span) -> SpanRow {
        let common = &span.common;
        let mut row = SpanRow {
            span_id: common.span_id.to_string(),
            parent_span_id: common.parent_span_id.as_ref().map(ToString::to_string),
            trace_id: common.trace_id.to_string(),
            session_id: common.session_id.to_string(),
            tenant_id: common.tenant_id.to_string(),
            user_id: common.user_id.clone(),
            feature: common.feature.clone(),
            step_index: common.step_index,
            kind: span.detail.kind(),
            started_ms: common.timestamp_ms,
            latency_ms: common.latency_ms,
            cost_usd_micros: span.detail.cost().0,
            // A span has no map with keys that are no text, and no number that JSON lacks.
            body: serde_json::to_string(span).unwrap_or_default(),
            ..SpanRow::default()
        };
        row.tell(&span.detail);
        row
    }

    fn tell(&mut self, detail: &Detail) {
        match detail {
            Detail::AgentStep { status } => self.status = step_status(*status),
            Detail::LlmCall(call) => {
                self.status = if call.failure.is_none() {
                    "success"
                } else {
                    "error"
                };
                self.failure = call.failure.map(|f| f.as_str());
                self.error_code.clone_from(&self.failure);
                self.model_id = Some(call.model_id.clone());
                self.model_version = Some(call.model_version.clone());
                self.prompt_version_hash = Some(call.prompt_version_hash.clone());
                self.finish_reason = word(call.finish_reason);
                self.input_tokens = Some(call.input_tokens);
                self.output_tokens = Some(call.output_tokens);
                self.cache_read_tokens = Some(call.cache_read_tokens);
                self.cache_write_tokens = Some(call.cache_write_tokens);
                self.context_window_tokens = call.context_window_tokens;
                self.price_version = Some(call.price_version.clone()).filter(|v| !v.is_empty());
            }
            Detail::ToolCall(call) => {
                self.status = tool_status(call.result_status);
                self.error_code.clone_from(&call.error_code);
                self.tool = Some(call.tool_name.clone());
                self.tool_version = Some(call.tool_version.clone());
                self.class = Some(call.blast_radius_class);
                self.disposition = Some(call.disposition.clone());
                self.idempotency_key = Some(call.idempotency_key.clone());
                self.result_summary = Some(call.result_summary.clone());
            }
            Detail::ToolSpan {
                tool_name,
                blast_radius_class,
                ..
            } => {
                self.status = "success";
                self.tool = Some(tool_name.clone());
                self.class = Some(*blast_radius_class);
            }
            Detail::Retry {
                what,
                error,
                idempotency_key,
                ..
            } => {
                self.status = "error";
                self.error_code = Some(error.clone());
                self.idempotency_key.clone_from(idempotency_key);
                // An attempt at a model is named `chat MODEL`; what it cost is that model's.
                self.model_id = what.strip_prefix("chat ").map(str::to_owned);
            }
            Detail::HitlApproval {
                tool_name,
                decision,
                decided_by,
                blast_radius_class,
                ..
            } => {
                (self.status, self.decision) = match decision {
                    Decision::Approved => ("success", Some("approved")),
                    Decision::Rejected => ("success", Some("rejected")),
                    Decision::Expired => ("timeout", Some("expired")),
                    Decision::Pending => ("waiting", Some("pending")),
                };
                self.tool = Some(tool_name.clone());
                self.class = Some(*blast_radius_class);
                self.decided_by = Some(decided_by.clone()).filter(|by| !by.is_empty());
            }
            Detail::FinalResponse {
                outcome,
                reason,
                failure,
                resumed_from,
                cost_total_micros,
                ..
            } => {
                self.run_cost_usd_micros = Some(cost_total_micros.0);
                self.status = outcome_word(*outcome);
                self.outcome = Some(self.status);
                self.error_code.clone_from(reason);
                self.failure = failure.map(|f| f.as_str());
                self.resumed_from = resumed_from.as_ref().map(ToString::to_string);
            }
        }
    }
}

fn step_status(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Complete => "success",
        StepStatus::Interrupted => "interrupt",
        StepStatus::Failed => "error",
        StepStatus::Crashed => "crashed",
        StepStatus::Running => "running",
    }
}

fn tool_status(status: ToolStatus) -> &'static str {
    match status {
        ToolStatus::Success => "success",
        ToolStatus::Error => "error",
        ToolStatus::Timeout => "timeout",
        ToolStatus::Running => "running",
        ToolStatus::Waiting => "waiting",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Error => "error",
        Outcome::Interrupt => "interrupt",
        Outcome::Crashed => "crashed",
        Outcome::Running => "running",
    }
}

/// The word of one of the model's enums.
fn word(value: impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}
