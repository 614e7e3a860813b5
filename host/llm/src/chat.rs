//! OpenAI's chat completions, which most servers speak. Pure.
//!
//! Shapes are from the public API reference (platform.openai.com/docs/api-reference/chat and
//! .../chat-streaming). Fields that are not known are passed over: providers add some every month.
//! Fields that are needed and missing are errors that name them.
//!
//! The provider caches prefixes of prompts by itself and says what it found
//! (`prompt_tokens_details.cached_tokens`); it asks nothing for putting them there. DeepSeek's
//! `prompt_cache_hit_tokens` is read as well.

use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::turn::FinishReason;
use stoplog_model::{Call, definition};

use crate::price::Usage;
use crate::remote::{
    Answer, Dialect, Reader, RemoteSettings, TokenLimitField, Took, Unread, Words, as_text,
    call_id, parse, result_text, sse, temperature,
};
use crate::{Message, TurnRequest, arguments_of, finish_of};

/// The data of the last event of a stream.
const DONE: &str = "[DONE]";

/// See the module.
pub(crate) struct Chat;

impl Dialect for Chat {
    fn path(&self, _: &RemoteSettings) -> String {
        "chat/completions".to_owned()
    }

    fn body(&self, request: &TurnRequest, settings: &RemoteSettings) -> Value {
        let mut body = json!({
            "model": settings.model,
            "messages": messages(request),
        });
        if let Some(temperature) = temperature(settings) {
            body["temperature"] = json!(temperature);
        }
        let limit = match settings.token_limit_field {
            TokenLimitField::MaxTokens => "max_tokens",
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
        };
        body[limit] = json!(settings.max_tokens);
        if settings.stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
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

    fn whole(&self, body: &str) -> Result<Answer, Unread> {
        let completion: Completion = parse(body)?;
        let lacking = |what: &str| Unread::Lacking(format!("it has no `{what}`"));
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| lacking("choices"))?;
        let said = choice.message.ok_or_else(|| lacking("message"))?;
        let calls = said.tool_calls.unwrap_or_default().into_iter();
        Draft {
            model: completion.model.unwrap_or_default(),
            text: said.content.unwrap_or_default(),
            refusal: said.refusal.unwrap_or_default(),
            calls: calls.map(CallDraft::of).collect(),
            finish_raw: choice.finish_reason,
            usage: completion.usage,
            is_done: true,
        }
        .answer()
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Draft::default())
    }
}

fn messages(request: &TurnRequest) -> Vec<Value> {
    let mut out = vec![json!({"role": "system", "content": request.system_prompt})];
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
                "tool_call_id": call_id(provider_id.as_deref(), turn, *ordinal),
                "content": result_text(content, *is_error, code.as_deref()),
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
                "id": call_id(call.provider_id.as_deref(), turn, call.ordinal),
                "type": "function",
                "function": {"name": call.tool, "arguments": as_text(&call.arguments)},
            })
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    message: Option<Said>,
    delta: Option<Said>,
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
    /// In streams: which call a piece is of.
    index: Option<usize>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    /// Text as a rule; some servers send the object itself, or nothing.
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Counts {
    fn usage(&self) -> Usage {
        let details = self.prompt_tokens_details.as_ref();
        let cached = details.and_then(|d| d.cached_tokens);
        Usage {
            input_tokens: self.prompt_tokens,
            output_tokens: self.completion_tokens,
            cache_read_tokens: cached.or(self.prompt_cache_hit_tokens).unwrap_or(0),
            cache_write_tokens: 0,
        }
    }
}

/// An answer that is being put together.
#[derive(Default)]
struct Draft {
    model: String,
    text: String,
    refusal: String,
    calls: Vec<CallDraft>,
    finish_raw: Option<String>,
    usage: Option<Counts>,
    /// The last event of the stream has come.
    is_done: bool,
}

#[derive(Default)]
struct CallDraft {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl CallDraft {
    fn of(call: ToolCall) -> CallDraft {
        let mut draft = CallDraft::default();
        draft.add(call);
        draft
    }

    fn add(&mut self, piece: ToolCall) {
        if let Some(id) = piece.id.filter(|id| !id.is_empty()) {
            self.id.get_or_insert(id);
        }
        if let Some(function) = piece.function {
            self.name.push_str(&function.name.unwrap_or_default());
            match function.arguments {
                Value::Null => {}
                Value::String(text) => self.arguments.push_str(&text),
                whole => self.arguments = whole.to_string(),
            }
        }
    }
}

impl Reader for Draft {
    fn take(&mut self, event: &sse::Event) -> Result<Took, Unread> {
        if event.data.trim() == DONE {
            self.is_done = true;
            return Ok(Took {
                text: String::new(),
                is_last: true,
            });
        }
        let value: Value = parse(&event.data)?;
        if !value["error"].is_null() {
            let words = Words::of(status_of(&value["error"]), &value["error"], &event.data);
            return Err(Unread::Failed(words));
        }
        let chunk: Completion =
            serde_json::from_value(value).map_err(|e| Unread::Broken(e.to_string()))?;
        if let Some(model) = chunk.model.filter(|m| !m.is_empty()) {
            self.model = model;
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        let mut text = String::new();
        // One answer was asked for: further ones are nobody's.
        for choice in chunk.choices.into_iter().filter(|c| c.index == 0) {
            if let Some(said) = choice.delta.or(choice.message) {
                text.push_str(&said.content.unwrap_or_default());
                self.refusal.push_str(&said.refusal.unwrap_or_default());
                self.pieces(said.tool_calls.unwrap_or_default())?;
            }
            if choice.finish_reason.is_some() {
                self.finish_raw = choice.finish_reason;
            }
        }
        self.text.push_str(&text);
        Ok(Took {
            text,
            is_last: false,
        })
    }

    fn end(self: Box<Self>) -> Result<Answer, Unread> {
        // Some servers leave the last event out; then the stream is whole when all that is needed
        // has come.
        let broken = |what: &str| Err(Unread::Broken(format!("the stream ended without {what}")));
        match (&self.finish_raw, &self.usage) {
            (None, _) => broken("a finish reason"),
            (Some(_), None) if !self.is_done => broken("its last event"),
            _ => self.answer(),
        }
    }
}

/// The status that an error in a stream would have had.
fn status_of(error: &Value) -> u16 {
    let code = error["code"].as_u64().and_then(|c| u16::try_from(c).ok());
    match (code, error["type"].as_str()) {
        (Some(code), _) => code,
        (None, Some("rate_limit_error" | "rate_limit_exceeded")) => 429,
        (None, Some("invalid_request_error")) => 400,
        // A server that fails in the middle of an answer: another attempt may do.
        _ => 502,
    }
}

impl Draft {
    fn pieces(&mut self, pieces: Vec<ToolCall>) -> Result<(), Unread> {
        for piece in pieces {
            // Servers without an index send each call whole.
            let index = piece.index.unwrap_or(self.calls.len());
            match index.cmp(&self.calls.len()) {
                std::cmp::Ordering::Less => self.calls[index].add(piece),
                std::cmp::Ordering::Equal => self.calls.push(CallDraft::of(piece)),
                std::cmp::Ordering::Greater => {
                    let why =
                        format!("a piece of call {index} came before the calls in front of it");
                    return Err(Unread::Broken(why));
                }
            }
        }
        Ok(())
    }

    fn answer(self) -> Result<Answer, Unread> {
        let lacking = "it has no `usage`, so its cost cannot be counted";
        let usage = self.usage.ok_or_else(|| Unread::Lacking(lacking.into()))?;
        let calls: Vec<Call> = (0_u32..)
            .zip(self.calls)
            .map(|(ordinal, call)| Call {
                ordinal,
                tool: call.name,
                arguments: arguments_of(&call.arguments),
                provider_id: call.id,
            })
            .collect();
        let finish_raw = self.finish_raw.unwrap_or_default();
        let finish = match self.refusal.is_empty() {
            false => FinishReason::Refusal,
            true => finish_of(&finish_raw, &calls),
        };
        Ok(Answer {
            text: match self.text.is_empty() {
                true => self.refusal,
                false => self.text,
            },
            calls,
            finish,
            finish_raw,
            model: self.model,
            usage: usage.usage(),
        })
    }
}

#[cfg(test)]
mod tests;
