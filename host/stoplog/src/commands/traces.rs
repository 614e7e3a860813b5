//! `traces`: the trace store as a whole. What it has is a projection of the journal.

use serde_json::json;
use stoplog_telemetry::TraceStore;

use super::Context;
use crate::args::Traces;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;

pub(super) async fn run(context: &Context, command: Traces) -> Result<Exit, CliError> {
    match command {
        Traces::Rebuild => rebuild(context).await,
    }
}

/// Makes the trace store anew from the journal, beside a running host too.
async fn rebuild(context: &Context) -> Result<Exit, CliError> {
    let data_dir = context.data_dir()?;
    let journal = host::look(&data_dir)?;
    let (traces, mut projector) = host::following(&data_dir, journal)?;
    traces.begin_anew().await?;
    let done = projector.catch_up().await?;
    host::look_after(&mut projector, &data_dir).await?;
    let broken = traces.broken().await?;
    if context.json {
        let broken: Vec<_> = broken
            .iter()
            .map(|b| json!({"session": b.session_id, "seq": b.seq, "what": b.what}))
            .collect();
        output::json(&json!({
            "events": done.events, "spans": done.spans, "broken": broken,
        }));
    } else {
        output::line(format!(
            "{} span(s) made of {} event(s)",
            done.spans, done.events
        ));
        for b in &broken {
            output::line(format!(
                "BROKEN  session {}, event {}: {}; `stoplog verify` says more",
                b.session_id, b.seq, b.what
            ));
        }
    }
    Ok(match broken.is_empty() {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}
