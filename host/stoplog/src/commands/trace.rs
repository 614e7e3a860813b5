//! `trace show`: the trees of a session or of one trace, from the trace store, what is open too.

use serde_json::json;
use stoplog_model::Reason;
use stoplog_query::tree;
use stoplog_telemetry::{Scope, Span, TraceStore};

use super::Context;
use crate::args::Trace;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;

pub(super) async fn run(context: &Context, command: Trace) -> Result<Exit, CliError> {
    let Trace::Show { what } = command;
    let traces = host::traces(&context.data_dir()?).await?;
    let mut bodies = traces.spans(Scope::Session(&what)).await?;
    let mut only = None;
    if bodies.is_empty() {
        bodies = traces.spans(Scope::Trace(&what)).await?;
        only = Some(what.as_str());
    }
    let spans = read(&bodies)?;
    let session = match spans.first() {
        Some(span) => span.common.session_id.as_str(),
        None => &what,
    };
    // A damaged journal is an error, and never a shorter story.
    let broken = traces.broken().await?;
    if let Some(broken) = broken.iter().find(|b| b.session_id == session) {
        let message = format!("session {session}, event {}: {}", broken.seq, broken.what);
        return Err(CliError::new(Reason::JournalCorrupt, message));
    }
    if spans.is_empty() {
        let message = format!("there is no session and no trace {what} with a run");
        return Err(CliError::new(Reason::SessionNotFound, message));
    }
    match context.json {
        true => output::json(&json!(spans)),
        false => output::line(tree::render(&spans, only).trim_end()),
    }
    Ok(Exit::Ok)
}

fn read(bodies: &[String]) -> Result<Vec<Span>, CliError> {
    let read = |body: &String| {
        serde_json::from_str(body).map_err(|e| {
            let message = format!("a span cannot be read: {e}");
            CliError::new(Reason::TracesUnusable, message)
        })
    };
    bodies.iter().map(read).collect()
}
