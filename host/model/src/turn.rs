//! The model's answer in one iteration.

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::money::UsdMicros;

/// Why the model stopped, normalised; the raw word is kept beside it.
///
/// Anthropic says `end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `pause_turn`,
/// `refusal`, `model_context_window_exceeded`; OpenAI `stop`, `length`, `tool_calls`,
/// `content_filter`; Gemini `STOP`, `MAX_TOKENS`, `SAFETY` and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    Stop,
    /// Cut off at the token limit.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// It declined.
    Refusal,
    /// The provider paused it.
    Pause,
    /// The context window is full.
    ContextExceeded,
    /// Its tool call could not be read.
    MalformedToolCall,
    /// The provider failed.
    Error,
    /// A word that nobody here knows. Never success.
    Unknown,
}

impl FinishReason {
    /// The reason behind a provider's word.
    pub fn from_raw(raw: &str) -> FinishReason {
        match raw {
            "stop" | "end_turn" | "stop_sequence" | "STOP" => FinishReason::Stop,
            "length" | "max_tokens" | "MAX_TOKENS" => FinishReason::Length,
            "tool_calls" | "tool_use" | "function_call" => FinishReason::ToolCalls,
            "content_filter" | "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST"
            | "PROHIBITED_CONTENT" | "SPII" => FinishReason::ContentFilter,
            "refusal" => FinishReason::Refusal,
            "pause_turn" | "pause" => FinishReason::Pause,
            "model_context_window_exceeded" | "context_length_exceeded" => {
                FinishReason::ContextExceeded
            }
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "malformed_tool_call" => {
                FinishReason::MalformedToolCall
            }
            "error" => FinishReason::Error,
            _ => FinishReason::Unknown,
        }
    }

    /// What the loop may do with a turn that ended so, given whether it holds calls.
    ///
    /// A turn is an answer only when the model says that it stopped, and it asks for tools only
    /// when it says so: a `length` inside tool arguments is never dispatched (requirement 131).
    pub fn admits(self, has_calls: bool) -> Admission {
        match (self, has_calls) {
            (FinishReason::Stop | FinishReason::ToolCalls, true) => Admission::Dispatch,
            (FinishReason::Stop, false) => Admission::Answer,
            (FinishReason::ToolCalls, false) => Admission::Fail(FailureClass::MalformedToolCall),
            (FinishReason::Length, _) => Admission::Fail(FailureClass::TruncatedOutput),
            (FinishReason::ContentFilter, _) => Admission::Fail(FailureClass::ContentFiltered),
            (FinishReason::Refusal, _) => Admission::Fail(FailureClass::Refusal),
            (FinishReason::ContextExceeded, _) => Admission::Fail(FailureClass::ContextPressure),
            (FinishReason::MalformedToolCall, _) => {
                Admission::Fail(FailureClass::MalformedToolCall)
            }
            (FinishReason::Pause | FinishReason::Error | FinishReason::Unknown, _) => {
                Admission::Fail(FailureClass::ProviderTransient)
            }
        }
    }
}

/// What the loop may do with a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Run its calls.
    Dispatch,
    /// Deliver its text.
    Answer,
    /// Neither: the run ends with this failure.
    Fail(FailureClass),
}

/// Why a run failed. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the words are the field's own, from one closed list"
)]
pub enum FailureClass {
    ProviderTransient,
    ProviderOverloaded,
    ProviderQuota,
    TruncatedOutput,
    ContentFiltered,
    Refusal,
    MalformedToolCall,
    SchemaViolation,
    ToolInputError,
    ToolNotFoundId,
    ToolPrecondition,
    ToolConflict,
    ToolRateLimited,
    ToolTransient,
    ToolTimeoutUnknownEffect,
    ToolUpstream,
    PolicyDenied,
    ApprovalRejected,
    ApprovalExpired,
    BudgetExhausted,
    NoProgress,
    StalePlan,
    ContextPressure,
    IdProvenance,
    SandboxTrap,
    SandboxLimit,
    CheckpointConflict,
    Internal,
}

impl FailureClass {
    /// The word in events, spans and messages.
    pub fn as_str(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_else(|| "internal".to_owned())
    }
}

/// The model's answer, with what it took to get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Which turn, counted from 1.
    pub iteration: u32,
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tools that it wants called, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// The provider's word for that.
    pub finish_raw: String,
    /// The model that was asked for.
    pub model_id: String,
    /// The model that answered, as the provider names it.
    pub model_version: String,
    /// Digest of system prompt and tool definitions, twelve digits.
    pub prompt_version_hash: String,
    /// Sampling temperature, in thousandths.
    pub temperature_milli: u32,
    /// Tokens read, those from and into the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of the tokens read, those that came from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Of the tokens read, those that were put into the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Tokens that the model can hold, prompt and answer together; 0 where nobody has said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context_window_tokens: u64,
    /// Cost, all attempts together.
    pub cost: UsdMicros,
    /// Version of the price table that the cost was worked out by; empty where the price came from
    /// somewhere else (a script, the configuration).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub price_version: String,
    /// Wall clock at the first attempt, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Milliseconds from the first attempt to the answer.
    pub latency_ms: u64,
    /// Attempts that failed before this answer, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_attempts: Vec<FailedAttempt>,
}

/// A request to the model that brought no turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The class of the failure.
    pub failure: FailureClass,
    /// What the provider said.
    pub message: String,
    /// Wall clock at its start, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// How long it took.
    pub latency_ms: u64,
    /// What it cost all the same: a stream that broke is paid for. Known to be nothing when the
    /// provider refused; else see `cost_is_estimated`.
    #[serde(default, skip_serializing_if = "UsdMicros::is_zero")]
    pub cost: UsdMicros,
    /// The provider has not said what the attempt used: the cost is worked out from the length of
    /// what was sent and received.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_is_estimated: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_never_success() {
        for raw in ["", "Stop", "finished", "OTHER"] {
            let finish = FinishReason::from_raw(raw);
            assert_eq!(finish, FinishReason::Unknown);
            assert!(matches!(finish.admits(false), Admission::Fail(_)));
            assert!(matches!(finish.admits(true), Admission::Fail(_)));
        }
    }

    #[test]
    fn cut_off_arguments_are_never_dispatched() {
        assert_eq!(
            FinishReason::from_raw("length").admits(true),
            Admission::Fail(FailureClass::TruncatedOutput)
        );
    }
}
