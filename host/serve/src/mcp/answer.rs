//! What came of a call, as the protocol has it.
//!
//! An error of a tool, and a no of the host, is a result with `isError`: the model reads it and
//! goes another way. Reason, hint and wait stand in its text and in `_meta`.

use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Map, Value, json};
use stoplog_model::event::CallResult;
use stoplog_model::outcome::ToolError;

use crate::http::to_do;
use crate::problem::changed;
use crate::seam::{Answer, Came, Refusal, Waiting};

/// An answer of the host.
pub(super) fn told(answer: &Answer) -> CallToolResult {
    let mut meta = Map::new();
    meta.insert("stoplog/session".into(), json!(answer.session));
    meta.insert("stoplog/position".into(), json!(answer.position));
    if let Some(trace) = &answer.trace_id {
        meta.insert("stoplog/trace-id".into(), json!(trace));
    }
    let mut result = match &answer.came {
        Came::Observed { observed, replayed } => {
            let word = match replayed {
                true => "replayed",
                false => observed.disposition.as_str(),
            };
            meta.insert("stoplog/disposition".into(), json!(word));
            meta.insert("stoplog/call-id".into(), json!(observed.key));
            match &observed.result {
                CallResult::Ok(output) => good(output),
                CallResult::Err(error) => failed(&of_tool(error), &mut meta),
            }
        }
        Came::Waits(waiting) => failed(&waits(waiting), &mut meta),
    };
    result.meta = Some(MetaObject::from(meta));
    result
}

/// A no of the host.
pub(super) fn refused(refusal: &Refusal) -> CallToolResult {
    let mut told = json!({
        "reason": refusal.reason.map_or("internal", |r| r.code()),
        "message": refusal.message,
        "changed": "nothing",
    });
    if let Some(reason) = refusal.reason {
        told["hint"] = json!(reason.hint());
    }
    if let Some(ms) = refusal.retry_after_ms {
        told["retry_after_ms"] = json!(ms);
    }
    let mut meta = Map::new();
    let mut result = failed(&told, &mut meta);
    result.meta = Some(MetaObject::from(meta));
    result
}

fn good(output: &Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(output.to_string())]);
    result.structured_content = Some(output.clone());
    result
}

fn failed(told: &Value, meta: &mut Map<String, Value>) -> CallToolResult {
    meta.insert("stoplog/error".into(), told.clone());
    CallToolResult::error(vec![ContentBlock::text(told.to_string())])
}

fn of_tool(error: &ToolError) -> Value {
    let mut told = json!({
        "reason": error.reason.map_or(error.code.as_str(), |r| r.code()),
        "message": error.message,
        "changed": changed(error.aftermath),
    });
    if let Some(hint) = &error.hint {
        told["hint"] = json!(hint);
    }
    if let Some(ms) = error.retry_after_ms {
        told["retry_after_ms"] = json!(ms);
    }
    told
}

fn waits(waiting: &Waiting) -> Value {
    match waiting {
        Waiting::Approval {
            id,
            preview,
            expires_at_ms,
        } => json!({
            "reason": "approval_required", "approval": id, "preview": preview,
            "expires_at_ms": expires_at_ms, "hint": to_do(waiting), "changed": "nothing",
            "message": format!("a person has to approve this first: {id}"),
        }),
        Waiting::Parked { id, reason } => json!({
            "reason": reason.code(), "parked": id, "hint": to_do(waiting), "changed": "nobody knows",
            "message": format!("nobody knows whether this was done: {id} waits for a person"),
        }),
    }
}
