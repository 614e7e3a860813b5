//! `approvals list|show|approve|reject`.

use serde_json::{Value, json};
use stoplog_model::event::{ApprovalDecided, Event, Verdict};
use stoplog_model::port::Clock;
use stoplog_model::{ApprovalId, Reason, SessionId, disclosure};
use stoplog_policy::readable::make_readable;
use stoplog_query::waiting::{self, Asked};

use super::Context;
use crate::args::Approvals;
use crate::error::{CliError, Exit};
use crate::host::{self, Journal, SystemClock};
use crate::output;

pub(super) async fn run(context: &Context, command: Approvals) -> Result<Exit, CliError> {
    match command {
        Approvals::List { all } => list(context, all).await,
        Approvals::Show { id } => show(context, &id).await,
        Approvals::Approve { id, by, note } => {
            decide(context, id, Verdict::Approved, by, note).await
        }
        Approvals::Reject { id, by, reason } => {
            decide(context, id, Verdict::Rejected, by, reason).await
        }
    }
}

fn not_found(id: &ApprovalId) -> CliError {
    CliError::new(
        Reason::ApprovalNotFound,
        format!("there is no approval {id}"),
    )
}

async fn list(context: &Context, all: bool) -> Result<Exit, CliError> {
    let store = host::look(&context.data_dir()?)?;
    let loaded = stoplog_query::all(&*store).await?;
    let now_ms = SystemClock.now_ms();
    let mut asked = waiting::approvals(&loaded);
    asked.retain(|a| all || a.status(now_ms) == "pending");
    if context.json {
        let told: Vec<Value> = asked.iter().map(|a| packet(a, now_ms)).collect();
        output::json(&json!(told));
        return Ok(Exit::Ok);
    }
    let rows = asked
        .iter()
        .map(|a| {
            let approval = &a.state.approval;
            vec![
                approval.id.to_string(),
                a.status(now_ms).to_owned(),
                approval.tool.clone(),
                a.session.started.tenant.to_string(),
                a.session.started.session.to_string(),
                output::time(approval.expires_at_ms),
                make_readable(approval.preview.lines().next().unwrap_or("")),
            ]
        })
        .collect();
    let header = [
        "APPROVAL", "STATUS", "TOOL", "TENANT", "SESSION", "EXPIRES", "PREVIEW",
    ];
    output::table(&header, rows);
    Ok(Exit::Ok)
}

/// The packet, with nothing in it that hides or pretends.
fn packet(asked: &Asked<'_>, now_ms: u64) -> Value {
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

async fn show(context: &Context, id: &ApprovalId) -> Result<Exit, CliError> {
    let store = host::look(&context.data_dir()?)?;
    let loaded = stoplog_query::all(&*store).await?;
    let asked = waiting::approvals(&loaded);
    let asked = asked
        .iter()
        .find(|a| a.state.approval.id == *id)
        .ok_or_else(|| not_found(id))?;
    let told = packet(asked, SystemClock.now_ms());
    if context.json {
        output::json(&told);
        return Ok(Exit::Ok);
    }
    let text = |name: &str| match &told[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    output::line(format!("approval   {}  {}", text("id"), text("status")));
    output::line(format!(
        "call       {} of session {}, tenant {}",
        text("call"),
        text("session"),
        text("tenant")
    ));
    output::line(format!(
        "tool       {} {}, class {}, component {}",
        text("tool"),
        text("tool_version"),
        text("class"),
        asked.state.approval.component.short()
    ));
    output::line(format!("because    {}", text("why")));
    output::line(format!(
        "expires    {}",
        output::time(asked.state.approval.expires_at_ms)
    ));
    output::line("preview");
    for line in text("preview").lines() {
        output::line(format!("  {line}"));
    }
    output::line(format!(
        "arguments  (digest {})",
        asked.state.approval.args_digest.short()
    ));
    let arguments = serde_json::to_string_pretty(&told["arguments"]).unwrap_or_default();
    for line in arguments.lines() {
        output::line(format!("  {line}"));
    }
    Ok(Exit::Ok)
}

async fn decide(
    context: &Context,
    id: ApprovalId,
    verdict: Verdict,
    by: String,
    note: String,
) -> Result<Exit, CliError> {
    let session = settle(context, &id, verdict, by, note).await?;
    let word = if verdict == Verdict::Approved {
        "approved"
    } else {
        "rejected"
    };
    if context.json {
        output::json(&json!({"id": id, "status": word, "session": session}));
    } else {
        output::line(format!("{id} {word}; go on with: stoplog resume {session}"));
    }
    Ok(Exit::Ok)
}

/// Writes a decision down. The session that can go on now.
pub(super) async fn settle(
    context: &Context,
    id: &ApprovalId,
    verdict: Verdict,
    by: String,
    note: String,
) -> Result<SessionId, CliError> {
    if by.trim().is_empty() || (verdict == Verdict::Rejected && note.trim().is_empty()) {
        let message = "--by and --reason must say something: they are the record";
        return Err(CliError::internal(message));
    }
    let store = host::look(&context.data_dir()?)?;
    let loaded = stoplog_query::all(&*store).await?;
    let session = waiting::session_of(&loaded, id).ok_or_else(|| not_found(id))?;
    let journal = Journal::beside_host(&context.data_dir()?, context.watch.clone())?;
    let writer = journal.open(&session, context.watch.clone()).await?;
    writer.recall().await?;
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
    let result = match found {
        None => Err(not_found(id)),
        Some((position, "pending")) => {
            let decided = ApprovalDecided {
                id: id.clone(),
                position,
                verdict,
                by,
                note,
            };
            writer
                .append(vec![Event::ApprovalDecided(decided)])
                .await
                .map_err(CliError::from)
        }
        Some((_, "expired")) => Err(CliError::new(
            Reason::ApprovalExpired,
            format!("approval {id} has expired and counts as rejected"),
        )),
        Some((_, status)) => Err(CliError::new(
            Reason::ApprovalNotPending,
            format!("approval {id} is {status} already"),
        )),
    };
    host::close(writer).await?;
    result.map(|()| session)
}
