//! What a span says about a call or a turn: taken from the fold, redacted as it is made.

use serde_json::{Map, Value};
use stoplog_journal::codec;
use stoplog_model::event::{CallResult, IntentRecorded, Observed};
use stoplog_model::outcome::Disposition;
use stoplog_model::session::{CallState, Session};
use stoplog_model::tool_span::{self, ANNOTATIONS_KEYWORD, SPANS_KEYWORD};
use stoplog_model::turn::{FailureClass, Turn};
use stoplog_model::{ToolSpan, UsdMicros, disclosure};

use crate::span::{Detail, LlmCall, ToolCall, ToolStatus, dollars};

/// A turn, used or not. Its attempts that failed before have spans of their own, and what they cost
/// is there: the sum over all spans is what the turn cost.
pub(super) fn llm_call(turn: &Turn, failure: Option<FailureClass>) -> Detail {
    let failed: UsdMicros = turn.failed_attempts.iter().map(|a| a.cost).sum();
    let cost = UsdMicros(turn.cost.0.saturating_sub(failed.0));
    let window = Some(turn.context_window_tokens).filter(|tokens| *tokens > 0);
    Detail::LlmCall(LlmCall {
        model_id: turn.model_id.clone(),
        model_version: plain_word(&turn.model_version),
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
        finish_reason_raw: plain_word(&turn.finish_raw),
        failure,
    })
}

/// What stands in the place of a name that nobody has decided on.
pub(super) const UNDECIDED: &str = "[undecided]";

/// Longest word of a provider that is shown: a version or a reason, and no text.
const MAX_WORD_CHARS: usize = 128;

/// A provider's word if it is one; its answers are not trusted, and a text may be anybody's.
fn plain_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    match word.len() <= MAX_WORD_CHARS && word.chars().all(plain) {
        true => word.to_owned(),
        false => UNDECIDED.to_owned(),
    }
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
    let annotations = match disposition {
        // They are told once, by the run that saw them.
        "replayed" => Map::new(),
        _ => annotations(session, call, &observed.annotations),
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

/// A part of a call.
pub(super) fn tool_span(session: &Session, call: &CallState, span: &ToolSpan) -> Detail {
    let pin = session.pin(&call.call.tool);
    let is_listed = pin.is_some_and(|pin| {
        tool_span::is_listed(&pin.contract.output_schema, SPANS_KEYWORD, &span.name)
    });
    Detail::ToolSpan {
        name: match is_listed {
            true => span.name.clone(),
            false => UNDECIDED.to_owned(),
        },
        tool_name: tool_name(session, call),
        blast_radius_class: pin.map_or(4, |p| p.class.number()),
        annotations: annotations(session, call, &span.annotations),
    }
}

/// Annotations as the tool's schema lets them be seen. Of the others neither name nor value is: both
/// are the tool's text, and may be anybody's.
fn annotations(
    session: &Session,
    call: &CallState,
    given: &[(String, String)],
) -> Map<String, Value> {
    let pin = session.pin(&call.call.tool);
    let mut shown = Map::new();
    let mut hidden: u64 = 0;
    for (name, value) in given {
        let is_listed = pin.is_some_and(|pin| {
            tool_span::is_listed(&pin.contract.output_schema, ANNOTATIONS_KEYWORD, name)
        });
        match is_listed {
            true => drop(shown.insert(name.clone(), Value::from(value.as_str()))),
            false => hidden += 1,
        }
    }
    if hidden > 0 {
        shown.insert(UNDECIDED.to_owned(), Value::from(hidden));
    }
    shown
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

/// The key of the call; empty before its first effect.
fn first_key(call: &CallState) -> String {
    let first = call.effects.first();
    first.map(|e| key_of_call(&e.intent)).unwrap_or_default()
}

/// The key of an effect without its label: a label is the tool's text, and nobody has decided who may
/// see it.
pub(super) fn key_of_call(intent: &IntentRecorded) -> String {
    let key = intent.key.as_str();
    let own = key
        .strip_suffix(intent.label.as_str())
        .and_then(|key| key.strip_suffix('.'));
    own.filter(|_| !intent.label.is_empty())
        .unwrap_or(key)
        .to_owned()
}

/// Of a tool that nobody knows, the name is the model's own text and is not shown.
pub(super) fn tool_name(session: &Session, call: &CallState) -> String {
    let pin = session.pin(&call.call.tool);
    let name = pin.map_or(codec::UNKNOWN_TOOL, |p| p.contract.name.as_str());
    name.to_owned()
}

/// What is known of a call before it ends. A tool that nobody knows counts as the worst.
fn call_without_end(session: &Session, call: &CallState, key: &str) -> ToolCall {
    let pin = session.pin(&call.call.tool);
    ToolCall {
        tool_name: tool_name(session, call),
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
