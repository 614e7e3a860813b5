//! Google's `generateContent`. Pure.
//!
//! Shapes are from the public API reference (ai.google.dev/api/generate-content, .../caching and
//! .../gemini-api/docs/thought-signatures).
//!
//! Invariants:
//!
//! * A call comes back with the signature that it had: newer models refuse a call of theirs without
//!   it. It is kept in the provider's id of the call, behind [`SIGNED`], and means nothing to others.
//! * The finish reason of the protocol is `STOP` also when tools are to be called.
//! * A prompt that was blocked has no candidate: its `blockReason` is the finish reason then.
//!
//! The provider caches prefixes by itself, and says what it found (`cachedContentTokenCount`).
//! Thoughts are output tokens, and are no text.

use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::{Call, definition};

use crate::price::Usage;
use crate::remote::{
    Answer, Dialect, Reader, RemoteSettings, Took, Unread, Words, parse, result_text, sse,
    temperature,
};
use crate::{Message, TurnRequest, finish_of};

/// How the id of a call begins that has a signature.
const SIGNED: &str = "thought-signature:";

/// See the module.
pub(crate) struct Gemini;

impl Dialect for Gemini {
    fn path(&self, settings: &RemoteSettings) -> String {
        match settings.stream {
            true => format!("models/{}:streamGenerateContent?alt=sse", settings.model),
            false => format!("models/{}:generateContent", settings.model),
        }
    }

    fn key_header(&self) -> Option<&'static str> {
        Some("x-goog-api-key")
    }

    fn body(&self, request: &TurnRequest, settings: &RemoteSettings) -> Value {
        let mut config = json!({"maxOutputTokens": settings.max_tokens});
        if let Some(temperature) = temperature(settings) {
            config["temperature"] = json!(temperature);
        }
        let mut body = json!({
            "contents": contents(request),
            "generationConfig": config,
        });
        if !request.system_prompt.is_empty() {
            body["systemInstruction"] = json!({"parts": [{"text": request.system_prompt}]});
        }
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({
                    "name": tool.name,
                    "description": tool.description,
                    "parametersJsonSchema": definition::for_provider(&tool.input_schema),
                })
            });
            let tools: Vec<Value> = tools.collect();
            body["tools"] = json!([{"functionDeclarations": tools}]);
        }
        body
    }

    fn whole(&self, body: &str) -> Result<Answer, Unread> {
        let mut draft = Draft::default();
        draft.add(parse(body)?);
        draft.answer()
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Draft::default())
    }
}

fn contents(request: &TurnRequest) -> Vec<Value> {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut add = |role: &'static str, part: Value| match out.last_mut() {
        Some((last, parts)) if *last == role => parts.push(part),
        _ => out.push((role, vec![part])),
    };
    for message in &request.messages {
        match message {
            Message::User { text } => add("user", json!({"text": text})),
            Message::Assistant { text, calls } => {
                if !text.is_empty() {
                    add("model", json!({"text": text}));
                }
                for call in calls {
                    add("model", function_call(call));
                }
            }
            Message::ToolResult {
                tool,
                content,
                is_error,
                code,
                ..
            } => {
                // The protocol takes objects alone.
                let response = match (is_error, content) {
                    (true, _) => {
                        json!({"error": result_text(content, true, code.as_deref())})
                    }
                    (false, Value::Object(fields)) => json!(fields),
                    (false, other) => json!({"output": other}),
                };
                let part = json!({"functionResponse": {"name": tool, "response": response}});
                add("user", part);
            }
        }
    }
    out.into_iter()
        .map(|(role, parts)| json!({"role": role, "parts": parts}))
        .collect()
}

fn function_call(call: &Call) -> Value {
    let args = match &call.arguments {
        Value::Object(fields) => json!(fields),
        other => json!({"arguments": other}),
    };
    let mut part = json!({"functionCall": {"name": call.tool, "args": args}});
    let id = call.provider_id.as_deref();
    if let Some(signature) = id.and_then(|id| id.strip_prefix(SIGNED)) {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Counts>,
    model_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    function_call: Option<FunctionCall>,
    thought_signature: Option<String>,
}

#[derive(Deserialize)]
struct FunctionCall {
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
struct Counts {
    #[serde(default)]
    prompt_token_count: u64,
    #[serde(default)]
    candidates_token_count: u64,
    #[serde(default)]
    thoughts_token_count: u64,
    #[serde(default)]
    cached_content_token_count: u64,
}

/// An answer that is being put together.
#[derive(Default)]
struct Draft {
    model: String,
    text: String,
    calls: Vec<Call>,
    finish_raw: Option<String>,
    usage: Option<Counts>,
}

impl Draft {
    /// Takes a chunk, and gives the text that is new.
    fn add(&mut self, chunk: Chunk) -> String {
        if let Some(model) = chunk.model_version {
            self.model = model;
        }
        self.usage = chunk.usage_metadata.or(self.usage);
        let mut text = String::new();
        for candidate in chunk.candidates.into_iter().filter(|c| c.index == 0) {
            for part in candidate.content.map(|c| c.parts).unwrap_or_default() {
                text.push_str(&self.part(part));
            }
            self.finish_raw = candidate.finish_reason.or(self.finish_raw.take());
        }
        let blocked = chunk.prompt_feedback.and_then(|f| f.block_reason);
        self.finish_raw = self.finish_raw.take().or(blocked);
        self.text.push_str(&text);
        text
    }

    /// The text of a part that is no thought.
    fn part(&mut self, part: Part) -> String {
        if let Some(call) = part.function_call {
            self.calls.push(Call {
                ordinal: self.calls.len() as u32,
                tool: call.name,
                arguments: match call.args {
                    Value::Null => json!({}),
                    args => args,
                },
                provider_id: part.thought_signature.map(|s| format!("{SIGNED}{s}")),
            });
        }
        match part.thought {
            true => String::new(),
            false => part.text.unwrap_or_default(),
        }
    }

    fn answer(self) -> Result<Answer, Unread> {
        let Some(finish_raw) = self.finish_raw else {
            return Err(Unread::Broken("it has no `finishReason`".into()));
        };
        let lacking = "it has no `usageMetadata`, so its cost cannot be counted";
        let usage = self.usage.ok_or_else(|| Unread::Lacking(lacking.into()))?;
        Ok(Answer {
            text: self.text,
            finish: finish_of(&finish_raw, &self.calls),
            calls: self.calls,
            finish_raw,
            model: self.model,
            usage: Usage {
                input_tokens: usage.prompt_token_count,
                output_tokens: usage.candidates_token_count + usage.thoughts_token_count,
                cache_read_tokens: usage.cached_content_token_count,
                cache_write_tokens: 0,
            },
        })
    }
}

impl Reader for Draft {
    fn take(&mut self, event: &sse::Event) -> Result<Took, Unread> {
        let value: Value = parse(&event.data)?;
        if !value["error"].is_null() {
            let code = value["error"]["code"].as_u64();
            let status = code.and_then(|c| u16::try_from(c).ok()).unwrap_or(502);
            return Err(Unread::Failed(Words::of(
                status,
                &value["error"],
                &event.data,
            )));
        }
        let chunk: Chunk =
            serde_json::from_value(value).map_err(|e| Unread::Broken(e.to_string()))?;
        Ok(Took {
            text: self.add(chunk),
            // The protocol has no last event: usage may come behind the finish reason.
            is_last: false,
        })
    }

    fn end(self: Box<Self>) -> Result<Answer, Unread> {
        self.answer()
    }
}

#[cfg(test)]
mod tests;
