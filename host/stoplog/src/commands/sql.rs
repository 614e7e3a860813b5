//! `sql`: one statement of a person, over the views of the trace store.

use std::time::Duration;

use serde_json::json;
use stoplog_query::table::{Column, Table};
use stoplog_store::traces::VIEW_NAMES;
use stoplog_telemetry::{AnswerBounds, Ask, Statement};

use super::{Context, ask};
use crate::args::Sql;
use crate::error::{CliError, Exit};
use crate::output;

pub(super) async fn run(context: &Context, asked: Sql) -> Result<Exit, CliError> {
    let traces = ask::traces(context).await?;
    let Some(sql) = asked.statement else {
        return views(context, &*traces).await;
    };
    let bounds = AnswerBounds {
        rows: asked.limit,
        time: Duration::from_secs(asked.timeout),
        ..AnswerBounds::default()
    };
    let statement = Statement {
        sql,
        values: Vec::new(),
    };
    let answer = traces.ask(statement, bounds).await?;
    let table = Table {
        columns: answer.columns.into_iter().map(Column::plain).collect(),
        rows: answer.rows,
    };
    ask::give(context, asked.csv.as_deref(), &table)?;
    if table.rows.is_empty() {
        output::note("no row");
    }
    if answer.is_cut {
        let n = asked.limit;
        output::note(format!("{n} row(s) are shown, and there are more: --limit"));
    }
    Ok(Exit::Ok)
}

/// What can be asked.
async fn views(context: &Context, traces: &impl Ask) -> Result<Exit, CliError> {
    let mut told = Vec::new();
    for view in VIEW_NAMES {
        let statement = Statement {
            sql: format!("SELECT * FROM {view} LIMIT 0"),
            values: Vec::new(),
        };
        let answer = traces.ask(statement, AnswerBounds::default()).await?;
        told.push((view, answer.columns));
    }
    if context.json {
        let all: Vec<_> = told
            .iter()
            .map(|(view, columns)| json!({"view": view, "columns": columns}))
            .collect();
        output::json(&json!(all));
        return Ok(Exit::Ok);
    }
    for (view, columns) in told {
        output::line(format!("{view}\n  {}", columns.join(", ")));
    }
    Ok(Exit::Ok)
}
