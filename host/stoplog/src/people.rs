//! What people are asked, and what they decide: the same for commands and for front doors.
//!
//! Invariant: a decision is judged again under the session's lease, so that of two people who decide
//! at once one is told that it was decided.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stoplog_journal::SessionJournal;
use stoplog_model::event::{ApprovalDecided, Event, ParkResolved, Pin, Resolution, Verdict};
use stoplog_model::port::{Clock, Watch};
use stoplog_model::{ApprovalId, Outcome, Position, Reason, SessionId, disclosure};
use stoplog_policy::readable::make_readable;
use stoplog_query::waiting::{Asked, ParkedCall};
use tokio::time::Instant;

use crate::error::CliError;
use crate::host::{Journal, SystemClock};

/// How long a command waits for a session that a host has: one that serves clients gives it back a
/// moment behind their last call.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two tries.
const LEASE_AGAIN: Duration = Duration::from_millis(200);

/// Who decides, and why.
pub(crate) struct By {
    pub(crate) name: String,
    pub(crate) note: String,
}

/// What a person found out about a parked call.
pub(crate) enum Found {
    /// It was done; with its output as JSON text, if that is known.
    Done(Option<String>),
    /// It was not done.
    NotDone,
    /// Nobody knows.
    Abandon,
}

/// A decision about a parked call.
pub(crate) struct Decision {
    pub(crate) resolution: Found,
    pub(crate) by: By,
}

/// Opens a session to write a decision to, all of it in memory. Waits a while for a host that has it.
pub(crate) async fn open_patiently(
    journal: &Journal,
    id: &SessionId,
    watch: Arc<dyn Watch>,
) -> Result<Arc<SessionJournal>, CliError> {
    let until = Instant::now() + LEASE_PATIENCE;
    loop {
        match journal.open(id, watch.clone()).await {
            Err(error) if error.reason == Some(Reason::SessionLeased) && Instant::now() < until => {
                tokio::time::sleep(LEASE_AGAIN).await;
            }
            Err(error) => return Err(error),
            Ok(writer) => {
                writer.recall().await?;
                return Ok(writer);
            }
        }
    }
}

/// Writes a decision about an approval down.
pub(crate) async fn decide_in(
    writer: &SessionJournal,
    id: &ApprovalId,
    verdict: Verdict,
    by: By,
) -> Result<(), CliError> {
    // Judged under the lease: between looking and leasing somebody may have decided.
    let now_ms = SystemClock.now_ms();
    let found = writer.read(|s| {
        let (position, state) = s.approval(id)?;
        let asked = Asked {
            session: s,
            position,
            state,
        };
        Some((position, asked.status(now_ms)))
    });
    match found {
        None => Err(no_approval(id)),
        Some((position, "pending")) => {
            let decided = ApprovalDecided {
                id: id.clone(),
                position,
                verdict,
                by: by.name,
                note: by.note,
            };
            let event = Event::ApprovalDecided(decided);
            Ok(writer.append(vec![event]).await?)
        }
        Some((_, "expired")) => Err(CliError::new(
            Reason::ApprovalExpired,
            format!("approval {id} has expired and counts as rejected"),
        )),
        Some((_, status)) => Err(CliError::new(
            Reason::ApprovalNotPending,
            format!("approval {id} is {status} already"),
        )),
    }
}

/// Writes a decision about a parked call down.
pub(crate) async fn resolve_in(
    writer: &SessionJournal,
    position: Position,
    decision: Decision,
) -> Result<(), CliError> {
    let found = writer.read(|s| {
        let call = s.call(position).filter(|c| c.parked.is_some())?;
        s.pin(&call.call.tool).cloned()
    });
    let Some(pin) = found else {
        let session = writer.read(|s| s.started.session.clone());
        return Err(no_parked(&format!("{session}/{position}")));
    };
    let resolved = ParkResolved {
        position,
        resolution: resolution(decision.resolution, &pin)?,
        by: decision.by.name,
        note: decision.by.note,
    };
    Ok(writer.append(vec![Event::ParkResolved(resolved)]).await?)
}

fn resolution(found: Found, pin: &Pin) -> Result<Resolution, CliError> {
    match found {
        Found::Done(None) => Ok(Resolution::Done(None)),
        Found::Done(Some(text)) => {
            if let Some(problem) = stoplog_dispatch::output_problem(pin, &text) {
                return Err(CliError::new(Reason::OutputSchema, problem));
            }
            let output = serde_json::from_str(&text)
                .map_err(|e| CliError::new(Reason::OutputSchema, e.to_string()))?;
            Ok(Resolution::Done(Some(output)))
        }
        Found::NotDone => Ok(Resolution::NotDone),
        Found::Abandon => Ok(Resolution::Abandon),
    }
}

/// There is no such approval.
pub(crate) fn no_approval(id: &ApprovalId) -> CliError {
    CliError::new(
        Reason::ApprovalNotFound,
        format!("there is no approval {id}"),
    )
}

/// There is no such parked call.
pub(crate) fn no_parked(id: &str) -> CliError {
    CliError::new(
        Reason::ParkNotFound,
        format!("there is no parked call {id}"),
    )
}

/// The packet, with nothing in it that hides or pretends.
pub(crate) fn packet(asked: &Asked<'_>, now_ms: u64) -> Value {
    let approval = &asked.state.approval;
    let decision = asked.state.decision.as_ref();
    // An approver sees personal data, which is what they decide about; secrets they do not.
    let shown = match asked.session.pin(&approval.tool) {
        Some(pin) => disclosure::for_approver(&approval.arguments, &pin.contract.input_schema),
        None => Value::from("[undecided]"),
    };
    json!({
        "id": approval.id,
        "status": asked.status(now_ms),
        "tenant": asked.session.started.tenant,
        "session": asked.session.started.session,
        "call": asked.position.to_string(),
        "tool": approval.tool,
        "tool_version": approval.tool_version,
        "component": approval.component,
        "class": approval.class.number(),
        "why": make_readable(&approval.why),
        "preview": make_readable(&approval.preview),
        "arguments": readable(&shown),
        "args_digest": approval.args_digest,
        "requested_at_ms": approval.requested_at_ms,
        "expires_at_ms": approval.expires_at_ms,
        "decided_by": decision.map(|d| &d.by),
        "note": decision.map(|d| &d.note),
    })
}

fn readable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(make_readable(text)),
        Value::Array(items) => items.iter().map(readable).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, v)| (make_readable(name), readable(v)))
            .collect(),
        other => other.clone(),
    }
}

/// Everything that a person needs to judge a parked call.
pub(crate) fn parked(call: &ParkedCall<'_>) -> Value {
    let effects: Vec<Value> = call
        .effects()
        .iter()
        .map(|e| {
            let outcome = match &e.outcome {
                None => "none: the host died before it knew".to_owned(),
                Some(Outcome::Answered { response }) => format!("answered {}", response.status),
                Some(Outcome::NotSent { why }) => format!("not sent: {why}"),
                Some(Outcome::Unanswered { why }) => format!("unanswered: {why}"),
            };
            json!({
                "label": e.intent.label, "key": e.intent.key, "sent": e.intent.attempt,
                "request": format!("{} {}", e.intent.request.method, e.intent.request.url),
                "outcome": outcome, "last_at_ms": e.touched_at_ms, "void": e.void,
            })
        })
        .collect();
    let probe = call.call.last_probe.as_ref();
    json!({
        "id": call.id(),
        "tenant": call.session.started.tenant,
        "session": call.session.started.session,
        "tool": call.call.call.tool,
        "reason": call.parked.reason.code(),
        "detail": call.parked.detail,
        "observed_by_the_loop": call.call.observed.is_some(),
        "last_probe": probe.map(|p| p.finding.word()),
        "effects": effects,
    })
}
