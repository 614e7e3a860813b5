//! `run`, and `resume` of one session.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_journal::{SessionJournal, Store, Which};
use stoplog_model::event::{RunOutcome, SessionStarted};
use stoplog_model::port::Clock;
use stoplog_model::{Reason, SessionId, TraceContext};

use super::{Context, run_report};
use crate::args;
use crate::config::Config;
use crate::error::{CliError, Exit};
use crate::host::{self, Came, Crew, Host, Journal, Left, SystemClock, Told, Voice, Work};
use crate::lock::{self, Lock};
use crate::output;

/// Begins a session.
pub(super) async fn run(context: &Context, args: args::Run) -> Result<Exit, CliError> {
    let config = context.config()?;
    let journal = Journal::for_host(&config, context.watch.clone())?;
    let locked = Lock::load(&config.lock)?;
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
        tools: locked
            .tools
            .iter()
            .map(|tool| lock::pin(&journal.data, tool).map(Arc::new))
            .collect::<Result<_, _>>()?,
        client: None,
    };
    if args.admit {
        return admit(context, &journal, started).await;
    }
    let work = Work::Begin(Box::new(started));
    let begun = Begun {
        work,
        remote: args.traceparent,
        script: args.script.as_deref(),
    };
    drive(context, config, journal, begun).await
}

/// Begins a session durably, and leaves it to a later `resume`. That is its first run, and none
/// after a crash.
async fn admit(
    context: &Context,
    journal: &Journal,
    started: SessionStarted,
) -> Result<Exit, CliError> {
    let (id, tenant) = (started.session.clone(), started.tenant.clone());
    let opening = journal.opening(context.watch.clone());
    let session = SessionJournal::create(opening, started).await?;
    let status = session.read(|s| s.status());
    session.close().await?;
    if context.json {
        output::json(&json!({"session": id, "tenant": tenant, "status": status.as_str()}));
    } else {
        output::line(format!("session    {id}  (tenant {tenant})"));
        output::line(format!("admitted   run it with: stoplog resume {id}"));
    }
    Ok(Exit::Ok)
}

/// Goes on with a session.
pub(super) async fn resume(
    context: &Context,
    id: &SessionId,
    args: &args::Resume,
) -> Result<Exit, CliError> {
    let config = context.config()?;
    let journal = match Journal::for_host(&config, context.watch.clone()) {
        Ok(journal) => journal,
        Err(error) if error.reason == Some(Reason::DataDirLocked) => {
            return Err(who_has_it(&config, id).await.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    let begun = Begun {
        work: Work::GoOn(id.clone()),
        remote: args.traceparent.clone(),
        script: args.script.as_deref(),
    };
    drive(context, config, journal, begun).await
}

/// The session's lease, when another host works in the data directory: the answer to "who?".
async fn who_has_it(config: &Config, id: &SessionId) -> Option<CliError> {
    let store = host::look(&config.data_dir, || config.journal.cipher())
        .await
        .ok()?;
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

/// A session to run, and for whom.
struct Begun<'a> {
    work: Work,
    remote: Option<TraceContext>,
    script: Option<&'a Path>,
}

/// One session on a host of its own, to the end of its run or of the host.
async fn drive(
    context: &Context,
    config: Config,
    journal: Journal,
    begun: Begun<'_>,
) -> Result<Exit, CliError> {
    let Begun {
        work,
        remote,
        script,
    } = begun;
    let grace = config.grace;
    let session = work.session().clone();
    let (watch, shutdown) = (context.watch.clone(), context.shutdown.clone());
    let mut crew = Crew::new(
        Host::new(journal, config, Voice::Configured(script), watch, shutdown)?,
        1,
    );
    crew.begin_for(work, remote);
    let mut result = crew.next().await.map(settled);
    let mut steps = Vec::new();
    let left = crew
        .close(0, grace, &mut |told| match told {
            Told::Came(came) => result = Some(settled(came)),
            Told::Step(step) => steps.push(run_report::step(context.json, &step)),
        })
        .await;
    let shut_down = !steps.is_empty();
    let (mut told, outcome) = match result {
        Some(Err(error)) => return Err(error),
        Some(Ok(Some((told, outcome)))) => (told, Some(outcome)),
        Some(Ok(None)) => (run_report::not_run(&session), None),
        None => (run_report::left(&session), None),
    };
    if shut_down {
        told["shutdown"] = Value::Array(steps);
    }
    match context.json {
        true => output::json(&told),
        false => run_report::print(&told),
    }
    if let Left::Sessions(_) = left {
        run_report::end_process();
    }
    Ok(match outcome {
        _ if shut_down => Exit::Ok,
        Some(RunOutcome::Success) | None => Exit::Ok,
        Some(RunOutcome::Error) => Exit::Failed,
        Some(RunOutcome::Interrupt) => Exit::Waiting,
    })
}

/// What is told of a run, and how it ended; none when there was none. Lets the session go.
type Settled = Result<Option<(Value, RunOutcome)>, CliError>;

fn settled(came: Came) -> Settled {
    let Some(ran) = came.result? else {
        return Ok(None);
    };
    let told = run_report::told(&ran);
    // A session that could not be given back ended all the same, but its end must be looked at.
    if let Some(Err(error)) = ran.given_back {
        return Err(error.into());
    }
    Ok(Some((told, ran.ended.ended.outcome)))
}
