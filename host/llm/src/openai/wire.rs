//! The chat-completions protocol: bodies to and fro. Pure.
//!
//! Fields that are not known are passed over: providers add some every month. Fields that are
//! needed and missing are errors that name them.

use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::turn::FinishReason;
use stoplog_model::{Call, definition};

use super::{OpenAiSettings, TokenLimitField};
use crate::{Message, TurnRequest, arguments_of, finish_of};

/// Characters of a provider's error that are kept: enough for its first lines, not for the page
/// of a proxy.
const MAX_ERROR_CHARS: usize = 300;

/// The body of a request.
pub(super) fn body(request: &TurnRequest, settings: &OpenAiSettings) -> Value {
    let mut body = json!({
        "model": settings.model,
        "messages": messages(request),
        "temperature": f64::from(settings.temperature_milli) / 1000.0,
    });
    let limit = match settings.token_limit_field {
        TokenLimitField::MaxTokens => "max_tokens",
        TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
    };
    body[limit] = json!(settings.max_tokens);
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": definition::for_provider(&tool.input_schema),
            }})
        });
        body["tools"] = tools.collect();
    }
    body
}

fn messages(request: &TurnRequest) -> Vec<Value> {
    let mut out = vec![json!({"role": "system", "content": request.system_prompt})];
    // Turns of another provider may have calls without ids; the protocol wants some, so they are
    // numbered by their place.
    let mut turn = 0_u32;
    for message in &request.messages {
        out.push(match message {
            Message::User { text } => json!({"role": "user", "content": text}),
            Message::Assistant { text, calls } => {
                turn += 1;
                assistant(turn, text, calls)
            }
            Message::ToolResult {
                provider_id,
                ordinal,
                content,
                is_error,
                code,
                ..
            } => json!({
                "role": "tool",
                "tool_call_id": id(provider_id.as_deref(), turn, *ordinal),
                "content": result(content, *is_error, code.as_deref()),
            }),
        });
    }
    out
}

fn assistant(turn: u32, text: &str, calls: &[Call]) -> Value {
    let content = if text.is_empty() && !calls.is_empty() {
        Value::Null
    } else {
        json!(text)
    };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        let calls = calls.iter().map(|call| {
            json!({
                "id": id(call.provider_id.as_deref(), turn, call.ordinal),
                "type": "function",
                "function": {"name": call.tool, "arguments": as_text(&call.arguments)},
            })
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn id(given: Option<&str>, turn: u32, ordinal: u32) -> String {
    given.map_or_else(|| format!("call_{turn}_{ordinal}"), str::to_owned)
}

fn result(content: &Value, is_error: bool, code: Option<&str>) -> String {
    if is_error {
        json!({"error": code.unwrap_or("internal"), "detail": content}).to_string()
    } else {
        as_text(content)
    }
}

/// A text as it is, anything else as JSON.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What an answer says.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) finish: FinishReason,
    pub(super) finish_raw: String,
    pub(super) model: String,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    /// Text as a rule; some servers send the object itself, or nothing.
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Reads the body of an answer with status 200, or says why it cannot be used.
pub(super) fn read(body: &str) -> Result<Answer, String> {
    let completion: Completion = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let usage = completion
        .usage
        .ok_or("it has no `usage`, so its cost cannot be counted")?;
    let choice = completion
        .choices
        .into_iter()
        .next()
        .ok_or("it has no `choices`")?;
    let calls: Vec<Call> = (0_u32..)
        .zip(choice.message.tool_calls.unwrap_or_default())
        .map(|(ordinal, call)| Call {
            ordinal,
            tool: call.function.name,
            arguments: match call.function.arguments {
                Value::String(raw) => arguments_of(&raw),
                Value::Null => arguments_of(""),
                other => other,
            },
            provider_id: call.id.filter(|id| !id.is_empty()),
        })
        .collect();
    let finish_raw = choice.finish_reason.unwrap_or_default();
    let refusal = choice.message.refusal.filter(|r| !r.is_empty());
    let finish = match refusal {
        Some(_) => FinishReason::Refusal,
        None => finish_of(&finish_raw, &calls),
    };
    Ok(Answer {
        text: choice
            .message
            .content
            .filter(|text| !text.is_empty())
            .or(refusal)
            .unwrap_or_default(),
        calls,
        finish,
        finish_raw,
        model: completion.model,
        input_tokens: usage.prompt_tokens,
        output_tokens: usage.completion_tokens,
    })
}

/// What a provider said of an error.
pub(super) struct ProviderWords {
    code: String,
    kind: String,
    message: String,
}

impl ProviderWords {
    /// Whether its code or type is this word.
    pub(super) fn is_about(&self, word: &str) -> bool {
        self.code == word || self.kind == word
    }

    /// Its message, on one line.
    pub(super) fn words(&self) -> String {
        let line: Vec<&str> = self.message.split_whitespace().collect();
        let line = line.join(" ");
        if line.is_empty() {
            "no more was said".to_owned()
        } else {
            line.chars().take(MAX_ERROR_CHARS).collect()
        }
    }
}

/// Reads `{"error": {"code", "type", "message"}}`, or takes the body as it is.
pub(super) fn read_error(body: &str) -> ProviderWords {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let field = |name: &str| {
        let field = &parsed["error"][name];
        field.as_str().unwrap_or_default().to_owned()
    };
    let message = match field("message") {
        message if message.is_empty() => body.to_owned(),
        message => message,
    };
    ProviderWords {
        code: field("code"),
        kind: field("type"),
        message,
    }
}
