//! The span, with the field names that people query by.
//!
//! Invariants: what every span must have is no `Option`; a span is read back as it was written, so
//! whoever has its line has the span.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stoplog_model::event::Verdict;
use stoplog_model::turn::{FailureClass, FinishReason};
use stoplog_model::{SessionId, SpanId, Tenant, TraceId, UsdMicros};

/// What every span has (requirement 28, and `feature` for cost). No field is optional but the
/// parent, which the root of a trace has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How long it took, milliseconds; of what is still open, how long it is known to have taken.
    pub latency_ms: u64,
}

/// How a tool call ended (requirement 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of requirement 31")]
pub enum ToolStatus {
    Success,
    Error,
    Timeout,
    /// It has not ended. Only in the trace store, and never in what is exported.
    Running,
    /// It is parked: a person is asked. Only in the trace store.
    Waiting,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It has not ended. Only in the trace store.
    Running,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It gave its answer.
    Success,
    /// It could not go on.
    Error,
    /// It waits for a person, or the host was told to stop.
    Interrupt,
    /// Its host died.
    Crashed,
    /// It has not ended. Only in the trace store.
    Running,
}

/// What a person said to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Do it.
    Approved,
    /// Do not.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// Nothing yet. Only in the trace store.
    Pending,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Decision {
        match verdict {
            Verdict::Approved => Decision::Approved,
            Verdict::Rejected => Decision::Rejected,
            Verdict::Expired => Decision::Expired,
        }
    }
}

/// What a span is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "span_kind", rename_all = "snake_case")]
pub enum Detail {
    /// One turn of the loop.
    AgentStep {
        /// How it ended.
        status: StepStatus,
    },
    /// One turn of the model, also one that cannot be used.
    LlmCall(LlmCall),
    /// One call.
    ToolCall(ToolCall),
    /// An attempt that had to be repeated.
    Retry {
        /// What was tried.
        what: String,
        /// Which attempt, counted from 1.
        attempt: u32,
        /// Why it failed.
        error: String,
        /// What it cost all the same, dollars.
        #[serde(default, skip_serializing_if = "is_free")]
        cost_usd: f64,
        /// The same, exact.
        #[serde(default, skip_serializing_if = "UsdMicros::is_zero")]
        cost_usd_micros: UsdMicros,
    },
    /// A person was asked.
    HitlApproval {
        /// The question.
        approval_id: String,
        /// The tool.
        tool_name: String,
        /// What they said.
        decision: Decision,
        /// Who. Their note stays in the journal: nobody has decided who may see it.
        decided_by: String,
        /// 0 to 4.
        blast_radius_class: u8,
    },
    /// The run: the root of its trace, made when it ends.
    FinalResponse {
        /// How it ended.
        outcome: Outcome,
        /// Why, if not success: a reason code.
        reason: Option<String>,
        /// The class of the failure, on error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureClass>,
        /// Wall clock of the whole run, milliseconds.
        latency_total: u64,
        /// Cost of the whole run, dollars.
        cost_total: f64,
        /// The same, exact.
        cost_total_micros: UsdMicros,
        /// The trace that it went on from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_from: Option<TraceId>,
        /// The iteration that it went on with, counted from 1.
        at_iteration: u32,
    },
}

/// One turn of the model (requirement 30).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmCall {
    /// The model that was asked for.
    pub model_id: String,
    /// The model that answered.
    pub model_version: String,
    /// Digest of prompt and tools.
    pub prompt_version_hash: String,
    /// Tokens read, those from and into the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of the tokens read, those from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Of the tokens read, those into the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Tokens that the model can hold; absent where nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window_tokens: Option<u64>,
    /// Which part of that the prompt took (requirement 67); absent where nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_utilization: Option<f64>,
    /// Sampling temperature.
    pub temperature: f64,
    /// Cost in dollars, six decimals. Attempts that failed before have spans of their own.
    pub cost_usd: f64,
    /// The same, exact.
    pub cost_usd_micros: UsdMicros,
    /// The price table that it was worked out by; absent where the price came from elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub price_version: String,
    /// Why it stopped, normalised.
    pub finish_reason: FinishReason,
    /// Why it stopped, in the provider's word.
    pub finish_reason_raw: String,
    /// Why the turn cannot be used, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureClass>,
}

/// One call (requirement 31).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its name, if there is such a tool.
    pub tool_name: String,
    /// Its version; empty for a tool that does not exist.
    pub tool_version: String,
    /// The arguments as `x-disclosure` lets them be seen, and the key.
    pub args_redacted: Value,
    /// How it ended.
    pub result_status: ToolStatus,
    /// The result in short, redacted.
    pub result_summary: String,
    /// The kind of the error, or the host's reason code; absent without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// 0 to 4.
    pub blast_radius_class: u8,
    /// How it came about: executed, replayed, deduplicated, probed, refused, parked; `in_doubt` for
    /// a call whose host died, and `running` for one that has not ended.
    pub disposition: String,
    /// The key that its effects carried.
    pub idempotency_key: String,
    /// What the tool put on its span.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

/// One span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// What every span has.
    #[serde(flatten)]
    pub common: Common,
    /// What this one is about.
    #[serde(flatten)]
    pub detail: Detail,
}

impl Detail {
    /// The word in `span_kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Detail::AgentStep { .. } => "agent_step",
            Detail::LlmCall(_) => "llm_call",
            Detail::ToolCall(_) => "tool_call",
            Detail::Retry { .. } => "retry",
            Detail::HitlApproval { .. } => "hitl_approval",
            Detail::FinalResponse { .. } => "final_response",
        }
    }

    /// What was paid for this alone. The root of a trace repeats the sum of the others, and costs
    /// nothing of its own.
    pub fn cost(&self) -> UsdMicros {
        match self {
            Detail::LlmCall(call) => call.cost_usd_micros,
            Detail::Retry {
                cost_usd_micros, ..
            } => *cost_usd_micros,
            _ => UsdMicros(0),
        }
    }
}

/// Micro-dollars as a decimal for people and dashboards.
pub(crate) fn dollars(micros: UsdMicros) -> f64 {
    micros.0 as f64 / 1e6
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_free(dollars: &f64) -> bool {
    *dollars == 0.0
}
