//! A model that replays a file: for tests and the demo.
//!
//! Invariant: the turn is a function of the file and the conversation. Nothing is counted or
//! remembered, so a host that is killed and started again gets the same turn again.

use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use stoplog_model::port::Clock;
use stoplog_model::turn::{FailureClass, Turn};
use stoplog_model::{Call, UsdMicros};

use crate::{ConfigError, Message, Model, ModelError, TurnRequest, arguments_of, finish_of};

/// Highest temperature that any provider takes; more is a slip of the pen.
const MAX_TEMPERATURE: f64 = 2.0;

/// A script, read from JSON of this form:
///
/// ```json
/// {"model_id": "scripted", "model_version": "1", "temperature": 0.2, "turns": [
///   {"iteration": 1, "when": {"tool": "issue_refund", "code": "approval_rejected"},
///    "text": "...", "calls": [{"tool": "send_mail", "arguments": {"to": "{{last.find_customer./email}}"}}],
///    "finish_reason": "tool_use", "input_tokens": 900, "output_tokens": 40, "cost_usd_micros": 4000}]}
/// ```
///
/// Among the turns of an iteration, the first one counts whose `when` fits the latest result of
/// its tool (no `code`: a result that is no error); else the first one without `when`.
/// `arguments` may be a string, which is read as what a model wrote: JSON, or not.
///
/// In `text` and in the strings of `arguments`, `{{last.TOOL.pointer}}` stands for what the latest
/// result of the tool has at that JSON pointer, and `{{session}}` for the session's id: so one
/// script serves many sessions, and each names an act of its own.
#[derive(Debug, Clone)]
pub struct Scripted {
    script: Script,
    temperature_milli: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    model_id: String,
    model_version: String,
    #[serde(default)]
    temperature: f64,
    turns: Vec<ScriptTurn>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptTurn {
    iteration: u32,
    when: Option<When>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    calls: Vec<ScriptCall>,
    finish_reason: String,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd_micros: u64,
    #[serde(default)]
    latency_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    tool: String,
    code: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptCall {
    tool: String,
    arguments: Value,
}

impl Scripted {
    /// Reads a script; `name` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Script`] with the line, also for a field that is not known.
    pub fn parse(name: &str, text: &str) -> Result<Scripted, ConfigError> {
        let refuse = |why: String| ConfigError::Script {
            file: name.to_owned(),
            why,
        };
        let script: Script = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if !(0.0..=MAX_TEMPERATURE).contains(&script.temperature) {
            return Err(refuse(format!(
                "the temperature {} is not between 0 and {MAX_TEMPERATURE}",
                script.temperature
            )));
        }
        if script.turns.is_empty() {
            return Err(refuse("it has no turns".to_owned()));
        }
        if script.turns.iter().any(|turn| turn.iteration == 0) {
            return Err(refuse("iterations are counted from 1".to_owned()));
        }
        // Between 0 and 2000, as was just checked.
        let temperature_milli = (script.temperature * 1000.0).round() as u32;
        Ok(Scripted {
            script,
            temperature_milli,
        })
    }

    /// Reads a script from a file.
    ///
    /// # Errors
    /// [`ConfigError::Script`].
    pub fn load(path: &Path) -> Result<Scripted, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Script {
            file: name.clone(),
            why: e.to_string(),
        })?;
        Scripted::parse(&name, &text)
    }

    fn pick(&self, request: &TurnRequest) -> Option<&ScriptTurn> {
        let of_iteration = || {
            self.script
                .turns
                .iter()
                .filter(|turn| turn.iteration == request.iteration)
        };
        of_iteration()
            .find(|turn| {
                turn.when.as_ref().is_some_and(|when| {
                    latest(&request.messages, &when.tool)
                        .is_some_and(|(_, code)| code == when.code.as_deref())
                })
            })
            .or_else(|| of_iteration().find(|turn| turn.when.is_none()))
    }
}

#[async_trait]
impl Model for Scripted {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let (started_at_ms, began) = (clock.now_ms(), Instant::now());
        let turn = self.pick(request).ok_or_else(|| {
            failed(format!(
                "the script of {} has no turn for iteration {} that fits",
                self.script.model_id, request.iteration
            ))
        })?;
        if turn.latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(turn.latency_ms)).await;
        }
        let text = match filled_text(&turn.text, request)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let mut calls = Vec::new();
        for (ordinal, call) in (0_u32..).zip(&turn.calls) {
            let arguments = match filled(&call.arguments, request)? {
                Value::String(raw) => arguments_of(&raw),
                arguments => arguments,
            };
            calls.push(Call {
                ordinal,
                tool: call.tool.clone(),
                arguments,
                provider_id: Some(format!("call_{}_{ordinal}", request.iteration)),
            });
        }
        Ok(Turn {
            iteration: request.iteration,
            text,
            finish: finish_of(&turn.finish_reason, &calls),
            finish_raw: turn.finish_reason.clone(),
            calls,
            model_id: self.script.model_id.clone(),
            model_version: self.script.model_version.clone(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: self.temperature_milli,
            input_tokens: turn.input_tokens,
            output_tokens: turn.output_tokens,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: 0,
            price_version: String::new(),
            cost: UsdMicros(turn.cost_usd_micros),
            started_at_ms,
            latency_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            failed_attempts: Vec::new(),
        })
    }

    fn model_id(&self) -> &str {
        &self.script.model_id
    }
}

fn failed(message: String) -> ModelError {
    ModelError {
        failure: FailureClass::Internal,
        attempts: Vec::new(),
        message,
    }
}

/// Content and code of the latest result of a tool.
fn latest<'a>(messages: &'a [Message], name: &str) -> Option<(&'a Value, Option<&'a str>)> {
    messages.iter().rev().find_map(|message| match message {
        Message::ToolResult {
            tool,
            content,
            code,
            ..
        } if tool == name => Some((content, code.as_deref())),
        _ => None,
    })
}

/// A value with its placeholders replaced.
fn filled(value: &Value, request: &TurnRequest) -> Result<Value, ModelError> {
    Ok(match value {
        Value::String(text) => filled_text(text, request)?,
        Value::Array(items) => {
            let items = items.iter().map(|item| filled(item, request));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let mut out = serde_json::Map::new();
            for (name, field) in fields {
                out.insert(name.clone(), filled(field, request)?);
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}

const OPEN: &str = "{{last.";
const CLOSE: &str = "}}";
const SESSION: &str = "{{session}}";

/// A text with its placeholders replaced; one that is nothing but a placeholder keeps the type
/// of what it stands for. What is put in is not looked through again: a result of a tool that
/// holds `{{session}}` stays as it is.
fn filled_text(text: &str, request: &TurnRequest) -> Result<Value, ModelError> {
    let named = |text: &str| text.replace(SESSION, request.session.as_str());
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(OPEN) {
        let (name, after) = from
            .split_once(CLOSE)
            .ok_or_else(|| failed(format!("the placeholder in `{text}` does not end")))?;
        let value = looked_up(name, &request.messages)?;
        if before.is_empty() && after.is_empty() && out.is_empty() {
            return Ok(value);
        }
        out.push_str(&named(before));
        match value {
            Value::String(value) => out.push_str(&value),
            value => out.push_str(&value.to_string()),
        }
        rest = after;
    }
    out.push_str(&named(rest));
    Ok(Value::String(out))
}

/// What `TOOL.pointer` stands for.
fn looked_up(name: &str, messages: &[Message]) -> Result<Value, ModelError> {
    let (tool, pointer) = name.split_once('.').unwrap_or((name, ""));
    let (content, _) = latest(messages, tool)
        .ok_or_else(|| failed(format!("`{OPEN}{name}{CLOSE}`: no result of {tool} yet")))?;
    // Results may come as the text of JSON.
    let parsed = content
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let content: &Value = parsed.as_ref().unwrap_or(content);
    content.pointer(pointer).cloned().ok_or_else(|| {
        failed(format!(
            "`{OPEN}{name}{CLOSE}`: the latest result of {tool} has no `{pointer}`"
        ))
    })
}

#[cfg(test)]
mod tests;
