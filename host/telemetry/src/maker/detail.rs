//! What a span says about a call or a turn: taken from the fold, redacted as it is made.

use serde_json::{Map, Value, json};
use stoplog_journal::codec;
use stoplog_model::event::{CallResult, Observed};
use stoplog_model::outcome::Disposition;
use stoplog_model::session::{CallState, Session};
use stoplog_model::turn::{FailureClass, Turn};
use stoplog_model::{UsdMicros, disclosure};

use crate::span::{Detail, LlmCall, ToolCall, ToolStatus, dollars};

/// A turn, used or not. Its attempts that failed before have spans of their own, and what they cost
/// is there: the sum over all spans is what the turn cost.
pub(super) fn llm_call(turn: &Turn, failure: Option<FailureClass>) -> Detail {
    let failed: UsdMicros = turn.failed_attempts.iter().map(|a| a.cost).sum();
    let cost = UsdMicros(turn.cost.0.saturating_sub(failed.0));
    let window = Some(turn.context_window_tokens).filter(|tokens| *tokens > 0);
    Detail::LlmCall(LlmCall {
        model_id: turn.model_id.clone(),
        model_version: turn.model_version.clone(),
        prompt_version_hash: turn.prompt_version_hash.clone(),
        input_tokens: turn.input_tokens,
        output_tokens: turn.output_tokens,
        cache_read_tokens: turn.cache_read_tokens,
        cache_write_tokens: turn.cache_write_tokens,
        context_window_tokens: window,
        context_utilization: window.map(|all| turn.input_tokens as f64 / all as f64),
        temperature: f64::from(turn.temperature_milli) / 1000.0,
        cost_usd: dollars(cost),
        cost_usd_micros: cost,
        price_version: turn.price_version.clone(),
        finish_reason: turn.finish,
        finish_reason_raw: turn.finish_raw.clone(),
        failure,
    })
}

fn args_redacted(session: &Session, call: &CallState, key: &str) -> Value {
    let shown = match session.pin(&call.call.tool) {
        Some(pin) => disclosure::redact(&call.call.arguments, &pin.contract.input_schema),
        None => Value::from("[undecided]"),
    };
    let mut fields = match shown {
        Value::Object(fields) => fields,
        other => Map::from_iter([("arguments".to_owned(), other)]),
    };
    fields.insert("idempotency_key".to_owned(), Value::from(key));
    Value::Object(fields)
}

/// A call that ended.
pub(super) fn observed_call(
    session: &Session,
    call: &CallState,
    observed: &Observed,
    disposition: &str,
) -> Detail {
    let result_status = match (&observed.result, observed.timed_out) {
        (_, true) => ToolStatus::Timeout,
        (CallResult::Ok(_), false) => ToolStatus::Success,
        (CallResult::Err(_), false) => ToolStatus::Error,
    };
    let error_code = match &observed.result {
        CallResult::Ok(_) => None,
        CallResult::Err(error) => Some(match error.reason {
            Some(reason) => reason.code().to_owned(),
            None => error.code.as_str().to_owned(),
        }),
    };
    let annotations = match observed.disposition {
        Disposition::Replayed => Map::new(),
        _ => observed
            .annotations
            .iter()
            .map(|(n, v)| (n.clone(), json!(v)))
            .collect(),
    };
    Detail::ToolCall(ToolCall {
        result_status,
        result_summary: codec::summary(observed, session),
        error_code,
        disposition: disposition.to_owned(),
        annotations,
        ..call_without_end(session, call, &observed.key)
    })
}

/// A call that has not ended: it runs, or its host died in it.
pub(super) fn open_call(session: &Session, call: &CallState, host_lives: bool) -> Detail {
    let (result_status, disposition, says) = match host_lives {
        true => (ToolStatus::Running, "running", "it has not ended"),
        false => (ToolStatus::Error, "in_doubt", "the host died in this call"),
    };
    Detail::ToolCall(ToolCall {
        result_status,
        result_summary: says.to_owned(),
        disposition: disposition.to_owned(),
        ..call_without_end(session, call, &first_key(call))
    })
}

/// A call that waits for a person, because nobody knows whether it was done.
pub(super) fn parked_call(session: &Session, call: &CallState) -> Detail {
    let reason = call.parked.as_ref().map(|p| p.reason.code().to_owned());
    Detail::ToolCall(ToolCall {
        result_status: ToolStatus::Waiting,
        result_summary: "it waits for a person".to_owned(),
        error_code: reason,
        disposition: Disposition::Parked.as_str().to_owned(),
        ..call_without_end(session, call, &first_key(call))
    })
}

/// The key of the call's first effect; empty if it has none yet.
fn first_key(call: &CallState) -> String {
    let first = call.effects.first();
    first.map(|e| e.intent.key.clone()).unwrap_or_default()
}

/// What is known of a call before it ends. Of a tool that nobody knows, the name is the model's own
/// text and is not shown, and it counts as the worst.
fn call_without_end(session: &Session, call: &CallState, key: &str) -> ToolCall {
    let pin = session.pin(&call.call.tool);
    ToolCall {
        tool_name: pin
            .map_or(codec::UNKNOWN_TOOL, |p| p.contract.name.as_str())
            .to_owned(),
        tool_version: pin.map(|p| p.contract.version.clone()).unwrap_or_default(),
        args_redacted: args_redacted(session, call, key),
        result_status: ToolStatus::Running,
        result_summary: String::new(),
        error_code: None,
        blast_radius_class: pin.map_or(4, |p| p.class.number()),
        disposition: String::new(),
        idempotency_key: key.to_owned(),
        annotations: Map::new(),
    }
}
