//! Anthropic's messages. Pure.
//!
//! Shapes are from the public API reference (docs.anthropic.com/en/api/messages, .../streaming and
//! .../build-with-claude/prompt-caching), version 2023-06-01.
//!
//! Invariants:
//!
//! * Roles take turns, and all results of a turn are in one message behind it, as the protocol asks.
//! * The prefix that never changes is marked to be cached, behind tools and system prompt, and so is
//!   the conversation up to its last message: the next turn reads it from there. Three marks, of the
//!   four that the protocol has.
//! * `input_tokens` of the protocol are without the cached ones; ours are with them.

use serde_json::{Value, json};
use stoplog_model::{Call, definition};

use crate::price::Usage;
use crate::remote::{
    Answer, Dialect, Reader, RemoteSettings, Took, Unread, Words, call_id, parse, result_text, sse,
    temperature,
};
use crate::{Message, TurnRequest, arguments_of, finish_of};

/// The version of the protocol.
const VERSION: &str = "2023-06-01";

/// See the module.
pub(crate) struct Anthropic;

impl Dialect for Anthropic {
    fn path(&self, _: &RemoteSettings) -> String {
        "messages".to_owned()
    }

    fn headers(&self) -> Vec<(String, String)> {
        vec![("anthropic-version".to_owned(), VERSION.to_owned())]
    }

    fn key_header(&self) -> Option<&'static str> {
        Some("x-api-key")
    }

    fn body(&self, request: &TurnRequest, settings: &RemoteSettings) -> Value {
        let mut body = json!({
            "model": settings.model,
            "max_tokens": settings.max_tokens,
            "messages": messages(request),
        });
        if !request.system_prompt.is_empty() {
            let mut system = json!({"type": "text", "text": request.system_prompt});
            cache(&mut system);
            body["system"] = json!([system]);
        }
        if let Some(temperature) = temperature(settings) {
            body["temperature"] = json!(temperature);
        }
        if settings.stream {
            body["stream"] = json!(true);
        }
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": definition::for_provider(&tool.input_schema),
                })
            });
            let mut tools: Vec<Value> = tools.collect();
            if let Some(last) = tools.last_mut() {
                cache(last);
            }
            body["tools"] = json!(tools);
        }
        body
    }

    fn whole(&self, body: &str) -> Result<Answer, Unread> {
        let message: Value = parse(body)?;
        let mut draft = Draft::default();
        draft.begin(&message);
        let blocks = message["content"].as_array();
        for block in blocks.into_iter().flatten() {
            let mut block = Block::of(block);
            block.is_whole = true;
            draft.blocks.push(block);
        }
        draft.answer()
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Draft::default())
    }
}

fn cache(block: &mut Value) {
    block["cache_control"] = json!({"type": "ephemeral"});
}

fn messages(request: &TurnRequest) -> Vec<Value> {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut add = |role: &'static str, block: Value| match out.last_mut() {
        Some((last, blocks)) if *last == role => blocks.push(block),
        _ => out.push((role, vec![block])),
    };
    let mut turn = 0_u32;
    for message in &request.messages {
        match message {
            Message::User { text } => add("user", json!({"type": "text", "text": text})),
            Message::Assistant { text, calls } => {
                turn += 1;
                // The protocol refuses empty texts.
                if !text.trim().is_empty() {
                    add("assistant", json!({"type": "text", "text": text}));
                }
                for call in calls {
                    add("assistant", tool_use(turn, call));
                }
            }
            Message::ToolResult {
                provider_id,
                ordinal,
                content,
                is_error,
                code,
                ..
            } => {
                let mut block = json!({
                    "type": "tool_result",
                    "tool_use_id": call_id(provider_id.as_deref(), turn, *ordinal),
                    "content": result_text(content, *is_error, code.as_deref()),
                });
                if *is_error {
                    block["is_error"] = json!(true);
                }
                add("user", block);
            }
        }
    }
    if let Some(last) = out.last_mut().and_then(|(_, blocks)| blocks.last_mut()) {
        cache(last);
    }
    out.into_iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect()
}

fn tool_use(turn: u32, call: &Call) -> Value {
    // Arguments that were not JSON cannot be given back as they came.
    let input = match &call.arguments {
        Value::Object(fields) => json!(fields),
        other => json!({"arguments": other}),
    };
    json!({
        "type": "tool_use",
        "id": call_id(call.provider_id.as_deref(), turn, call.ordinal),
        "name": call.tool,
        "input": input,
    })
}

/// A message that is being put together.
#[derive(Default)]
struct Draft {
    model: String,
    blocks: Vec<Block>,
    stop_reason: Option<String>,
    input: Option<u64>,
    output: Option<u64>,
    cache_read: u64,
    cache_write: u64,
    /// The last event of the stream has come.
    is_done: bool,
}

#[derive(Default)]
struct Block {
    is_call: bool,
    id: Option<String>,
    name: String,
    text: String,
    /// Arguments: as pieces of JSON, or whole.
    json: String,
    input: Value,
    is_whole: bool,
}

impl Block {
    fn of(block: &Value) -> Block {
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        Block {
            is_call: text("type") == "tool_use",
            id: block["id"].as_str().map(str::to_owned),
            name: text("name"),
            text: match text("type").as_str() {
                "text" => text("text"),
                _ => String::new(),
            },
            json: String::new(),
            input: block["input"].clone(),
            is_whole: false,
        }
    }

    fn arguments(self) -> Value {
        match (self.is_whole, self.input) {
            (true, input @ Value::Object(_)) => input,
            _ => arguments_of(&self.json),
        }
    }
}

impl Draft {
    fn begin(&mut self, message: &Value) {
        self.model = message["model"].as_str().unwrap_or_default().to_owned();
        self.stop_reason = message["stop_reason"].as_str().map(str::to_owned);
        self.count(&message["usage"]);
    }

    /// Later counts are of the whole message so far.
    fn count(&mut self, usage: &Value) {
        let count = |name: &str| usage[name].as_u64();
        self.input = count("input_tokens").or(self.input);
        self.output = count("output_tokens").or(self.output);
        self.cache_read = count("cache_read_input_tokens").unwrap_or(self.cache_read);
        self.cache_write = count("cache_creation_input_tokens").unwrap_or(self.cache_write);
    }

    fn answer(self) -> Result<Answer, Unread> {
        let lacking = "it has no `usage`, so its cost cannot be counted";
        let (Some(input), Some(output)) = (self.input, self.output) else {
            return Err(Unread::Lacking(lacking.into()));
        };
        let (mut text, mut calls) = (String::new(), Vec::new());
        for block in self.blocks {
            match block.is_call {
                false => text.push_str(&block.text),
                true => calls.push(Call {
                    ordinal: calls.len() as u32,
                    tool: block.name.clone(),
                    provider_id: block.id.clone(),
                    arguments: block.arguments(),
                }),
            }
        }
        let finish_raw = self.stop_reason.unwrap_or_default();
        Ok(Answer {
            text,
            finish: finish_of(&finish_raw, &calls),
            calls,
            finish_raw,
            model: self.model,
            usage: Usage {
                input_tokens: input + self.cache_read + self.cache_write,
                output_tokens: output,
                cache_read_tokens: self.cache_read,
                cache_write_tokens: self.cache_write,
            },
        })
    }

    fn delta(&mut self, value: &Value) -> Result<String, Unread> {
        let index = value["index"]
            .as_u64()
            .and_then(|i| usize::try_from(i).ok());
        let block = index.and_then(|i| self.blocks.get_mut(i));
        let block = block.ok_or_else(|| Unread::Broken("a delta has no block".into()))?;
        let delta = &value["delta"];
        let text = |name: &str| delta[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "text_delta" => {
                block.text.push_str(&text("text"));
                Ok(text("text"))
            }
            "input_json_delta" => {
                block.json.push_str(&text("partial_json"));
                Ok(String::new())
            }
            // Thinking, signatures, citations.
            _ => Ok(String::new()),
        }
    }
}

impl Reader for Draft {
    fn take(&mut self, event: &sse::Event) -> Result<Took, Unread> {
        let value: Value = parse(&event.data)?;
        let mut took = Took::default();
        match value["type"].as_str().unwrap_or(&event.name) {
            "message_start" => self.begin(&value["message"]),
            "content_block_start" => {
                let block = Block::of(&value["content_block"]);
                took.text.clone_from(&block.text);
                self.blocks.push(block);
            }
            "content_block_delta" => took.text = self.delta(&value)?,
            "message_delta" => {
                if let Some(reason) = value["delta"]["stop_reason"].as_str() {
                    self.stop_reason = Some(reason.to_owned());
                }
                self.count(&value["usage"]);
            }
            "message_stop" => {
                self.is_done = true;
                took.is_last = true;
            }
            "error" => {
                let error = &value["error"];
                let status = match error["type"].as_str() {
                    Some("overloaded_error") => 529,
                    Some("rate_limit_error") => 429,
                    Some("invalid_request_error") => 400,
                    _ => 502,
                };
                return Err(Unread::Failed(Words::of(status, error, &event.data)));
            }
            _ => {}
        }
        Ok(took)
    }

    fn end(self: Box<Self>) -> Result<Answer, Unread> {
        match self.is_done {
            true => self.answer(),
            false => Err(Unread::Broken(
                "the stream ended without its last event".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
