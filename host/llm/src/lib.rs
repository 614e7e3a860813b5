//! Model providers, and a stop reason that nobody can ignore.
//!
//! A [`Model`] gets the conversation and gives back a [`Turn`]: what the model said, which tools
//! it wants called, why it stopped, and what that cost. Three are here: [`Scripted`], which replays
//! a file, [`OneCall`], which makes the call of its task, and [`Chain`], a provider with its
//! fallbacks. A provider speaks one of four protocols, each in a module of its own, over what they
//! have in common (`remote`).
//!
//! Invariants:
//!
//! * A turn always has its finish reason, normalised and raw. Arguments that are not JSON make it
//!   [`FinishReason::MalformedToolCall`], so they are never dispatched.
//! * A price is named or the model is not built: no turn costs 0 by accident.
//! * Every request is told of before it leaves, and every attempt that failed is in the turn, or in
//!   the error, with what it cost.
//! * One place repeats requests: [`Chain`].
//! * The provider's ids of calls are handed back to it, and used for nothing else.
//!
//! What is absent: this crate opens no connection of its own (that is `stoplog-egress`), keeps no
//! state between turns, and decides nothing about what a turn is good for (that is
//! [`FinishReason::admits`]). No crate for model providers is used: those that there are dial by
//! themselves, and then there would be a second way out.

mod anthropic;
mod backoff;
mod chain;
mod chat;
mod gemini;
mod one_call;
mod price;
mod remote;
mod responses;
mod scripted;
#[cfg(test)]
mod testkit;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use stoplog_model::digest::canonical_json;
use stoplog_model::event::ModelAsked;
use stoplog_model::port::Clock;
use stoplog_model::session::Spent;
use stoplog_model::turn::{FailedAttempt, FailureClass, FinishReason, Turn};
use stoplog_model::{Call, Digest, SessionId};

pub use backoff::{Backoff, MAX_ATTEMPTS, MAX_RETRY_AFTER};
pub use chain::{Budget, Chain, DEFAULT_RETRIES, Fallback, Window};
pub use one_call::OneCall;
pub use price::{Price, PriceTable, Priced, Usage};
pub use remote::{
    BYTES_PER_TOKEN, IDLE_DEADLINE, Kind, Remote, RemoteSettings, TURN_DEADLINE, TokenLimitField,
};
pub use scripted::Scripted;
pub use stoplog_egress::{ApiKey, Patience};

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRequest {
    /// Whose conversation it is. Providers are not told.
    pub session: SessionId,
    /// Which turn, counted from 1.
    pub iteration: u32,
    /// The instructions.
    pub system_prompt: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Arc<[ToolDefinition]>,
    /// See [`prompt_version_hash`].
    pub prompt_version_hash: String,
    /// What of the session's course counts for which provider is asked.
    pub course: Course,
}

/// The course of a session so far, as far as it counts for which provider is asked, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Course {
    /// The profile that gave the last turn; empty for the first of the configuration.
    pub profile: String,
    /// A write has left in this session.
    pub wrote: bool,
    /// What its runs have spent.
    pub spent: Spent,
}

/// A tool, as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its input.
    pub input_schema: Value,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// From the person.
    User {
        /// What was said.
        text: String,
    },
    /// From the model.
    Assistant {
        /// What it said; may be empty.
        text: String,
        /// What it wanted called.
        calls: Vec<Call>,
    },
    /// What came of a call.
    ToolResult {
        /// The provider's id of the call.
        provider_id: Option<String>,
        /// Place of the call in its turn, counted from 0.
        ordinal: u32,
        /// Name of the tool, as the model wrote it.
        tool: String,
        /// Output, or what is told of the error.
        content: Value,
        /// Whether the call failed or was refused.
        is_error: bool,
        /// Reason or error code, when it failed.
        code: Option<String>,
    },
}

/// Who is told of a turn while it is being made.
pub trait Desk: Send + Sync {
    /// The time.
    fn clock(&self) -> &dyn Clock;
    /// A request leaves next.
    fn asked(&self, asked: ModelAsked);
    /// The model goes on writing its answer to this attempt. Nothing of it counts yet.
    fn heard(&self, attempt: u32, text: &str);
    /// What was heard of this attempt does not count.
    fn retracted(&self, attempt: u32);
}

/// Gives turns.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks for the next turn.
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError>;
    /// The same, and tells of each request before it leaves, and of text as it comes. A model that
    /// sends nothing anywhere has nothing to tell.
    async fn ask(&self, request: &TurnRequest, desk: &dyn Desk) -> Result<Turn, ModelError> {
        self.turn(request, desk.clock()).await
    }
    /// How much the model can hold that is asked first, if somebody has said.
    fn window(&self, _: &Course) -> Option<Window> {
        None
    }
    /// The model that is asked for.
    fn model_id(&self) -> &str;
}

/// No turn came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// The class of the last failure.
    pub failure: FailureClass,
    /// Every attempt, in order. Empty when nothing was sent anywhere.
    pub attempts: Vec<FailedAttempt>,
    /// What happened, and what to do.
    pub message: String,
}

/// A model cannot be built from what the operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The script cannot be used.
    #[error("the script {file} cannot be used: {why}")]
    Script {
        /// Name of the file.
        file: String,
        /// What is wrong, with its line where there is one.
        why: String,
    },
    /// A table of prices cannot be used.
    #[error("the prices in {file} cannot be used: {why}")]
    Prices {
        /// Name of the file.
        file: String,
        /// What is wrong, with its line where there is one.
        why: String,
    },
    /// A price is missing.
    #[error(
        "the price of `{model}` is not known: give input_usd_micros_per_million and \
         output_usd_micros_per_million beside it (0 if it is free), or list it in a file of your own: \
         prices = \"prices.toml\""
    )]
    PriceMissing {
        /// The model.
        model: String,
    },
    /// Another setting cannot be used.
    #[error("the model setting `{setting}` cannot be used: {why}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// The rule that it breaks.
        why: String,
    },
}

/// Twelve digits for system prompt and tools together: when they change, it does.
pub fn prompt_version_hash(system_prompt: &str, tools: &[ToolDefinition]) -> String {
    let schemas: Vec<String> = tools
        .iter()
        .map(|tool| canonical_json(&tool.input_schema))
        .collect();
    let mut parts = vec![system_prompt];
    for (tool, schema) in tools.iter().zip(&schemas) {
        parts.extend([tool.name.as_str(), tool.description.as_str(), schema]);
    }
    Digest::of_parts("stoplog/prompt1", &parts)
        .short()
        .to_owned()
}

/// Arguments from the text that a model wrote: [`Value::String`] with that text when it is not
/// the JSON of arguments. No text at all is how some providers say "no arguments".
fn arguments_of(raw: &str) -> Value {
    if raw.trim().is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    match serde_json::from_str(raw) {
        Ok(Value::String(_)) | Err(_) => Value::String(raw.to_owned()),
        Ok(value) => value,
    }
}

/// The finish reason, once the arguments were looked at: a cut-off turn stays a cut-off turn.
fn finish_of(raw: &str, calls: &[Call]) -> FinishReason {
    let finish = FinishReason::from_raw(raw);
    let is_malformed = calls.iter().any(|call| call.arguments.is_string());
    match finish {
        FinishReason::Stop | FinishReason::ToolCalls if is_malformed => {
            FinishReason::MalformedToolCall
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(description: &str, schema: Value) -> ToolDefinition {
        ToolDefinition {
            name: "issue_refund".into(),
            description: description.into(),
            input_schema: schema,
        }
    }

    #[test]
    fn the_prompt_hash_changes_with_the_prompt_and_not_with_the_order_of_fields() {
        let schema = json!({"type": "object", "title": "a"});
        let swapped = json!({"title": "a", "type": "object"});
        let hash = prompt_version_hash("be kind", &[tool("refunds", schema.clone())]);
        assert_eq!(hash.len(), 12);
        assert_eq!(
            hash,
            prompt_version_hash("be kind", &[tool("refunds", swapped)])
        );
        assert_ne!(
            hash,
            prompt_version_hash("be kin", &[tool("refunds", schema.clone())])
        );
        assert_ne!(
            hash,
            prompt_version_hash("be kind", &[tool("refund", schema)])
        );
        assert_ne!(hash, prompt_version_hash("be kind", &[]));
    }

    #[test]
    fn arguments_that_are_not_json_are_kept_and_named() {
        for (raw, is_text) in [
            ("{\"a\": 1}", false),
            ("", false),
            ("{\"a\": ", true),
            ("\"text\"", true),
        ] {
            assert_eq!(arguments_of(raw).is_string(), is_text, "{raw}");
        }
        let call = |raw: &str| Call {
            ordinal: 0,
            tool: "t".into(),
            arguments: arguments_of(raw),
            provider_id: None,
        };
        for (finish, raw, expected) in [
            ("tool_calls", "{", FinishReason::MalformedToolCall),
            ("stop", "{", FinishReason::MalformedToolCall),
            ("length", "{", FinishReason::Length),
            ("tool_calls", "{}", FinishReason::ToolCalls),
            ("odd", "{", FinishReason::Unknown),
        ] {
            assert_eq!(finish_of(finish, &[call(raw)]), expected, "{finish} {raw}");
        }
    }
}
