//! `trace show|explain|diff|slowest`: one session or one trace, from the trace store, what is open too.

use serde_json::json;
use stoplog_model::port::Clock;
use stoplog_model::{Reason, SessionId};
use stoplog_query::question::{Dimension, Filter};
use stoplog_query::story::Story;
use stoplog_query::{diff, explain, slowest, tree};
use stoplog_store::TraceDb;
use stoplog_telemetry::{AnswerBounds, Ask, Cell, Scope, Span, TraceStore};

use super::{Context, ask};
use crate::args::{Slowest, Trace};
use crate::error::{CliError, Exit};
use crate::host::{self, SystemClock};
use crate::output;

pub(super) async fn run(context: &Context, command: Trace) -> Result<Exit, CliError> {
    match command {
        Trace::Show { what } => show(context, &what).await,
        Trace::Explain { what } => explain(context, &what).await,
        Trace::Diff { clean, resumed } => diff(context, &clean, &resumed).await,
        Trace::Slowest(asked) => slowest(context, &asked).await,
    }
}

/// The spans of a session, and which of its traces was named, if one was.
pub(super) struct Found {
    /// Every span of the session.
    pub(super) spans: Vec<Span>,
    named: Option<String>,
}

impl Found {
    /// The session. There is a span, or nothing was found.
    pub(super) fn session(&self) -> &SessionId {
        &self.spans[0].common.session_id
    }

    /// The trace that was named, else the last one.
    pub(super) fn trace(&self) -> &str {
        let last = || {
            let runs = Story::of(&self.spans).map(|story| story.runs);
            runs.and_then(|runs| runs.last().map(|run| run.trace))
                .unwrap_or_default()
        };
        self.named.as_deref().unwrap_or_else(last)
    }

    /// What is told: all of the session, up to the trace that was named.
    fn story(&self) -> Option<Story<'_>> {
        let story = Story::of(&self.spans)?;
        Some(match &self.named {
            Some(trace) => story.up_to(trace),
            None => story,
        })
    }
}

/// Looks a session up, by its id or by that of a trace.
pub(super) async fn find(context: &Context, what: &str) -> Result<Found, CliError> {
    let traces = host::traces(&context.data_dir()?, context.look().await?).await?;
    find_in(&traces, what).await
}

async fn find_in(traces: &TraceDb, what: &str) -> Result<Found, CliError> {
    let mut named = None;
    let mut spans = read(&traces.spans(Scope::Session(what)).await?)?;
    if spans.is_empty() {
        let of_trace = read(&traces.spans(Scope::Trace(what)).await?)?;
        if let Some(first) = of_trace.first() {
            let session = first.common.session_id.clone();
            spans = read(&traces.spans(Scope::Session(session.as_str())).await?)?;
            named = Some(what.to_owned());
        }
    }
    let session = match spans.first() {
        Some(span) => span.common.session_id.as_str(),
        None => what,
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
    Ok(Found { spans, named })
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

async fn show(context: &Context, what: &str) -> Result<Exit, CliError> {
    let Found { mut spans, named } = find(context, what).await?;
    if let Some(trace) = &named {
        spans.retain(|span| span.common.trace_id.as_str() == trace);
    }
    match context.json {
        true => output::json(&json!(spans)),
        false => output::line(tree::render(&spans, named.as_deref()).trim_end()),
    }
    Ok(Exit::Ok)
}

async fn explain(context: &Context, what: &str) -> Result<Exit, CliError> {
    let found = find(context, what).await?;
    let lines = match found.story() {
        Some(story) => explain::explain(&story, output::time),
        None => Vec::new(),
    };
    match context.json {
        true => output::json(&json!(lines)),
        false => lines.iter().for_each(output::line),
    }
    Ok(Exit::Ok)
}

async fn diff(context: &Context, clean: &str, resumed: &str) -> Result<Exit, CliError> {
    let traces = host::traces(&context.data_dir()?, context.look().await?).await?;
    let (clean, resumed) = (
        find_in(&traces, clean).await?,
        find_in(&traces, resumed).await?,
    );
    let (Some(first), Some(second)) = (clean.story(), resumed.story()) else {
        return Err(CliError::internal("a session without spans"));
    };
    let diff = diff::diff(&first, &second);
    if context.json {
        output::json(&json!(diff));
    } else {
        output::line(format!("first   {}", explain::headline(&first)));
        output::line(format!("second  {}", explain::headline(&second)));
        output::line("\nWhat resuming brings with it:");
        for line in &diff.resume {
            output::line(format!("  {line}"));
        }
        let same: Vec<String> = diff
            .same
            .iter()
            .map(|(kind, n)| format!("{n} {kind}(s)"))
            .collect();
        output::line(format!("\nThe same in both: {}", same.join(", ")));
        match diff.differences.as_slice() {
            [] => output::line("Beyond the resume nothing differs."),
            differences => output::line(format!(
                "Beyond the resume {} thing(s) differ:",
                differences.len()
            )),
        }
        for difference in &diff.differences {
            output::line(format!("  {}", difference.what));
            for (mark, side) in [("-", &difference.first), ("+", &difference.second)] {
                if let Some(value) = side {
                    output::line(format!("    {mark} {value}"));
                }
            }
        }
    }
    Ok(match diff.differences.is_empty() {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

async fn slowest(context: &Context, asked: &Slowest) -> Result<Exit, CliError> {
    let mut filter = ask::filter(&asked.which, SystemClock.now_ms())?;
    let traces = ask::traces(context).await?;
    if let Some(what) = &asked.what {
        let found = find_in(&traces, what).await?;
        narrow(&mut filter, &found);
    }
    let question = slowest::spans(&filter, asked.limit);
    let (table, is_cut) = ask::table(&traces, question, asked.limit).await?;
    let (statement, _) = slowest::sums(&filter);
    let sums = traces.ask(statement, AnswerBounds::default()).await?;
    ask::give(context, asked.csv.as_deref(), &table)?;
    match slowest::verdict(&table, &sums) {
        Some(verdict) if !context.json && asked.csv.is_none() => output::line(verdict),
        Some(_) => {}
        None => ask::nothing(&traces, "span", &filter).await?,
    }
    if is_cut && !context.json && asked.csv.is_none() {
        let n = asked.limit;
        output::note(format!("the {n} slowest are shown: --limit"));
    }
    Ok(Exit::Ok)
}

fn narrow(filter: &mut Filter, found: &Found) {
    let (dimension, value) = match &found.named {
        Some(trace) => (Dimension::Trace, trace.clone()),
        None => (Dimension::Session, found.session().to_string()),
    };
    filter.among.push((dimension, vec![Cell::from(value)]));
}
