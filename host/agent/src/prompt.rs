//! The conversation as the model sees it, rebuilt from the journal alone.
//!
//! Invariants:
//!
//! * The same events give the same prompt, whoever builds it: also what is left out is told by events
//!   (`context.rs` decides on it).
//! * What is left out leaves a mark: a cut output says how much is missing, and turns that are gone
//!   are listed with what came of their calls, so that nothing is done twice for being forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_llm::{Course, Message, ToolDefinition, TurnRequest, prompt_version_hash};
use stoplog_model::event::{CallResult, Observed};
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::session::{CallState, Session};
use stoplog_model::{Position, SessionId};

/// Bytes that the mark in a cut output may have.
pub(crate) const MARK_BYTES: u64 = 128;

/// What every request of a session has in common. Made once a run: the hash goes over every
/// tool's schema.
pub(crate) struct Frame {
    session: SessionId,
    system_prompt: String,
    tools: Arc<[ToolDefinition]>,
    prompt_version_hash: String,
    bytes: u64,
}

impl Frame {
    /// The frame of a session.
    pub(crate) fn new(session: &Session) -> Frame {
        let tools: Arc<[ToolDefinition]> = session
            .started
            .tools
            .iter()
            .map(|pin| ToolDefinition {
                name: pin.contract.name.to_string(),
                description: pin.contract.description.clone(),
                input_schema: pin.contract.input_schema.clone(),
            })
            .collect();
        let system_prompt = session.started.system_prompt.clone();
        let of_tool = |t: &ToolDefinition| {
            t.name.len() + t.description.len() + t.input_schema.to_string().len()
        };
        let bytes = system_prompt.len() + tools.iter().map(of_tool).sum::<usize>();
        Frame {
            session: session.started.session.clone(),
            prompt_version_hash: prompt_version_hash(&system_prompt, &tools),
            system_prompt,
            tools,
            bytes: bytes as u64,
        }
    }

    /// Which session.
    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Bytes of what stands in front of every conversation.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The request for the next turn.
    pub(crate) fn request(&self, session: &Session, iteration: u32) -> TurnRequest {
        TurnRequest {
            session: self.session.clone(),
            iteration,
            system_prompt: self.system_prompt.clone(),
            messages: messages(session),
            tools: self.tools.clone(),
            prompt_version_hash: self.prompt_version_hash.clone(),
            course: course(session),
        }
    }
}

/// The course of a session that is whole in memory.
pub(crate) fn course(session: &Session) -> Course {
    let last = session.turns.last();
    Course {
        profile: last.map(|t| t.profile.clone()).unwrap_or_default(),
        wrote: session.calls().any(|(_, call)| !call.effects.is_empty()),
        spent: session.spent(),
    }
}

/// What a session's events leave out of the prompt.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Turns up to this one.
    pub(crate) dropped_through: u32,
    /// Bytes that stay of an output.
    cut: BTreeMap<Position, u64>,
}

impl Left {
    /// As the events say.
    pub(crate) fn of(session: &Session) -> Left {
        let mut left = Left::default();
        for trim in &session.trims {
            left.dropped_through = left.dropped_through.max(trim.dropped_through);
            for cut in &trim.cuts {
                left.cut(cut.position, cut.to_bytes);
            }
        }
        left
    }

    /// Cuts an output, if it is not cut shorter already.
    pub(crate) fn cut(&mut self, position: Position, to_bytes: u64) {
        let stays = self.cut.entry(position).or_insert(to_bytes);
        *stays = to_bytes.min(*stays);
    }

    fn content(&self, position: Position, content: Value) -> Value {
        let Some(keep) = self.cut.get(&position) else {
            return content;
        };
        let text = match content {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Value::String(cut_text(&text, *keep as usize))
    }
}

/// A text without its middle.
fn cut_text(text: &str, keep: usize) -> String {
    if text.len() <= keep {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(keep * 3 / 4);
    let tail = text.ceil_char_boundary(text.len() - keep / 4).max(head);
    let gone = tail - head;
    format!(
        "{}\n[{gone} of {} bytes left out to make room; call the tool again if they are needed]\n{}",
        &text[..head],
        text.len(),
        &text[tail..]
    )
}

/// Bytes that a result has in the prompt.
pub(crate) fn result_bytes(position: Position, call: &CallState, left: &Left) -> u64 {
    let Some(observed) = &call.observed else {
        return 0;
    };
    let (content, _, _) = told(observed);
    match left.content(position, content) {
        Value::String(text) => text.len() as u64,
        other => other.to_string().len() as u64,
    }
}

fn messages(session: &Session) -> Vec<Message> {
    let left = Left::of(session);
    let mut messages = vec![Message::User {
        text: session.started.task.clone(),
    }];
    if left.dropped_through > 0 {
        messages.push(Message::User {
            text: note(session, left.dropped_through),
        });
    }
    for turn in &session.turns {
        if turn.turn.iteration <= left.dropped_through {
            continue;
        }
        messages.push(Message::Assistant {
            text: turn.turn.text.clone(),
            calls: turn.turn.calls.clone(),
        });
        for call in &turn.calls {
            if let Some(observed) = &call.observed {
                let position = Position {
                    iteration: turn.turn.iteration,
                    ordinal: call.call.ordinal,
                };
                messages.push(result(call, observed, position, &left));
            }
        }
    }
    messages
}

/// What stands in the place of turns that are left out.
fn note(session: &Session, through: u32) -> String {
    let mut text = format!(
        "[Turns 1 to {through} of this conversation are left out to make room. Their calls, and what \
         came of them:"
    );
    for (position, call) in session.calls() {
        if position.iteration <= through {
            text.push_str(&note_line(position, call));
        }
    }
    text.push_str("\nWhat is done stays done.]");
    text
}

fn note_line(position: Position, call: &CallState) -> String {
    let tool = &call.call.tool;
    let Some(observed) = &call.observed else {
        return format!("\n{position} {tool}: not over");
    };
    let came = match &observed.result {
        CallResult::Ok(_) => "done".to_owned(),
        CallResult::Err(error) => {
            let code = error.reason.map_or(error.code.as_str(), |r| r.code());
            format!("failed, {code}")
        }
    };
    match call.effects.is_empty() {
        true => format!("\n{position} {tool}: {came}"),
        false => format!(
            "\n{position} {tool}: {came}, under the key {}",
            observed.key
        ),
    }
}

/// Bytes of the line that a call has when its turn is left out.
pub(crate) fn note_bytes(position: Position, call: &CallState) -> u64 {
    note_line(position, call).len() as u64
}

fn result(call: &CallState, observed: &Observed, position: Position, left: &Left) -> Message {
    let (content, is_error, code) = told(observed);
    Message::ToolResult {
        provider_id: call.call.provider_id.clone(),
        ordinal: call.call.ordinal,
        tool: call.call.tool.clone(),
        content: left.content(position, content),
        is_error,
        code,
    }
}

/// What the model is told of a call: content, whether it is an error, and its code.
fn told(observed: &Observed) -> (Value, bool, Option<String>) {
    match &observed.result {
        // The model is told that nothing happened anew, or it reports two refunds.
        CallResult::Ok(Value::Object(fields))
            if observed.disposition == Disposition::Deduplicated =>
        {
            let mut fields = fields.clone();
            fields.insert("already_done_before".into(), json!(true));
            (Value::Object(fields), false, None)
        }
        CallResult::Ok(output) => (output.clone(), false, None),
        CallResult::Err(error) => {
            let code = match error.reason {
                Some(reason) => reason.code(),
                None => error.code.as_str(),
            };
            let mut told = json!({ "message": error.message });
            let mut tell = |name: &str, value: Value| told[name] = value;
            if let Some(hint) = &error.hint {
                tell("hint", json!(hint));
            }
            if let Some(ms) = error.retry_after_ms {
                tell("retry_after_ms", json!(ms));
            }
            match error.aftermath {
                Aftermath::Untouched => tell("changed", json!("nothing")),
                Aftermath::Changed => tell("changed", json!("something")),
                Aftermath::Unknown => tell("changed", json!("nobody knows")),
            }
            (told, true, Some(code.to_owned()))
        }
    }
}
