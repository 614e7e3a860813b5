//! The conversation as the model sees it, rebuilt from the journal alone.

use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_llm::{Message, ToolDefinition, TurnRequest, prompt_version_hash};
use stoplog_model::SessionId;
use stoplog_model::event::{CallResult, Observed};
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::session::{CallState, Session};

/// What every request of a session has in common. Made once a run: the hash goes over every
/// tool's schema.
pub(crate) struct Frame {
    session: SessionId,
    system_prompt: String,
    tools: Arc<[ToolDefinition]>,
    prompt_version_hash: String,
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
        Frame {
            session: session.started.session.clone(),
            prompt_version_hash: prompt_version_hash(&system_prompt, &tools),
            system_prompt,
            tools,
        }
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
            trace: session
                .last_run()
                .map(|run| run.started.context_of_turn(iteration)),
        }
    }
}

fn messages(session: &Session) -> Vec<Message> {
    let mut messages = vec![Message::User {
        text: session.started.task.clone(),
    }];
    for turn in &session.turns {
        messages.push(Message::Assistant {
            text: turn.turn.text.clone(),
            calls: turn.turn.calls.clone(),
        });
        for call in &turn.calls {
            if let Some(observed) = &call.observed {
                messages.push(result(call, observed));
            }
        }
    }
    messages
}

fn result(call: &CallState, observed: &Observed) -> Message {
    let (content, is_error, code) = match &observed.result {
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
    };
    let content = match (observed.disposition, content) {
        // The model is told that nothing happened anew, or it reports two refunds.
        (Disposition::Deduplicated, Value::Object(mut fields)) if !is_error => {
            fields.insert("already_done_before".into(), json!(true));
            Value::Object(fields)
        }
        (_, content) => content,
    };
    Message::ToolResult {
        provider_id: call.call.provider_id.clone(),
        ordinal: call.call.ordinal,
        tool: call.call.tool.clone(),
        content,
        is_error,
        code,
    }
}
