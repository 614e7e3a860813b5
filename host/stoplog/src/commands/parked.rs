//! `parked list|show|resolve`.

use serde_json::{Value, json};
use stoplog_model::{Position, SessionId};
use stoplog_query::waiting;

use super::Context;
use crate::args::{Parked, ResolveAs};
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;
use crate::people::{self, By, Decision};

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
            let (session, position) =
                waiting::parse_id(&id).ok_or_else(|| people::no_parked(&id))?;
            let resolution = match (what, output) {
                (ResolveAs::Done, output) => people::Found::Done(output),
                (ResolveAs::NotDone, None) => people::Found::NotDone,
                (ResolveAs::Abandon, None) => people::Found::Abandon,
                (_, Some(_)) => return Err(CliError::internal("--output goes with --as done")),
            };
            let by = By { name: by, note };
            let decision = Decision { resolution, by };
            resolve(context, &session, position, decision).await
        }
    }
}

async fn list(context: &Context) -> Result<Exit, CliError> {
    let store = context.look().await?;
    let loaded = stoplog_query::all(&*store).await?;
    let parked = waiting::parked(&loaded);
    if context.json {
        let all: Vec<Value> = parked.iter().map(people::parked).collect();
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
    let store = context.look().await?;
    let loaded = stoplog_query::all(&*store).await?;
    let parked = waiting::parked(&loaded);
    let call = parked
        .iter()
        .find(|p| p.id() == id)
        .ok_or_else(|| people::no_parked(id))?;
    let value = people::parked(call);
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

async fn resolve(
    context: &Context,
    session: &SessionId,
    position: Position,
    decision: Decision,
) -> Result<Exit, CliError> {
    let id = format!("{session}/{position}");
    if decision.by.name.trim().is_empty() {
        return Err(CliError::internal(
            "--by must say who decides: it is the record",
        ));
    }
    // A directory without a journal is not made by asking about it.
    context.look().await?;
    let journal = context.beside_host().await?;
    let writer = people::open_patiently(&journal, session, context.watch.clone()).await?;
    let result = people::resolve_in(&writer, position, decision).await;
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
