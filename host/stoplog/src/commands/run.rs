//! `run` and `resume`.

use std::sync::Arc;

use serde_json::json;
use stoplog_agent::{Ended, RunSpec};
use stoplog_journal::{SessionJournal, Store, Which, load};
use stoplog_model::event::{Pin, RunOutcome, SessionStarted};
use stoplog_model::port::Clock;
use stoplog_model::session::Status;
use stoplog_model::{Reason, SessionId, UsdMicros};

use super::Context;
use crate::args;
use crate::config::Config;
use crate::error::{CliError, Exit};
use crate::host::{self, Journal, SystemClock};
use crate::lock::{self, Lock};
use crate::output;

/// Begins a session.
pub(super) async fn run(context: &Context, args: args::Run) -> Result<Exit, CliError> {
    let config = context.config()?;
    let journal = Journal::for_host(&config.data_dir)?;
    let locked = Lock::load(&config.lock)?;
    let pins: Vec<Pin> = locked
        .tools
        .iter()
        .map(|tool| lock::pin(&journal.data, tool))
        .collect::<Result<_, _>>()?;
    let id = match args.session {
        Some(id) => id,
        None => SessionId::new(format!("sess_{}", uuid::Uuid::now_v7().simple()))
            .map_err(|e| CliError::internal(e.to_string()))?,
    };
    let started = SessionStarted {
        session: id,
        tenant: args.tenant,
        user: args.user,
        feature: args.feature.unwrap_or_else(|| config.feature.clone()),
        task: args.task,
        system_prompt: config.system_prompt.clone(),
        max_iterations: config.max_iterations,
        tools: pins.clone(),
    };
    let driver = host::driver(config, &journal.data, &pins, args.script.as_deref()).await?;
    let opening = journal.opening(context.watch.clone());
    let session = Arc::new(SessionJournal::create(opening, started).await?);
    drive(context, &driver, session).await
}

/// Goes on with a session.
pub(super) async fn resume(context: &Context, args: args::Resume) -> Result<Exit, CliError> {
    let config = context.config()?;
    let journal = match Journal::for_host(&config.data_dir) {
        Ok(journal) => journal,
        Err(error) if error.reason == Some(Reason::DataDirLocked) => {
            return Err(who_has_it(&config, &args.session).await.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    // The session's own tools: those that it began with, whatever the lock says today.
    let Some((_, known)) = load(&*journal.store, &args.session).await? else {
        let message = format!("there is no session {}", args.session);
        return Err(CliError::new(Reason::SessionNotFound, message));
    };
    if known.status() == Status::Ended {
        let message = format!("session {} has its answer already", args.session);
        return Err(CliError::new(Reason::SessionEnded, message));
    }
    let pins = known.started.tools.clone();
    let driver = host::driver(config, &journal.data, &pins, args.script.as_deref()).await?;
    let session = journal.open(&args.session, context.watch.clone()).await?;
    drive(context, &driver, session).await
}

/// The session's lease, when another host works in the data directory: the answer to "who?".
async fn who_has_it(config: &Config, id: &SessionId) -> Option<CliError> {
    let store = host::look(&config.data_dir).ok()?;
    let row = store.sessions(Which::One(id)).await.ok()?.pop()?;
    let lease = row
        .lease
        .filter(|l| l.expires_at_ms > SystemClock.now_ms())?;
    let message = format!(
        "session {id} is held by {} (epoch {}) until {} at least",
        lease.holder,
        lease.epoch,
        output::time(lease.expires_at_ms)
    );
    Some(CliError::new(Reason::SessionLeased, message))
}

async fn drive(
    context: &Context,
    driver: &stoplog_agent::Driver,
    session: Arc<SessionJournal>,
) -> Result<Exit, CliError> {
    let spec = RunSpec {
        trace_id: host::new_trace_id()?,
        host: host::holder(),
    };
    let ended = driver.run(&session, spec).await;
    let result = ended.map(|ended| report(context, &session, &ended));
    let closed = host::close(session).await;
    // What ended the run says more than what closing it met afterwards.
    let exit = result?;
    closed?;
    Ok(exit)
}

fn report(context: &Context, session: &SessionJournal, ended: &Ended) -> Exit {
    let told = session.read(|s| {
        let run = s.last_run();
        let began = run.map_or(1, |r| r.started.at_iteration);
        let cost = run.map_or(UsdMicros(0), |r| r.cost);
        json!({
            "session": s.started.session,
            "tenant": s.started.tenant,
            "trace_id": run.map(|r| r.started.trace_id.clone()),
            "resumed_from": run.and_then(|r| r.started.resumed_from.clone()),
            "at_iteration": began,
            "after_crash": run.is_some_and(|r| r.started.after_crash),
            "iterations": s.iterations(),
            "status": s.status().as_str(),
            "outcome": ended.ended.outcome,
            "reason": ended.ended.reason.map(|r| r.code()),
            "message": ended.ended.message,
            "answer": ended.ended.answer,
            "approval": ended.approval,
            "cost_usd": cost.to_string(),
        })
    });
    if context.json {
        output::json(&told);
    } else {
        let text = |name: &str| told[name].as_str().unwrap_or("").to_owned();
        output::line(format!(
            "session    {}  (tenant {})",
            text("session"),
            text("tenant")
        ));
        output::line(format!("trace      {}", text("trace_id")));
        if !told["resumed_from"].is_null() {
            let how = if told["after_crash"] == true {
                "after a crash"
            } else {
                "in order"
            };
            output::line(format!(
                "resumed    at iteration {}, {how}, from trace {}",
                told["at_iteration"],
                text("resumed_from")
            ));
        }
        output::line(format!(
            "outcome    {}  (cost {})",
            text("outcome"),
            text("cost_usd")
        ));
        match ended.ended.outcome {
            RunOutcome::Success => output::line(format!("answer     {}", text("answer"))),
            RunOutcome::Error | RunOutcome::Interrupt => {
                output::line(format!(
                    "because    {}: {}",
                    text("reason"),
                    text("message")
                ));
            }
        }
        if let Some(hint) = ended.ended.reason.map(|r| r.hint()) {
            output::line(format!("to do      {hint}"));
        }
    }
    match ended.ended.outcome {
        RunOutcome::Success => Exit::Ok,
        RunOutcome::Error => Exit::Failed,
        RunOutcome::Interrupt => Exit::Waiting,
    }
}
