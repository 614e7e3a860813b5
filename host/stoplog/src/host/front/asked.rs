//! Questions about spans over HTTP: the words of `stoplog traces` and `stoplog cost`, about one tenant.
//!
//! Invariant: the tenant is the caller's, whatever the question says: it may not name one.

use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use stoplog_model::Reason;
use stoplog_model::port::Clock;
use stoplog_query::cost;
use stoplog_query::question::{Dimension, Filter};
use stoplog_query::table::Table;
use stoplog_serve::{Caller, Question, Refusal};
use stoplog_store::TraceDb;
use stoplog_telemetry::{AnswerBounds, Ask, Cell};

use super::{Front, refusal};
use crate::args::{Args, Command};
use crate::commands::{ask, traces};
use crate::error::CliError;
use crate::host::SystemClock;

/// What the command has, and a client has not: whose data it is, where it is, and how it is printed.
const NOT_ASKED: [&str; 8] = [
    "tenant",
    "config",
    "data-dir",
    "json",
    "csv",
    "as-sql",
    "log-level",
    "log-format",
];

/// How long an answer may take, while a client waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl Front {
    /// Answers from what was projected so far: a span is there a moment after its event.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        about: Question,
        words: &[(String, String)],
    ) -> Result<Value, Refusal> {
        let command = parse(about, words).map_err(refusal)?;
        let answered = self.answered(caller, command).await;
        answered.map_err(refusal)
    }

    async fn answered(&self, caller: &Caller, command: Command) -> Result<Value, CliError> {
        let traces = self.trace_store().await?;
        let own = (Dimension::Tenant, vec![Cell::from(caller.tenant.as_str())]);
        let bounds = AnswerBounds {
            time: ANSWER_WITHIN,
            ..AnswerBounds::default()
        };
        let now_ms = SystemClock.now_ms();
        match command {
            Command::Traces(asked) => {
                let asked = asked.listed;
                let mut filter = ask::filter(&asked.which, now_ms)?;
                filter.kind = asked.kind.map(|k| k.0);
                filter.among.push(own);
                let statement = traces::question(&filter, &asked)?;
                let answer = traces.ask(statement.0, bounds).await?;
                let (columns, rows) = (statement.1, answer.rows);
                let mut table = Table { columns, rows };
                let is_cut = table.rows.len() > asked.limit;
                table.rows.truncate(asked.limit);
                Ok(json!({"rows": table.to_json(), "has_more": is_cut}))
            }
            Command::Cost(asked) => {
                let (since_ms, until_ms) = ask::window(asked.since, asked.until, now_ms)?;
                let mut filter = Filter {
                    since_ms,
                    until_ms,
                    kind: None,
                    among: vec![own],
                };
                ask::among(&mut filter, Dimension::Feature, &asked.feature);
                ask::among(&mut filter, Dimension::User, &asked.user);
                let mut by: Vec<Dimension> = asked.by.iter().map(|b| b.0).collect();
                let mut seen = Vec::new();
                by.retain(|d| {
                    !seen.contains(d) && {
                        seen.push(*d);
                        true
                    }
                });
                let answer = traces.ask(cost::statement(&filter, &by), bounds).await?;
                if answer.is_cut {
                    let message = format!("more than {} rows", answer.rows.len());
                    return Err(CliError::new(Reason::QuestionTooLarge, message));
                }
                Ok(json!({"rows": cost::table(&by, answer).to_json()}))
            }
            _ => Err(CliError::internal("no question")),
        }
    }

    /// The trace store, opened when it is asked for first.
    async fn trace_store(&self) -> Result<&TraceDb, CliError> {
        let open = || async { Ok(TraceDb::open(&self.host.journal.data.traces())?) };
        self.traces.get_or_try_init(open).await
    }
}

/// A query as the command that it stands for.
fn parse(about: Question, words: &[(String, String)]) -> Result<Command, CliError> {
    let invalid = |why: String| CliError::new(Reason::QuestionInvalid, why);
    let command = match about {
        Question::Traces => "traces",
        Question::Cost => "cost",
    };
    let mut line = vec!["stoplog".to_owned(), command.to_owned()];
    for (name, value) in words {
        let word = name.replace('_', "-");
        let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        if !is_word || NOT_ASKED.contains(&word.as_str()) {
            return Err(invalid(format!("`{name}` is not asked here")));
        }
        line.push(format!("--{word}={value}"));
    }
    let args = Args::try_parse_from(line).map_err(|e| {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default();
        invalid(first.trim_start_matches("error: ").to_owned())
    })?;
    Ok(args.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(about: Question, words: &[(&str, &str)]) -> Option<String> {
        let words = words
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        parse(about, &words.collect::<Vec<_>>())
            .err()
            .map(|e| e.message)
    }

    #[test]
    fn a_question_has_the_command_s_words_and_never_names_whose_data_it_is() {
        assert_eq!(
            why(
                Question::Traces,
                &[("since", "24h"), ("group_by", "model_version")]
            ),
            None
        );
        assert_eq!(
            why(Question::Cost, &[("by", "feature,day"), ("since", "7d")]),
            None
        );
        for name in [
            "tenant",
            "data_dir",
            "config",
            "csv",
            "as_sql",
            "log_level",
            "-",
            "A",
            "tenant=x --since",
        ] {
            let said = why(Question::Traces, &[(name, "initech")]).unwrap_or_default();
            assert!(said.contains("not asked here"), "{name}: {said}");
        }
        for (name, value) in [
            ("since", "soon"),
            ("limit", "0"),
            ("nothing", "x"),
            ("help", "x"),
        ] {
            assert!(
                why(Question::Traces, &[(name, value)]).is_some(),
                "{name}={value}"
            );
        }
    }
}
