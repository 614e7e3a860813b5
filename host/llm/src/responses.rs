//! OpenAI's responses. Pure.
//!
//! Shapes are from the public API reference (platform.openai.com/docs/api-reference/responses and
//! .../responses-streaming). Nothing is stored there (`store: false`): the conversation is ours, and
//! is sent whole each time.
//!
//! The finish reason is put together from `status` and `incomplete_details.reason`, and kept raw as
//! `status` or `status/reason`. A stream's last event holds the whole response, and that is what is
//! read: the deltas before it are for people who watch.

use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::turn::FinishReason;
use stoplog_model::{Call, definition};

use crate::price::Usage;
use crate::remote::{
    Answer, Dialect, Reader, RemoteSettings, Took, Unread, Words, as_text, call_id, parse,
    result_text, sse, temperature,
};
use crate::{Message, TurnRequest, arguments_of, finish_of};

/// See the module.
pub(crate) struct Responses;

impl Dialect for Responses {
    fn path(&self, _: &RemoteSettings) -> String {
        "responses".to_owned()
    }

    fn body(&self, request: &TurnRequest, settings: &RemoteSettings) -> Value {
        let mut body = json!({
            "model": settings.model,
            "instructions": request.system_prompt,
            "input": input(request),
            "max_output_tokens": settings.max_tokens,
            "store": false,
        });
        if let Some(temperature) = temperature(settings) {
            body["temperature"] = json!(temperature);
        }
        if settings.stream {
            body["stream"] = json!(true);
        }
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": definition::for_provider(&tool.input_schema),
                    "strict": false,
                })
            });
            body["tools"] = tools.collect();
        }
        body
    }

    fn whole(&self, body: &str) -> Result<Answer, Unread> {
        answer(parse(body)?)
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Stream { last: None })
    }
}

fn input(request: &TurnRequest) -> Vec<Value> {
    let mut out = Vec::new();
    let mut turn = 0_u32;
    for message in &request.messages {
        match message {
            Message::User { text } => out.push(json!({"role": "user", "content": text})),
            Message::Assistant { text, calls } => {
                turn += 1;
                if !text.is_empty() {
                    out.push(json!({"role": "assistant", "content": text}));
                }
                out.extend(calls.iter().map(|call| {
                    json!({
                        "type": "function_call",
                        "call_id": call_id(call.provider_id.as_deref(), turn, call.ordinal),
                        "name": call.tool,
                        "arguments": as_text(&call.arguments),
                    })
                }));
            }
            Message::ToolResult {
                provider_id,
                ordinal,
                content,
                is_error,
                code,
                ..
            } => out.push(json!({
                "type": "function_call_output",
                "call_id": call_id(provider_id.as_deref(), turn, *ordinal),
                "output": result_text(content, *is_error, code.as_deref()),
            })),
        }
    }
    out
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    model: String,
    #[serde(default)]
    status: String,
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    output: Vec<Item>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

/// A message, a call, or what is passed over (reasoning).
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    content: Vec<Part>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

fn answer(response: Response) -> Result<Answer, Unread> {
    if response.status == "failed" {
        let body = response.error.to_string();
        let status = match response.error["code"].as_str() {
            Some("rate_limit_exceeded") => 429,
            Some("invalid_prompt") => 400,
            _ => 502,
        };
        return Err(Unread::Failed(Words::of(status, &response.error, &body)));
    }
    let lacking = "it has no `usage`, so its cost cannot be counted";
    let usage = response
        .usage
        .ok_or_else(|| Unread::Lacking(lacking.into()))?;
    let (mut text, mut refusal, mut calls) = (String::new(), String::new(), Vec::new());
    for item in response.output {
        match item.kind.as_str() {
            "message" => {
                for part in item.content {
                    text.push_str(&part.text.unwrap_or_default());
                    refusal.push_str(&part.refusal.unwrap_or_default());
                }
            }
            "function_call" => calls.push(Call {
                ordinal: calls.len() as u32,
                tool: item.name.unwrap_or_default(),
                arguments: arguments_of(&item.arguments.unwrap_or_default()),
                provider_id: item.call_id.filter(|id| !id.is_empty()),
            }),
            _ => {}
        }
    }
    let reason = response.incomplete_details.and_then(|d| d.reason);
    // The protocol has one word for "said all" and "wants tools called".
    let word = match (response.status.as_str(), reason.as_deref()) {
        ("completed", None) if calls.is_empty() => "stop",
        ("completed", None) => "tool_calls",
        ("incomplete", Some("max_output_tokens")) => "length",
        ("incomplete", Some("content_filter")) => "content_filter",
        _ => "",
    };
    let finish = match refusal.is_empty() {
        false => FinishReason::Refusal,
        true => finish_of(word, &calls),
    };
    let cached = usage.input_tokens_details.and_then(|d| d.cached_tokens);
    Ok(Answer {
        text: match text.is_empty() {
            true => refusal,
            false => text,
        },
        calls,
        finish,
        finish_raw: match reason {
            Some(reason) => format!("{}/{reason}", response.status),
            None => response.status,
        },
        model: response.model,
        usage: Usage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: cached.unwrap_or(0),
            cache_write_tokens: 0,
        },
    })
}

/// A stream: only its last event counts.
struct Stream {
    last: Option<Response>,
}

impl Reader for Stream {
    fn take(&mut self, event: &sse::Event) -> Result<Took, Unread> {
        let value: Value = parse(&event.data)?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "response.output_text.delta" | "response.refusal.delta" => Ok(Took {
                text: text("delta"),
                is_last: false,
            }),
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = serde_json::from_value(value["response"].clone());
                self.last = Some(response.map_err(|e| Unread::Broken(e.to_string()))?);
                Ok(Took {
                    text: String::new(),
                    is_last: true,
                })
            }
            "error" => {
                let error = match &value["error"] {
                    Value::Null => &value,
                    error => error,
                };
                let status = match error["code"].as_str() {
                    Some("rate_limit_exceeded") => 429,
                    _ => 502,
                };
                Err(Unread::Failed(Words::of(status, error, &event.data)))
            }
            _ => Ok(Took::default()),
        }
    }

    fn end(self: Box<Self>) -> Result<Answer, Unread> {
        match self.last {
            Some(response) => answer(response),
            None => Err(Unread::Broken("the stream has no last response".into())),
        }
    }
}

#[cfg(test)]
mod tests;
