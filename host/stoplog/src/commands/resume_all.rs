//! `resume --all`: every session that can go on by itself, many at once, on one host.

use std::collections::VecDeque;

use serde_json::{Value, json};
use stoplog_journal::{SessionRow, Store, Which};
use stoplog_model::event::RunOutcome;
use stoplog_model::session::Status;
use stoplog_model::{Reason, SessionId};

use super::{Context, run_report};
use crate::args;
use crate::error::{CliError, Exit};
use crate::host::{Came, Crew, Host, Journal, Left, Told, Voice};
use crate::output;

/// Goes on with all of them.
pub(super) async fn run(context: &Context, args: args::Resume) -> Result<Exit, CliError> {
    let config = context.config()?;
    let grace = config.grace;
    let journal = Journal::for_host(&config, context.watch.clone())?;
    let mut waiting = able_to_go_on(&*journal.store).await?;
    let mut tally = Tally::new(context.json, waiting.len());
    let (watch, shutdown) = (context.watch.clone(), context.shutdown.clone());
    let voice = Voice::Configured(args.script.as_deref());
    let host = Host::new(journal, config, voice, watch, shutdown)?;
    let mut crew = Crew::new(host, usize::from(args.concurrency));
    loop {
        for came in crew.go_on(&mut waiting).await {
            tally.came(came);
        }
        match crew.next().await {
            Some(came) => tally.came(came),
            None => break,
        }
    }
    tally.not_run += waiting.len();
    let left = crew
        .close(waiting.len(), grace, &mut |told| match told {
            Told::Came(came) => tally.came(came),
            Told::Step(step) => tally.steps.push(run_report::step(context.json, &step)),
        })
        .await;
    if let Left::Sessions(left) = left {
        tally.left = left;
    }
    let exit = tally.summary();
    if let Left::Sessions(_) = left {
        run_report::end_process();
    }
    Ok(exit)
}

/// The sessions that can go on by themselves, the one that waits longest first: their run died,
/// was shut down, was never begun, or a person has decided what it waited for.
async fn able_to_go_on(store: &dyn Store) -> Result<VecDeque<SessionRow>, CliError> {
    let rows = store.sessions(Which::Unfinished).await?;
    let is_active = |row: &SessionRow| row.head.status == Status::Active.as_str();
    let active: VecDeque<SessionRow> = rows.into_iter().rev().filter(is_active).collect();
    for row in &active {
        SessionId::new(row.session.as_str())
            .map_err(|e| CliError::new(Reason::JournalCorrupt, e.to_string()))?;
    }
    Ok(active)
}

/// What became of them, counted and told as they end.
struct Tally {
    json: bool,
    sessions: usize,
    ended: usize,
    waiting: usize,
    failed: usize,
    /// Ended in order by the shutdown.
    stopped: usize,
    /// Not ended within the grace.
    left: usize,
    /// Not begun before the shutdown.
    not_run: usize,
    steps: Vec<Value>,
}

impl Tally {
    fn new(json: bool, sessions: usize) -> Tally {
        Tally {
            json,
            sessions,
            ended: 0,
            waiting: 0,
            failed: 0,
            stopped: 0,
            left: 0,
            not_run: 0,
            steps: Vec::new(),
        }
    }

    /// Counts a session, tells of it, and lets it go.
    fn came(&mut self, came: Came) {
        let ran = match came.result {
            Ok(Some(ran)) => ran,
            Ok(None) => {
                self.not_run += 1;
                return self.tell(&run_report::not_run(&came.session));
            }
            Err(error) => return self.failed(&came.session, &error),
        };
        if let Some(Err(error)) = ran.given_back {
            return self.failed(&came.session, &error.into());
        }
        match (ran.ended.ended.outcome, ran.ended.ended.reason) {
            (RunOutcome::Success, _) => self.ended += 1,
            (RunOutcome::Error, _) => self.failed += 1,
            (RunOutcome::Interrupt, Some(Reason::ShuttingDown)) => self.stopped += 1,
            (RunOutcome::Interrupt, _) => self.waiting += 1,
        }
        self.tell(&run_report::told(&ran));
    }

    fn failed(&mut self, session: &SessionId, error: &CliError) {
        self.failed += 1;
        if self.json {
            output::json_line(&json!({"session": session, "error": output::error_json(error)}));
            return;
        }
        let (code, hint) = output::code_and_hint(error);
        output::line(format!("{session}  error[{code}]: {}", error.message));
        if let Some(hint) = hint {
            output::line(format!("  to do: {hint}"));
        }
    }

    fn tell(&self, told: &Value) {
        if self.json {
            return output::json_line(told);
        }
        let text = |name: &str| told[name].as_str().unwrap_or("").to_owned();
        let outcome = told["outcome"].as_str().unwrap_or("not run");
        let more = match outcome == json!(RunOutcome::Success) {
            true => text("answer"),
            false => format!("{}: {}", text("reason"), text("message")),
        };
        output::line(format!("{}  {outcome}  {more}", text("session")));
    }

    /// Prints the counts. The exit code that they stand for.
    fn summary(self) -> Exit {
        let shut_down = !self.steps.is_empty();
        if self.json {
            let mut summary = json!({
                "sessions": self.sessions, "ended": self.ended, "waiting": self.waiting,
                "failed": self.failed, "stopped": self.stopped, "left": self.left,
                "not_run": self.not_run,
            });
            if shut_down {
                summary["shutdown"] = Value::Array(self.steps);
            }
            output::json_line(&json!({"summary": summary}));
        } else {
            let mut line = format!(
                "{} session(s): {} ended, {} waiting for a person, {} failed",
                self.sessions, self.ended, self.waiting, self.failed
            );
            if shut_down {
                line.push_str(&format!(
                    ", {} stopped, {} left, {} not run",
                    self.stopped, self.left, self.not_run
                ));
            }
            output::line(line);
        }
        match (self.failed, self.waiting) {
            _ if shut_down => Exit::Ok,
            (1.., _) => Exit::Failed,
            (0, 1..) => Exit::Waiting,
            (0, 0) => Exit::Ok,
        }
    }
}
