//! A model that makes one call, the one that its task names: `TOOL {"its": "input"}`. For people
//! who call a tool by hand.
//!
//! Invariant: like a script it remembers nothing, so a host that is killed and started again gets
//! the same turn again.

use async_trait::async_trait;
use stoplog_model::port::Clock;
use stoplog_model::turn::{FailureClass, FinishReason, Turn};
use stoplog_model::{Call, UsdMicros};

use crate::{Message, Model, ModelError, TurnRequest, arguments_of};

/// What it is called in the journal.
const MODEL_ID: &str = "one-call";

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneCall;

impl OneCall {
    /// The task that makes it call a tool.
    pub fn task(tool: &str, input: &serde_json::Value) -> String {
        format!("{tool} {input}")
    }
}

#[async_trait]
impl Model for OneCall {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let mut calls = Vec::new();
        if request.iteration == 1 {
            let (tool, input) = task_of(request).ok_or_else(|| ModelError {
                failure: FailureClass::Internal,
                attempts: Vec::new(),
                message: "the task of this session is no call: it was begun by another command"
                    .to_owned(),
            })?;
            calls.push(Call {
                ordinal: 0,
                tool: tool.to_owned(),
                arguments: arguments_of(input),
                provider_id: None,
            });
        }
        let (finish, text) = match calls.is_empty() {
            true => (FinishReason::Stop, "done"),
            false => (FinishReason::ToolCalls, ""),
        };
        Ok(Turn {
            iteration: request.iteration,
            text: text.to_owned(),
            calls,
            finish,
            finish_raw: String::new(),
            model_id: MODEL_ID.to_owned(),
            model_version: "1".to_owned(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: 0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: 0,
            price_version: String::new(),
            cost: UsdMicros(0),
            started_at_ms: clock.now_ms(),
            latency_ms: 0,
            failed_attempts: Vec::new(),
        })
    }

    fn model_id(&self) -> &str {
        MODEL_ID
    }
}

/// Tool and input, from the first thing that was said.
fn task_of(request: &TurnRequest) -> Option<(&str, &str)> {
    match request.messages.first()? {
        Message::User { text } => text.split_once(' '),
        Message::Assistant { .. } | Message::ToolResult { .. } => None,
    }
}
