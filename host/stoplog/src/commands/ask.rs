//! What all questions share: the trace store at the end of the journal, the command line as a filter,
//! and an answer in the form that was asked for.

use std::path::Path;
use std::sync::Arc;

use stoplog_model::Reason;
use stoplog_query::question::{Dimension, Filter, Looked, QuestionError, looked};
use stoplog_query::table::{Column, Table};
use stoplog_store::TraceDb;
use stoplog_telemetry::{AnswerBounds, Ask, AskError, Cell, Statement, TraceStore};

use super::Context;
use crate::args::{Moment, Which};
use crate::error::CliError;
use crate::files;
use crate::host;
use crate::output;

impl From<QuestionError> for CliError {
    fn from(error: QuestionError) -> CliError {
        CliError::new(Reason::QuestionInvalid, error.to_string())
    }
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> CliError {
        let reason = match error {
            AskError::Wrong(_) | AskError::Refused(_) => Reason::QuestionInvalid,
            AskError::TooLong(_) | AskError::TooLarge(_) => Reason::QuestionTooLarge,
            AskError::Traces(error) => return error.into(),
        };
        CliError::new(reason, error.to_string())
    }
}

/// The trace store, at the end of the journal. Says so when sessions in it are broken: an answer
/// that lacks some must not look whole.
pub(super) async fn traces(context: &Context) -> Result<Arc<TraceDb>, CliError> {
    let traces = host::traces(&context.data_dir()?, context.look().await?).await?;
    let broken = traces.broken().await?;
    if let Some(first) = broken.first() {
        output::note(format!(
            "not whole: {} session(s) of the journal are damaged, first {} at event {}; `stoplog verify` \
             says more",
            broken.len(),
            first.session_id,
            first.seq
        ));
    }
    Ok(traces)
}

/// The times of a question, milliseconds since the Unix epoch.
pub(crate) fn window(
    since: Option<Moment>,
    until: Option<Moment>,
    now_ms: u64,
) -> Result<(Option<u64>, Option<u64>), CliError> {
    let (since, until) = (since.map(|m| m.ms(now_ms)), until.map(|m| m.ms(now_ms)));
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        let message = format!(
            "--since ({}) is not before --until ({}): nothing lies between",
            output::time(since),
            output::time(until)
        );
        return Err(CliError::new(Reason::QuestionInvalid, message));
    }
    Ok((since, until))
}

/// Adds a condition, if there are values.
pub(crate) fn among<T: ToString>(filter: &mut Filter, dimension: Dimension, values: &[T]) {
    if !values.is_empty() {
        let cells = values.iter().map(|v| Cell::from(v.to_string())).collect();
        filter.among.push((dimension, cells));
    }
}

/// The command line as a filter.
pub(crate) fn filter(which: &Which, now_ms: u64) -> Result<Filter, CliError> {
    let (since_ms, until_ms) = window(which.since, which.until, now_ms)?;
    let mut filter = Filter {
        since_ms,
        until_ms,
        ..Filter::default()
    };
    among(&mut filter, Dimension::Tenant, &which.tenant);
    among(&mut filter, Dimension::User, &which.user);
    among(&mut filter, Dimension::Feature, &which.feature);
    among(&mut filter, Dimension::Session, &which.session);
    among(&mut filter, Dimension::Trace, &which.trace);
    among(&mut filter, Dimension::Tool, &which.tool);
    among(&mut filter, Dimension::Status, &which.status);
    among(&mut filter, Dimension::Reason, &which.reason);
    among(&mut filter, Dimension::Disposition, &which.disposition);
    among(&mut filter, Dimension::ModelId, &which.model_id);
    among(&mut filter, Dimension::ModelVersion, &which.model_version);
    among(
        &mut filter,
        Dimension::PromptVersionHash,
        &which.prompt_version_hash,
    );
    among(&mut filter, Dimension::FinishReason, &which.finish_reason);
    if !which.class.is_empty() {
        let cells = which.class.iter().map(|c| Cell::Whole(i64::from(*c)));
        filter.among.push((Dimension::Class, cells.collect()));
    }
    Ok(filter)
}

/// Asks for a table, of so many rows at most. The flag says that there are more.
pub(super) async fn table(
    traces: &TraceDb,
    (statement, columns): (Statement, Vec<Column>),
    limit: usize,
) -> Result<(Table, bool), CliError> {
    let answer = traces.ask(statement, AnswerBounds::default()).await?;
    let (mut rows, columns) = (answer.rows, columns);
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    Ok((Table { columns, rows }, is_cut))
}

/// Gives an answer in the form that was asked for.
pub(super) fn give(context: &Context, csv: Option<&Path>, table: &Table) -> Result<(), CliError> {
    match csv {
        Some(path) if path == Path::new("-") => output::text(&table.to_csv()),
        Some(path) => {
            files::write_private(path, table.to_csv().as_bytes())?;
            output::note(format!("{}: {} row(s)", path.display(), table.rows.len()));
        }
        None if context.json => output::json(&table.to_json()),
        None if table.rows.is_empty() => {}
        None => output::table(&table.header(), table.texts().collect()),
    }
    Ok(())
}

/// Says where an empty answer was looked for.
pub(super) async fn nothing(traces: &TraceDb, what: &str, filter: &Filter) -> Result<(), CliError> {
    let found = looked(traces, filter).await?;
    output::note(format!("no {what}{}", conditions(filter)));
    output::note(there(&found));
    for (dimension, value, others) in &found.unknown {
        let others = match others.as_slice() {
            [] => "no span has one".to_owned(),
            others => format!("there is {}", others.join(", ")),
        };
        output::note(format!(
            "no span has the {} `{value}`; {others}",
            dimension.word()
        ));
    }
    Ok(())
}

fn conditions(filter: &Filter) -> String {
    let mut said = String::new();
    for (dimension, values) in &filter.among {
        let values: Vec<String> = values
            .iter()
            .map(|v| match v {
                Cell::Whole(n) => n.to_string(),
                other => other.as_text().unwrap_or_default().to_owned(),
            })
            .collect();
        said.push_str(&format!(", {} {}", dimension.word(), values.join(" or ")));
    }
    if let Some(ms) = filter.since_ms {
        said.push_str(&format!(", since {}", output::time(ms)));
    }
    if let Some(ms) = filter.until_ms {
        said.push_str(&format!(", until {}", output::time(ms)));
    }
    said
}

fn there(found: &Looked) -> String {
    match found.between_ms {
        None => "the trace store has no spans at all".to_owned(),
        Some((first, last)) => format!(
            "looked at {} span(s) of {} run(s), begun {} to {}",
            found.spans,
            found.runs,
            output::time(first),
            output::time(last)
        ),
    }
}
