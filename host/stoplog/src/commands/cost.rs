//! `cost`: what was paid, by whom and for what.

use stoplog_model::port::Clock;
use stoplog_query::cost;
use stoplog_query::question::{Dimension, Filter};
use stoplog_telemetry::{AnswerBounds, Ask};

use super::{Context, ask};
use crate::args::Cost;
use crate::error::{CliError, Exit};
use crate::host::SystemClock;
use crate::output;

pub(super) async fn run(context: &Context, asked: Cost) -> Result<Exit, CliError> {
    let (since_ms, until_ms) = ask::window(asked.since, asked.until, SystemClock.now_ms())?;
    let mut filter = Filter {
        since_ms,
        until_ms,
        ..Filter::default()
    };
    ask::among(&mut filter, Dimension::Tenant, &asked.tenant);
    ask::among(&mut filter, Dimension::Feature, &asked.feature);
    ask::among(&mut filter, Dimension::User, &asked.user);
    let mut by: Vec<Dimension> = Vec::new();
    for dimension in asked.by.iter().map(|b| b.0) {
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    let traces = ask::traces(context).await?;
    let statement = cost::statement(&filter, &by);
    let answer = traces.ask(statement, AnswerBounds::default()).await?;
    // A sum that lacks a row must not look like a sum.
    if answer.is_cut {
        let rows = answer.rows.len();
        let message = format!("more than {rows} rows: ask by fewer, or for a shorter time");
        return Err(CliError::new(
            stoplog_model::Reason::QuestionTooLarge,
            message,
        ));
    }
    let mut table = cost::table(&by, answer);
    let is_empty = table.rows.is_empty();
    let is_for_people = asked.csv.is_none() && !context.json;
    if is_for_people && !is_empty {
        let total = cost::total(&table, by.len());
        table.rows.push(total);
    }
    ask::give(context, asked.csv.as_deref(), &table)?;
    if is_empty {
        ask::nothing(&traces, "money was spent", &filter).await?;
    } else if is_for_people {
        output::note("dollars; a day is one of UTC");
    }
    Ok(Exit::Ok)
}
