//! `traces`: the trace store as a whole, asked or made anew. What it has is a projection of the
//! journal.

use serde_json::json;
use stoplog_model::port::Clock;
use stoplog_query::question::{self, Filter, SortBy};
use stoplog_query::table::Column;
use stoplog_telemetry::{Statement, TraceStore};

use super::{Context, ask};
use crate::args::{self, Listed, Traces, TracesCommand};
use crate::error::{CliError, Exit};
use crate::host::{self, SystemClock};
use crate::output;

pub(super) async fn run(context: &Context, traces: Traces) -> Result<Exit, CliError> {
    match traces.command {
        Some(TracesCommand::Rebuild) => rebuild(context).await,
        None => listed(context, &traces.listed).await,
    }
}

/// Spans one by one, or in groups.
async fn listed(context: &Context, asked: &Listed) -> Result<Exit, CliError> {
    let mut filter = ask::filter(&asked.which, SystemClock.now_ms())?;
    filter.kind = asked.kind.map(|k| k.0);
    let by: Vec<_> = asked.group_by.iter().map(|g| g.0).collect();
    let question = question(&filter, asked)?;
    if asked.as_sql {
        output::line(filled_in(&question.0));
        return Ok(Exit::Ok);
    }
    let kind = filter.kind_for(&by)?;
    let traces = ask::traces(context).await?;
    let (table, is_cut) = ask::table(&traces, question, asked.limit).await?;
    ask::give(context, asked.csv.as_deref(), &table)?;
    if table.rows.is_empty() {
        ask::nothing(&traces, kind.word(), &filter).await?;
    }
    if is_cut {
        let n = asked.limit;
        output::note(format!("{n} row(s) are shown, and there are more: --limit"));
    }
    Ok(Exit::Ok)
}

/// What to ask, and the columns of the answer, which has one row more than the limit where there are more.
pub(crate) fn question(
    filter: &Filter,
    asked: &Listed,
) -> Result<(Statement, Vec<Column>), CliError> {
    let by: Vec<_> = asked.group_by.iter().map(|g| g.0).collect();
    let sort_by = asked.sort_by.map(sort_by);
    Ok(match by.as_slice() {
        [] => question::list(filter, sort_by.unwrap_or(SortBy::Start), asked.limit)?,
        by => question::groups(filter, by, sort_by.unwrap_or(SortBy::Count), asked.limit)?,
    })
}

fn sort_by(word: args::SortBy) -> SortBy {
    match word {
        args::SortBy::Latency => SortBy::Latency,
        args::SortBy::Cost => SortBy::Cost,
        args::SortBy::Start => SortBy::Start,
        args::SortBy::Count => SortBy::Count,
        args::SortBy::Errors => SortBy::Errors,
    }
}

/// A statement with its values in their places, for people to go on from.
fn filled_in(statement: &stoplog_telemetry::Statement) -> String {
    use stoplog_telemetry::Cell;
    let mut values = statement.values.iter();
    let mut text = String::new();
    for piece in statement.sql.split_inclusive('?') {
        match (
            piece.strip_suffix('?'),
            piece.ends_with('?').then(|| values.next()).flatten(),
        ) {
            (Some(before), Some(value)) => {
                text.push_str(before);
                text.push_str(&match value {
                    Cell::Null => "NULL".to_owned(),
                    Cell::Whole(n) => n.to_string(),
                    Cell::Real(x) => x.to_string(),
                    Cell::Text(t) => format!("'{}'", t.replace('\'', "''")),
                });
            }
            _ => text.push_str(piece),
        }
    }
    text
}

/// Makes the trace store anew from the journal, beside a running host too.
async fn rebuild(context: &Context) -> Result<Exit, CliError> {
    let data_dir = context.data_dir()?;
    let journal = context.look().await?;
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
