//! `eval export|label`: sessions as candidates for evaluation, and what people say of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use stoplog_journal::load;
use stoplog_model::port::Clock;
use stoplog_model::{Reason, Session, SessionId};
use stoplog_query::evals::{self, Label};
use stoplog_query::question::{Dimension, Filter};
use stoplog_query::story::Story;
use stoplog_store::{DataDir, LabelDb, LabelError, LabelRow, SqliteStore, TraceDb};
use stoplog_telemetry::{AnswerBounds, Ask, Scope, Span, TraceStore};

use super::{Context, ask};
use crate::args::{Eval, EvalExport, EvalLabel, Feedback, Outcome};
use crate::error::{CliError, Exit};
use crate::files::PrivateFile;
use crate::host::{self, SystemClock};
use crate::output;

/// Sessions of one export at most: their names are held in memory.
const MAX_SESSIONS: usize = 1_000_000;

impl From<LabelError> for CliError {
    fn from(error: LabelError) -> CliError {
        CliError::new(Reason::LabelsUnusable, error.to_string())
    }
}

pub(super) async fn run(context: &Context, command: Eval) -> Result<Exit, CliError> {
    match command {
        Eval::Export(asked) => export(context, &asked).await,
        Eval::Label(asked) => label(context, asked).await,
    }
}

/// What an export has seen.
#[derive(Default)]
struct Counts {
    rows: u64,
    /// They go on, or their host died.
    open: u64,
    /// `--raw`, and the journal has them no more.
    pruned: u64,
}

async fn export(context: &Context, asked: &EvalExport) -> Result<Exit, CliError> {
    let data_dir = context.data_dir()?;
    let (since_ms, until_ms) = ask::window(asked.since, asked.until, SystemClock.now_ms())?;
    let mut filter = Filter {
        since_ms,
        until_ms,
        ..Filter::default()
    };
    ask::among(&mut filter, Dimension::Tenant, &asked.tenant);
    let traces = ask::traces(context).await?;
    let journal = context.look().await?;
    let labels = labels(&data_dir)?;
    let bounds = AnswerBounds {
        rows: MAX_SESSIONS,
        ..AnswerBounds::default()
    };
    let names = traces.ask(evals::sessions(&filter), bounds).await?;
    if names.is_cut {
        let message = format!("more than {MAX_SESSIONS} sessions: export a shorter time");
        return Err(CliError::new(Reason::QuestionTooLarge, message));
    }
    let mut file = asked.out.as_deref().map(PrivateFile::create).transpose()?;
    let mut counts = Counts::default();
    for name in names.rows.iter().filter_map(|row| row.first()?.as_text()) {
        let label = labels.get(name);
        if asked.labelled && label.is_none() {
            continue;
        }
        let Some(line) = line(asked, &traces, &journal, name, label, &mut counts).await? else {
            continue;
        };
        counts.rows += 1;
        match &mut file {
            Some(file) => file.write(format!("{line}\n").as_bytes())?,
            None => output::text(&format!("{line}\n")),
        }
    }
    if let Some(file) = file {
        file.finish()?;
    }
    tell(context, asked, &counts);
    Ok(Exit::Ok)
}

/// The line of one session; None if it is not asked for.
async fn line(
    asked: &EvalExport,
    traces: &TraceDb,
    journal: &SqliteStore,
    name: &str,
    label: Option<&Label>,
    counts: &mut Counts,
) -> Result<Option<serde_json::Value>, CliError> {
    let bodies = traces.spans(Scope::Session(name)).await?;
    let spans = bodies.iter().map(|body| serde_json::from_str::<Span>(body));
    let spans: Vec<Span> = spans.collect::<Result<_, _>>().map_err(|e| {
        let message = format!("a span of session {name} cannot be read: {e}");
        CliError::new(Reason::TracesUnusable, message)
    })?;
    let Some(story) = Story::of(&spans) else {
        return Ok(None);
    };
    let Some(outcome) = evals::outcome(&story) else {
        counts.open += 1;
        return Ok(None);
    };
    let wanted = asked.outcome.iter().map(|o| word(*o));
    if !asked.outcome.is_empty() && !wanted.into_iter().any(|w| w == outcome) {
        return Ok(None);
    }
    let mut raw: Option<Session> = None;
    if asked.raw {
        let id = SessionId::new(name).map_err(|e| CliError::internal(e.to_string()))?;
        raw = load(journal, &id).await?.map(|(_, session)| session);
        counts.pruned += u64::from(raw.is_none());
    }
    Ok(evals::row(&story, label, raw.as_ref()))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Error => "error",
        Outcome::Interrupt => "interrupt",
    }
}

fn tell(context: &Context, asked: &EvalExport, counts: &Counts) {
    if counts.open > 0 {
        output::note(format!(
            "{} session(s) have not ended and are left out",
            counts.open
        ));
    }
    if counts.pruned > 0 {
        output::note(format!(
            "{} session(s) are in the journal no more: their texts are hidden all the same",
            counts.pruned
        ));
    }
    let Some(out) = &asked.out else { return };
    if asked.raw {
        output::note(format!("{} holds raw personal data", out.display()));
    }
    match context.json {
        true => output::json(
            &json!({"file": out, "rows": counts.rows, "open": counts.open, "raw": asked.raw}),
        ),
        false => output::line(format!("{}: {} session(s)", out.display(), counts.rows)),
    }
}

/// The last label of each session.
pub(super) fn labels(data_dir: &Path) -> Result<BTreeMap<String, Label>, CliError> {
    let data = DataDir::unlocked(data_dir)?;
    let Some(labels) = LabelDb::look(&data.labels())? else {
        return Ok(BTreeMap::new());
    };
    let of_row = |row: LabelRow| Label {
        feedback: row.feedback,
        by: row.by,
        at_ms: row.at_ms,
        note: row.note,
    };
    let latest = labels.latest()?.into_iter();
    Ok(latest
        .map(|(session, row)| (session, of_row(row)))
        .collect())
}

async fn label(context: &Context, asked: EvalLabel) -> Result<Exit, CliError> {
    let data_dir = context.data_dir()?;
    let traces = host::traces(&data_dir, context.look().await?).await?;
    let session = asked.session.to_string();
    if traces.spans(Scope::Session(&session)).await?.is_empty() {
        let message = format!("there is no session {session} with a run");
        return Err(CliError::new(Reason::SessionNotFound, message));
    }
    let row = LabelRow {
        session_id: session,
        at_ms: SystemClock.now_ms(),
        by: asked.by,
        feedback: match asked.feedback {
            Feedback::ThumbsUp => "thumbs_up".to_owned(),
            Feedback::ThumbsDown => "thumbs_down".to_owned(),
        },
        note: asked.note,
    };
    let data = DataDir::unlocked(&data_dir)?;
    LabelDb::open(&data.labels())?.add(&row)?;
    if context.json {
        output::json(&json!({
            "session": row.session_id, "feedback": row.feedback, "by": row.by, "at_ms": row.at_ms,
        }));
    } else {
        output::line(format!(
            "{}: {}, by {}",
            row.session_id, row.feedback, row.by
        ));
    }
    Ok(Exit::Ok)
}
