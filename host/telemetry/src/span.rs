//! The span, with the field names that people query by.

use serde::Serialize;
use serde_json::Value;
use stoplog_model::{SessionId, SpanId, Tenant, TraceId, UsdMicros};

/// What every span has (requirement 28, and `feature` for cost). No field is optional but the
/// parent, which the root of a trace has not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Common {
    /// One for each run.
    pub trace_id: TraceId,
    /// Derived from what the span is about.
    pub span_id: SpanId,
    /// None for the root alone.
    pub parent_span_id: Option<SpanId>,
    /// Whose it is.
    pub tenant_id: Tenant,
    /// The conversation; the same over all its traces.
    pub session_id: SessionId,
    /// Who talks.
    pub user_id: String,
    /// The workflow.
    pub feature: String,
    /// The iteration, counted from 0.
    pub step_index: u32,
    /// Wall clock at the start, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// How long it took, milliseconds.
    pub latency_ms: u64,
}

/// How a tool call ended (requirement 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of requirement 31")]
pub enum ToolStatus {
    Success,
    Error,
    Timeout,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// All its calls are observed.
    Complete,
    /// It waits for a person.
    Interrupted,
    /// The model failed, or the run did.
    Failed,
    /// The host died in it.
    Crashed,
}

/// What a span is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "span_kind", rename_all = "snake_case")]
pub enum Detail {
    /// One turn of the loop.
    AgentStep {
        /// How it ended.
        status: StepStatus,
    },
    /// One turn of the model, or a failed one.
    LlmCall {
        /// The model that was asked for.
        model_id: String,
        /// The model that answered.
        model_version: String,
        /// Digest of prompt and tools.
        prompt_version_hash: String,
        /// Tokens read.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
        /// Sampling temperature.
        temperature: f64,
        /// Cost in dollars, six decimals.
        cost_usd: f64,
        /// The same, exact.
        cost_usd_micros: UsdMicros,
        /// Why it stopped, normalised.
        finish_reason: Value,
        /// Why it stopped, in the provider's word.
        finish_reason_raw: String,
    },
    /// One call.
    ToolCall {
        /// Its name as the model wrote it.
        tool_name: String,
        /// Its version; empty for a tool that does not exist.
        tool_version: String,
        /// The arguments as `x-disclosure` lets them be seen, and the key.
        args_redacted: Value,
        /// How it ended.
        result_status: ToolStatus,
        /// The result in short, redacted.
        result_summary: String,
        /// 0 to 4.
        blast_radius_class: u8,
        /// How it came about: executed, replayed, deduplicated, probed, refused, parked, or
        /// `in_doubt` for a call whose host died.
        disposition: String,
        /// The key that its effects carried.
        idempotency_key: String,
        /// What the tool put on its span.
        #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
        annotations: serde_json::Map<String, Value>,
    },
    /// An attempt that had to be repeated.
    Retry {
        /// What was tried.
        what: String,
        /// Which attempt, counted from 1.
        attempt: u32,
        /// Why it failed.
        error: String,
        /// What it cost all the same, in dollars; part of the cost of the turn that came of it.
        cost_usd: f64,
        /// The same, exact.
        cost_usd_micros: UsdMicros,
    },
    /// A person was asked.
    HitlApproval {
        /// The question.
        approval_id: String,
        /// The tool.
        tool_name: String,
        /// approved, rejected or expired.
        decision: Value,
        /// Who. Their note stays in the journal: nobody has decided who may see it.
        decided_by: String,
        /// 0 to 4.
        blast_radius_class: u8,
    },
    /// The run: the root of its trace, made when it ends.
    FinalResponse {
        /// success, error, interrupt, or crashed.
        outcome: String,
        /// Why, if not success.
        reason: Option<String>,
        /// Wall clock of the whole run, milliseconds.
        latency_total: u64,
        /// Cost of the whole run, dollars.
        cost_total: f64,
        /// The same, exact.
        cost_total_micros: UsdMicros,
        /// The trace that it went on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        resumed_from: Option<TraceId>,
        /// The iteration that it went on with, counted from 1.
        at_iteration: u32,
    },
}

/// One span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// What every span has.
    #[serde(flatten)]
    pub common: Common,
    /// What this one is about.
    #[serde(flatten)]
    pub detail: Detail,
}

/// Micro-dollars as a decimal for people and dashboards.
pub(crate) fn dollars(micros: UsdMicros) -> f64 {
    micros.0 as f64 / 1e6
}
