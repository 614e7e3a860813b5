//! `parked list|show|resolve`.

use serde_json::{Value, json};
use stoplog_model::event::{Event, ParkResolved, Resolution};
use stoplog_model::{Outcome, Position, Reason, SessionId};
use stoplog_query::waiting::{self, ParkedCall};

use super::Context;
use crate::args::{Parked, ResolveAs};
use crate::error::{CliError, Exit};
use crate::host::{self, Journal};
use crate::output;

pub(super) async fn run(context: &Context, command: Parked) -> Result<Exit, CliError> {
    match command {
        Parked::List => list(context).await,
        Parked::Show { id } => show(context, &id).await,
        Parked::Resolve {
            id,
            what,
            output,
            by,
            note,
        } => {
            let (session, position) = waiting::parse_id(&id).ok_or_else(|| not_found(&id))?;
            let decision = Decision {
                what,
                output,
                by,
                note,
            };
            resolve(context, &session, position, decision).await
        }
    }
}

fn not_found(id: &str) -> CliError {
    CliError::new(
        Reason::ParkNotFound,
        format!("there is no parked call {id}"),
    )
}

fn told(call: &ParkedCall<'_>) -> Value {
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

async fn list(context: &Context) -> Result<Exit, CliError> {
    let store = host::look(&context.data_dir()?)?;
    let loaded = stoplog_query::all(&*store).await?;
    let parked = waiting::parked(&loaded);
    if context.json {
        let all: Vec<Value> = parked.iter().map(told).collect();
        output::json(&json!(all));
        return Ok(Exit::Ok);
    }
    let rows = parked
        .iter()
        .map(|p| {
            let reason = p.parked.reason.code().to_owned();
            vec![
                p.id(),
                p.call.call.tool.clone(),
                reason,
                p.parked.detail.clone(),
            ]
        })
        .collect();
    output::table(&["CALL", "TOOL", "REASON", "DETAIL"], rows);
    Ok(Exit::Ok)
}

async fn show(context: &Context, id: &str) -> Result<Exit, CliError> {
    let store = host::look(&context.data_dir()?)?;
    let loaded = stoplog_query::all(&*store).await?;
    let parked = waiting::parked(&loaded);
    let call = parked
        .iter()
        .find(|p| p.id() == id)
        .ok_or_else(|| not_found(id))?;
    let value = told(call);
    if context.json {
        output::json(&value);
        return Ok(Exit::Ok);
    }
    let text = |name: &str| value[name].as_str().unwrap_or("").to_owned();
    output::line(format!(
        "call     {id}  {}  tenant {}",
        text("tool"),
        text("tenant")
    ));
    output::line(format!("parked   {}: {}", text("reason"), text("detail")));
    for effect in value["effects"].as_array().into_iter().flatten() {
        output::line(format!(
            "effect   {}  key {}  sent {} time(s)  {}",
            effect["request"].as_str().unwrap_or(""),
            effect["key"].as_str().unwrap_or(""),
            effect["sent"],
            effect["outcome"].as_str().unwrap_or("")
        ));
    }
    output::line(format!("to do    {}", call.parked.reason.hint()));
    output::line(format!(
        "         stoplog parked resolve {id} --as done|not-done|abandon --by YOU"
    ));
    Ok(Exit::Ok)
}

struct Decision {
    what: ResolveAs,
    output: Option<String>,
    by: String,
    note: String,
}

async fn resolve(
    context: &Context,
    session: &SessionId,
    position: Position,
    decision: Decision,
) -> Result<Exit, CliError> {
    let id = format!("{session}/{position}");
    if decision.by.trim().is_empty() {
        return Err(CliError::internal(
            "--by must say who decides: it is the record",
        ));
    }
    // A directory without a journal is not made by asking about it.
    host::look(&context.data_dir()?)?;
    let journal = Journal::beside_host(&context.data_dir()?, context.watch.clone())?;
    let writer = journal.open(session, context.watch.clone()).await?;
    writer.recall().await?;
    let pin = writer.read(|s| {
        let call = s.call(position).filter(|c| c.parked.is_some())?;
        s.pin(&call.call.tool).cloned()
    });
    let result = match pin {
        None => Err(not_found(&id)),
        Some(pin) => match resolution(&decision, &pin) {
            Err(error) => Err(error),
            Ok(resolution) => {
                let by = decision.by.clone();
                let resolved = ParkResolved {
                    position,
                    resolution,
                    by,
                    note: decision.note,
                };
                writer
                    .append(vec![Event::ParkResolved(resolved)])
                    .await
                    .map_err(CliError::from)
            }
        },
    };
    host::close(writer).await?;
    result?;
    if context.json {
        output::json(&json!({"id": id, "session": session}));
    } else {
        output::line(format!(
            "{id} resolved; go on with: stoplog resume {session}"
        ));
    }
    Ok(Exit::Ok)
}

fn resolution(
    decision: &Decision,
    pin: &stoplog_model::event::Pin,
) -> Result<Resolution, CliError> {
    match (decision.what, &decision.output) {
        (ResolveAs::Done, None) => Ok(Resolution::Done(None)),
        (ResolveAs::Done, Some(text)) => {
            if let Some(problem) = stoplog_dispatch::output_problem(pin, text) {
                return Err(CliError::new(Reason::OutputSchema, problem));
            }
            let output = serde_json::from_str(text)
                .map_err(|e| CliError::new(Reason::OutputSchema, e.to_string()))?;
            Ok(Resolution::Done(Some(output)))
        }
        (_, Some(_)) => Err(CliError::internal("--output goes with --as done")),
        (ResolveAs::NotDone, None) => Ok(Resolution::NotDone),
        (ResolveAs::Abandon, None) => Ok(Resolution::Abandon),
    }
}
