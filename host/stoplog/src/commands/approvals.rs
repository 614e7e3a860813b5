//! `approvals list|show|approve|reject`.

use serde_json::{Value, json};
use stoplog_model::event::Verdict;
use stoplog_model::port::Clock;
use stoplog_model::{ApprovalId, SessionId};
use stoplog_policy::readable::make_readable;
use stoplog_query::waiting;

use super::Context;
use crate::args::Approvals;
use crate::error::{CliError, Exit};
use crate::host::{self, SystemClock};
use crate::output;
use crate::people::{self, By};

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

async fn list(context: &Context, all: bool) -> Result<Exit, CliError> {
    let store = context.look().await?;
    let loaded = stoplog_query::all(&*store).await?;
    let now_ms = SystemClock.now_ms();
    let mut asked = waiting::approvals(&loaded);
    asked.retain(|a| all || a.status(now_ms) == "pending");
    if context.json {
        let told: Vec<Value> = asked.iter().map(|a| people::packet(a, now_ms)).collect();
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

async fn show(context: &Context, id: &ApprovalId) -> Result<Exit, CliError> {
    let store = context.look().await?;
    let loaded = stoplog_query::all(&*store).await?;
    let asked = waiting::approvals(&loaded);
    let asked = asked
        .iter()
        .find(|a| a.state.approval.id == *id)
        .ok_or_else(|| people::no_approval(id))?;
    let told = people::packet(asked, SystemClock.now_ms());
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
    let store = context.look().await?;
    let loaded = stoplog_query::all(&*store).await?;
    let session = waiting::session_of(&loaded, id).ok_or_else(|| people::no_approval(id))?;
    let journal = context.beside_host().await?;
    let writer = people::open_patiently(&journal, &session, context.watch.clone()).await?;
    let by = By { name: by, note };
    let result = people::decide_in(&writer, id, verdict, by).await;
    host::close(writer).await?;
    result.map(|()| session)
}
