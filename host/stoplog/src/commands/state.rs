//! `state list|get|delete`: what tools keep, as the operator sees it.
//!
//! Looking takes no lock. Deleting is a commit of its own, beside a running host too; it is in no
//! session's events, so the journal notes how far events may be overruled by it (`verify`).

use std::io::{IsTerminal, Write};

use serde_json::json;
use stoplog_journal::{StateEntry, States, Upkeep};
use stoplog_model::state::{StateAsk, StateSeen};
use stoplog_model::{Reason, Tenant, ToolName};
use stoplog_store::{DataDir, SqliteStore};

use super::Context;
use crate::args::State;
use crate::error::{CliError, Exit};
use crate::output;

/// Keys that are read at once.
const PAGE: u32 = 500;

pub(super) async fn run(context: &Context, command: State) -> Result<Exit, CliError> {
    match command {
        State::List { tenant, tool } => list(context, tenant.as_ref(), tool.as_ref()).await,
        State::Get { tenant, tool, key } => get(context, &tenant, &tool, &key).await,
        State::Delete {
            tenant, tool, key, ..
        } => delete(context, &tenant, &tool, key.as_deref()).await,
    }
}

async fn list(
    context: &Context,
    tenant: Option<&Tenant>,
    tool: Option<&ToolName>,
) -> Result<Exit, CliError> {
    let store = context.look().await?;
    let is_asked = |e: &StateEntry| {
        tenant.is_none_or(|t| t.as_str() == e.tenant) && tool.is_none_or(|t| t.as_str() == e.tool)
    };
    let mut found: Vec<StateEntry> = Vec::new();
    let mut after = (String::new(), String::new(), String::new());
    loop {
        let page = store
            .state_entries((&after.0, &after.1, &after.2), PAGE)
            .await?;
        match page.last() {
            Some(last) => after = (last.tenant.clone(), last.tool.clone(), last.key.clone()),
            None => break,
        }
        found.extend(page.into_iter().filter(is_asked));
    }
    if context.json {
        let told: Vec<_> = found
            .iter()
            .map(|e| {
                json!({
                    "tenant": e.tenant, "tool": e.tool, "key": e.key, "bytes": e.bytes,
                    "session": e.session, "seq": e.seq, "at_ms": e.at_ms,
                })
            })
            .collect();
        output::json(&json!(told));
        return Ok(Exit::Ok);
    }
    let rows = found.into_iter().map(|e| {
        let (bytes, time) = (e.bytes.to_string(), output::time(e.at_ms));
        let key = e.key.escape_debug().to_string();
        vec![e.tenant, e.tool, key, bytes, e.session, time]
    });
    output::table(
        &["TENANT", "TOOL", "KEY", "BYTES", "WRITTEN BY", "AT"],
        rows.collect(),
    );
    Ok(Exit::Ok)
}

fn not_found(tenant: &Tenant, tool: &ToolName, key: Option<&str>) -> CliError {
    let what = match key {
        Some(key) => format!("nothing under `{}`", key.escape_debug()),
        None => "nothing".to_owned(),
    };
    let message = format!("tool {tool} keeps {what} for tenant {tenant}");
    CliError::new(Reason::StateNotFound, message)
}

async fn get(
    context: &Context,
    tenant: &Tenant,
    tool: &ToolName,
    key: &str,
) -> Result<Exit, CliError> {
    let store = context.look().await?;
    let ask = StateAsk::Value(key.to_owned());
    let seen = store.state(tenant.as_str(), tool.as_str(), &ask).await?;
    let StateSeen::Value {
        value: Some(value), ..
    } = seen
    else {
        return Err(not_found(tenant, tool, Some(key)));
    };
    if context.json {
        output::json(&json!({"tenant": tenant, "tool": tool, "key": key, "value": value}));
        return Ok(Exit::Ok);
    }
    let mut stdout = std::io::stdout().lock();
    // A tool wrote it: on a terminal it steers nothing, into a file it goes byte for byte.
    let shown = match stdout.is_terminal() {
        true => format!("{}\n", value.0.escape_ascii()).into_bytes(),
        false => value.0,
    };
    stdout
        .write_all(&shown)
        .and_then(|()| stdout.flush())
        .map_err(|e| CliError::internal(format!("standard output: {e}")))?;
    Ok(Exit::Ok)
}

async fn delete(
    context: &Context,
    tenant: &Tenant,
    tool: &ToolName,
    key: Option<&str>,
) -> Result<Exit, CliError> {
    let dir = context.data_dir()?;
    // A journal that is not there is not made by deleting something in it.
    drop(context.look().await?);
    let data = DataDir::unlocked(&dir)?;
    let store = SqliteStore::open_beside(
        &data.journal(),
        context.watch.clone(),
        context.keys().await?,
    )?;
    let keys = store
        .forget_state(tenant.as_str(), tool.as_str(), key)
        .await?;
    if keys == 0 {
        return Err(not_found(tenant, tool, key));
    }
    if context.json {
        output::json(&json!({"deleted": keys}));
    } else {
        output::line(format!("deleted {keys} key(s)"));
    }
    Ok(Exit::Ok)
}
