//! What a program does with a host in it: one call under a key, and one run of an agent whose model
//! is the program itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use async_trait::async_trait;
use serde_json::Value;
use stoplog::embed::model::event::CallResult;
use stoplog::embed::model::port::Clock;
use stoplog::embed::model::turn::{FinishReason, Turn};
use stoplog::embed::model::{Call, UsdMicros};
use stoplog::embed::{Caller, Came, Host, Model, ModelError, TurnRequest};

/// Calls one tool with one input, and then says that it did. A program that plans by rules is a model
/// too: what it decides is journalled, keyed and recovered as a language model's turns are.
pub struct Planner {
    /// The tool.
    pub tool: String,
    /// Its input.
    pub input: Value,
}

#[async_trait]
impl Model for Planner {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let calls = match request.iteration {
            1 => vec![Call {
                ordinal: 0,
                tool: self.tool.clone(),
                arguments: self.input.clone(),
                provider_id: None,
            }],
            _ => Vec::new(),
        };
        let (finish, text) = match calls.is_empty() {
            true => (FinishReason::Stop, format!("`{}` was called", self.tool)),
            false => (FinishReason::ToolCalls, String::new()),
        };
        Ok(Turn {
            iteration: request.iteration,
            text,
            calls,
            finish,
            finish_raw: String::new(),
            model_id: self.model_id().to_owned(),
            model_version: "1".into(),
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
        "planner"
    }
}

/// What the program learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// The tool's output.
    pub output: Value,
    /// Whether it was done before this program asked.
    pub before: bool,
    /// The agent's answer.
    pub answer: String,
}

/// Opens a host, has the tool called under a key, lets the agent do the same act, and closes the host.
///
/// # Errors
///
/// The host does not open, or the tool failed.
pub async fn once(
    config: &Path,
    caller: &Caller,
    tool: &str,
    input: &Value,
    key: &str,
) -> anyhow::Result<Learnt> {
    let planner = Planner {
        tool: tool.to_owned(),
        input: input.clone(),
    };
    let host = Host::open_with(config, Some(Arc::new(planner))).await?;
    let answer = host.call(caller, tool, input.clone(), Some(key)).await?;
    let run = host.run(caller, "do it as well", Some(key)).await?;
    host.close().await?;

    let (output, before) = match answer.came {
        Came::Observed { observed, replayed } => match observed.result {
            CallResult::Ok(output) => (output, replayed),
            CallResult::Err(error) => bail!("`{tool}`: {}", error.message),
        },
        Came::Waits(waiting) => bail!("`{tool}` waits for a person: {waiting:?}"),
    };
    let ended = run.session.last_run().and_then(|run| run.ended.as_ref());
    Ok(Learnt {
        output,
        before,
        answer: ended.map(|ended| ended.answer.clone()).unwrap_or_default(),
    })
}
