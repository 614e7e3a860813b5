//! `trace show`.

use serde_json::json;
use stoplog_model::Reason;
use stoplog_query::{find, tree};

use super::Context;
use crate::args::Trace;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;

pub(super) async fn run(context: &Context, command: Trace) -> Result<Exit, CliError> {
    let Trace::Show { what } = command;
    let store = host::look(&context.data_dir()?)?;
    let Some(loaded) = find(&*store, &what).await? else {
        let message = format!("there is no session and no trace {what}");
        return Err(CliError::new(Reason::SessionNotFound, message));
    };
    let spans = stoplog_telemetry::spans(&loaded.records)
        .map_err(|e| CliError::new(Reason::JournalCorrupt, e.to_string()))?;
    let only = (loaded.session.started.session.as_str() != what).then_some(what.as_str());
    if context.json {
        let own: Vec<_> = spans
            .iter()
            .filter(|s| only.is_none_or(|o| o == s.common.trace_id.as_str()))
            .collect();
        output::json(&json!(own));
    } else {
        output::line(tree::render(&spans, only).trim_end());
    }
    Ok(Exit::Ok)
}
