//! Sessions as candidates for evaluation: one row for each that has ended (requirements 49 to 51).
//!
//! Two sources, chosen by whoever asks. Without `raw` a row comes from spans alone: arguments and
//! results as `x-disclosure` lets them be seen, and of the task and the answer, which nobody has
//! declared, only that they were there. With `raw` task, answer, calls and notes are those of the
//! journal: personal data, by an explicit word.

use serde_json::{Map, Value, json};
use stoplog_model::event::CallResult;
use stoplog_model::session::{CallState, Session};
use stoplog_model::{Position, UsdMicros};
use stoplog_telemetry::{Cell, Decision, Detail, Outcome, Statement, ToolCall};

use crate::question::{Dimension, Filter};
use crate::story::{Run, Story};

/// Stands for a text that nobody has declared, and that may be personal.
pub const HIDDEN: &str = "[personal]";

/// What somebody said of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `thumbs_up` or `thumbs_down`.
    pub feedback: String,
    /// Who.
    pub by: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why, in their words.
    pub note: String,
}

/// The sessions whose last run began within a time, the oldest first. Of the filter, times and
/// tenants count.
pub fn sessions(filter: &Filter) -> Statement {
    let mut said = Statement::default();
    let mut terms = vec!["true".to_owned()];
    for (dimension, values) in &filter.among {
        debug_assert_eq!(*dimension, Dimension::Tenant);
        let marks = vec!["?"; values.len()].join(", ");
        terms.push(format!("{} IN ({marks})", dimension.column()));
        said.values.extend(values.iter().cloned());
    }
    for (bound, term) in [
        (filter.since_ms, "last_run_ms >= ?"),
        (filter.until_ms, "last_run_ms < ?"),
    ] {
        if let Some(ms) = bound {
            terms.push(term.to_owned());
            said.values.push(Cell::from(ms));
        }
    }
    said.sql = format!(
        "SELECT session_id FROM sessions WHERE {} ORDER BY last_run_ms, session_id",
        terms.join(" AND ")
    );
    said
}

/// How a session ended: the word of its last run. None: it goes on, or its host died.
pub fn outcome(story: &Story<'_>) -> Option<&'static str> {
    match story.runs.last().map(Run::outcome) {
        Some(Outcome::Success) => Some("success"),
        Some(Outcome::Error) => Some("error"),
        Some(Outcome::Interrupt) => Some("interrupt"),
        _ => None,
    }
}

/// The row of a session. None if it has not ended.
pub fn row(story: &Story<'_>, label: Option<&Label>, raw: Option<&Session>) -> Option<Value> {
    let (outcome, any) = (outcome(story)?, story.any()?);
    let (first, last) = (story.runs.first()?, story.runs.last()?);
    let ended_ms = last.began_ms() + last.root().map_or(0, |root| root.common.latency_ms);
    let models = distinct(story.turns().map(|(_, c)| c.model_version.as_str()));
    let prompts = distinct(story.turns().map(|(_, c)| c.prompt_version_hash.as_str()));
    let common = &any.common;
    Some(json!({
        "session_id": common.session_id,
        "trace_ids": story.runs.iter().map(|run| run.trace).collect::<Vec<_>>(),
        "started_ms": first.began_ms(),
        "ended_ms": ended_ms,
        "outcome": outcome,
        "reason": last.reason(),
        "model_versions": models,
        "prompt_version_hashes": prompts,
        "cost_usd": story.cost_micros() as f64 / 1e6,
        "cost_usd_micros": UsdMicros(story.cost_micros()),
        "input": {
            "message": raw.map_or(HIDDEN, |s| &s.started.task),
            "tenant_id": common.tenant_id,
            "user_id": common.user_id,
            "feature": common.feature,
        },
        "final_output": final_output(outcome, raw),
        "tool_calls": match raw {
            Some(session) => session.calls().map(|(at, call)| raw_call(session, at, call)).collect(),
            None => story.calls().iter().map(|(span, c)| redacted_call(span.common.step_index, c))
                .collect::<Value>(),
        },
        "user_feedback": label.map(|label| said(label, raw.is_some())),
        "hitl_override": reviewed(story, raw),
        "is_raw": raw.is_some(),
    }))
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// The answer, if one was given: an answer that was not delivered is none.
fn final_output(outcome: &str, raw: Option<&Session>) -> Value {
    match raw {
        _ if outcome != "success" => Value::Null,
        None => json!(HIDDEN),
        Some(session) => {
            let last = session.runs.last().and_then(|run| run.ended.as_ref());
            last.map_or(Value::Null, |ended| json!(ended.answer))
        }
    }
}

fn said(label: &Label, raw: bool) -> Value {
    let mut told = json!({"feedback": label.feedback, "by": label.by, "at_ms": label.at_ms});
    if raw {
        told["note"] = json!(label.note);
    }
    told
}

fn redacted_call(step_index: u32, call: &ToolCall) -> Value {
    let mut arguments = call.args_redacted.clone();
    if let Value::Object(fields) = &mut arguments {
        fields.shift_remove("idempotency_key");
    }
    // A summary is the result as JSON, cut where it is long.
    let result = serde_json::from_str(&call.result_summary);
    json!({
        "step_index": step_index,
        "tool_name": call.tool_name,
        "tool_version": call.tool_version,
        "blast_radius_class": call.blast_radius_class,
        "arguments": arguments,
        "result_status": call.result_status,
        "result": result.unwrap_or_else(|_| json!(call.result_summary)),
        "error_code": call.error_code,
        "disposition": call.disposition,
        "idempotency_key": call.idempotency_key,
    })
}

fn raw_call(session: &Session, at: Position, call: &CallState) -> Value {
    let pin = session.pin(&call.call.tool);
    let observed = call.observed.as_ref();
    let (status, result) = match observed.map(|o| (&o.result, o.timed_out)) {
        None => ("waiting", Value::Null),
        Some((CallResult::Ok(output), _)) => ("success", output.clone()),
        Some((CallResult::Err(error), timed_out)) => {
            (if timed_out { "timeout" } else { "error" }, json!(error))
        }
    };
    json!({
        "step_index": at.step_index(),
        "tool_name": call.call.tool,
        "tool_version": pin.map(|p| &p.contract.version),
        "blast_radius_class": pin.map_or(4, |p| p.class.number()),
        "arguments": call.call.arguments,
        "result_status": status,
        "result": result,
        "error_code": match observed.map(|o| &o.result) {
            Some(CallResult::Err(e)) => json!(e.reason.map_or(e.code.as_str(), |r| r.code())),
            _ => Value::Null,
        },
        "disposition": observed.map(|o| o.disposition.as_str()),
        "idempotency_key": observed.map(|o| &o.key),
    })
}

/// Whether a person was asked, and what they did. Their words are in the journal alone.
fn reviewed(story: &Story<'_>, raw: Option<&Session>) -> Value {
    let mut asked = Vec::new();
    for span in story.spans() {
        let Detail::HitlApproval {
            approval_id,
            tool_name,
            decision,
            decided_by,
            ..
        } = &span.detail
        else {
            continue;
        };
        // Pending in one run, and decided in another, is one question.
        let is_decided_elsewhere = story.spans().any(|other| {
            matches!(&other.detail, Detail::HitlApproval { approval_id: id, decision: d, .. }
                if id == approval_id && *d != Decision::Pending)
        });
        if *decision == Decision::Pending && is_decided_elsewhere {
            continue;
        }
        let mut told = Map::new();
        told.insert("step_index".into(), json!(span.common.step_index));
        told.insert("tool_name".into(), json!(tool_name));
        told.insert("decision".into(), json!(decision));
        told.insert("decided_by".into(), json!(decided_by));
        if let Some(note) = raw.and_then(|session| note(session, approval_id)) {
            told.insert("note".into(), json!(note));
        }
        asked.push(Value::Object(told));
    }
    json!({"fired": !asked.is_empty(), "decisions": asked})
}

fn note<'s>(session: &'s Session, approval_id: &str) -> Option<&'s str> {
    let mut approvals = session
        .calls()
        .filter_map(|(_, call)| call.approval.as_ref());
    let state = approvals.find(|a| a.approval.id.as_str() == approval_id)?;
    Some(&state.decision.as_ref()?.note)
}

#[cfg(test)]
mod tests;
