//! The journal of a session as far as others may see it: each event with its place and time, and of
//! its body what is known to be harmless.
//!
//! Invariant: only what is named here is shown. Task, texts of the model, answers, arguments and
//! results beyond `x-disclosure`, requests and responses, notes of people, messages, log lines and
//! annotations are not; nor are digests of arguments and links, which a guess can be tried against. A
//! kind of event that this file does not know does not compile.

use serde_json::{Value, json};
use stoplog_journal::codec;
use stoplog_model::effect::Outcome;
use stoplog_model::event::{Event, Resolution};
use stoplog_model::turn::Turn;
use stoplog_model::{Digest, Position, Record, Session, disclosure};

/// One event. The session is that of all events: its tools say what may be seen.
pub fn event(record: &Record, session: &Session) -> Value {
    let mut line = json!({
        "seq": record.seq,
        "at_ms": record.at_ms,
        "kind": record.event.kind(),
    });
    if let Some(Position { iteration, ordinal }) = record.event.position() {
        line["iteration"] = json!(iteration);
        line["ordinal"] = json!(ordinal);
    }
    if let Value::Object(shown) = body(&record.event, session)
        && let Value::Object(fields) = &mut line
    {
        fields.extend(shown);
    }
    line
}

fn body(event: &Event, session: &Session) -> Value {
    match event {
        Event::SessionStarted(e) => {
            let tools: Vec<Value> = e
                .tools
                .iter()
                .map(|pin| {
                    json!({
                        "name": pin.contract.name, "version": pin.contract.version,
                        "class": pin.class.number(), "component": pin.component,
                    })
                })
                .collect();
            json!({
                "session": e.session, "tenant": e.tenant, "user": e.user, "feature": e.feature,
                "max_iterations": e.max_iterations, "task": crate::evals::HIDDEN,
                "system_prompt_sha256": Digest::of(e.system_prompt.as_bytes()), "tools": tools,
            })
        }
        Event::RunStarted(e) => json!({
            "trace_id": e.trace_id, "resumed_from": e.resumed_from,
            "at_iteration": e.at_iteration, "after_crash": e.after_crash,
        }),
        Event::ModelAsked(e) => json!({
            "iteration": e.iteration, "attempt": e.attempt, "again": e.again, "profile": e.profile,
            "model_id": e.model_id, "prompt_version_hash": e.prompt_version_hash,
            "input_tokens": e.input_tokens, "cost_usd_micros": e.cost,
            "after": e.after.as_ref().map(|a| a.failure),
        }),
        Event::ContextTrimmed(e) => json!({
            "iteration": e.iteration, "cause": e.cause, "window_tokens": e.window_tokens,
            "before_tokens": e.before_tokens, "after_tokens": e.after_tokens,
            "outputs_cut": e.cuts.len(), "dropped_through": e.dropped_through,
        }),
        Event::TurnTaken(turn) => self::turn(turn, session),
        Event::TurnRejected(e) => {
            let mut told = turn(&e.turn, session);
            told["failure"] = json!(e.failure);
            told
        }
        Event::ModelFailed(e) => json!({
            "model_id": e.model_id, "failure": e.failure, "failed_attempts": e.attempts.len(),
        }),
        Event::ApprovalRequested(e) => json!({
            "approval": e.id, "tool": e.tool, "tool_version": e.tool_version,
            "class": e.class.number(), "arguments": arguments(&e.tool, &e.arguments, session),
            "expires_at_ms": e.expires_at_ms,
        }),
        Event::ApprovalDecided(e) => json!({"approval": e.id, "verdict": e.verdict, "by": e.by}),
        Event::CallStarted(e) => json!({"started_at_ms": e.started_at_ms}),
        Event::ReadRecorded(e) => json!({"index": e.index}),
        Event::IntentRecorded(e) => json!({
            "label": e.label, "attempt": e.attempt, "key": e.key, "approval": e.approval,
            "method": e.request.method,
        }),
        Event::OutcomeRecorded(e) => json!({
            "label": e.label, "attempt": e.attempt, "outcome": outcome(&e.outcome),
            "latency_ms": e.latency_ms,
        }),
        Event::Probed(e) => json!({
            "label": e.label, "key": e.key, "purpose": e.purpose, "found": e.finding.word(),
            "settled": e.settled,
        }),
        Event::Observed(e) => json!({
            "tool": session.pin(&e.tool).map_or(codec::UNKNOWN_TOOL, |_| &e.tool),
            "disposition": e.disposition, "key": e.key, "latency_ms": e.latency_ms,
            "timed_out": e.timed_out, "result": codec::summary(e, session),
            "state_keys_written": e.state.len(),
        }),
        Event::StateRead(e) => json!({"index": e.index}),
        Event::Undone(e) => json!({"state_keys_written": e.state.len()}),
        Event::Parked(e) => json!({"reason": e.reason}),
        Event::ParkResolved(e) => json!({
            "by": e.by,
            "as": match e.resolution {
                Resolution::Done(_) => "done",
                Resolution::NotDone => "not_done",
                Resolution::Abandon => "abandon",
            },
        }),
        Event::RunEnded(e) => json!({
            "outcome": e.outcome, "reason": e.reason, "failure": e.failure,
            "answer": (!e.answer.is_empty()).then_some(crate::evals::HIDDEN),
        }),
    }
}

fn turn(turn: &Turn, session: &Session) -> Value {
    let calls: Vec<Value> = turn
        .calls
        .iter()
        .map(|call| {
            json!({
                "tool": session.pin(&call.tool).map_or(codec::UNKNOWN_TOOL, |_| &call.tool),
                "arguments": arguments(&call.tool, &call.arguments, session),
            })
        })
        .collect();
    json!({
        "iteration": turn.iteration, "model_id": turn.model_id,
        "model_version": turn.model_version, "prompt_version_hash": turn.prompt_version_hash,
        "finish": turn.finish, "finish_raw": turn.finish_raw, "input_tokens": turn.input_tokens,
        "output_tokens": turn.output_tokens, "cost_usd_micros": turn.cost,
        "price_version": turn.price_version, "failed_attempts": turn.failed_attempts.len(),
        "calls": calls,
    })
}

fn arguments(tool: &str, arguments: &Value, session: &Session) -> Value {
    match session.pin(tool) {
        Some(pin) => disclosure::redact(arguments, &pin.contract.input_schema),
        None => json!("[undecided]"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { response } => format!("answered {}", response.status),
        Outcome::NotSent { .. } => "not_sent".to_owned(),
        Outcome::Unanswered { .. } => "unanswered".to_owned(),
    }
}

#[cfg(test)]
mod tests;
