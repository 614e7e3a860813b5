//! A host with front doors, from its first session to its orderly end.
//!
//! Invariants:
//! * what an earlier host left is gone on with, whether or not a client asks for it;
//! * a session that a person has decided on goes on within a second, whoever wrote the decision:
//!   the doors say so at once, and the journal is looked at besides;
//! * a session that cannot go on is not tried again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stoplog_journal::{Which, load};
use stoplog_model::SessionId;
use stoplog_model::port::Clock;
use stoplog_model::session::Status;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Context, run_report};
use crate::config::{Config, ModelConfig};
use crate::error::{CliError, Exit};
use crate::host::{
    CLIENT_SESSION, Came, Crew, Doors, Front, Host, Journal, Left, Line, Plan, Serving,
    SystemClock, Told, Voice, Work,
};
use crate::lock::{self, Lock};
use crate::output;

/// Pause between two looks at the journal for sessions that can go on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a session that failed is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What opens the doors.
pub(crate) type Open = Box<dyn FnOnce(Arc<dyn stoplog_serve::Host>) -> JoinHandle<()> + Send>;

/// Runs the host until it is told to stop.
pub(crate) async fn run(
    context: &Context,
    config: Config,
    voice: Voice<'_>,
    open: Open,
) -> Result<Exit, CliError> {
    let grace = config.grace;
    let room = config.serve.runs_at_work;
    let journal = Journal::for_host(&config, context.watch.clone())?;
    let plan = plan(&config, &journal)?;
    let (watch, shutdown) = (context.watch.clone(), context.shutdown.clone());
    let host = Host::new(journal, config, voice, watch, shutdown)?;
    let mut crew = Crew::new(host, room);
    let (line, in_line) = Line::new();
    let front = Arc::new(Front::new(crew.host(), plan, line).await?);
    take_up(&crew.host(), &front).await?;
    let task = open(Arc::new(Doors(front.clone())));
    crew.serve(Serving {
        front: front.clone(),
        task,
    });
    let unbegun = work(context, &mut crew, &front, in_line).await?;
    drop(front);
    let mut steps = Vec::new();
    let left = crew
        .close(unbegun, grace, &mut |told| match told {
            Told::Came(_) => {}
            Told::Step(step) => steps.push(run_report::step(context.json, &step)),
        })
        .await;
    if context.json && !context.quiet_stdout {
        output::json_line(&json!({"shutdown": Value::Array(steps)}));
    }
    if let Left::Sessions(_) = left {
        run_report::end_process();
    }
    Ok(Exit::Ok)
}

fn plan(config: &Config, journal: &Journal) -> Result<Plan, CliError> {
    let locked = Lock::load(&config.lock)?;
    let pins = locked
        .tools
        .iter()
        .map(|tool| lock::pin(&journal.data, tool).map(Arc::new));
    let limits = &config.serve.limits;
    Ok(Plan {
        pins: pins.collect::<Result<_, _>>()?,
        feature: config.feature.clone(),
        system_prompt: config.system_prompt.clone(),
        max_iterations: config.max_iterations,
        runs: limits.at_work + limits.waiting,
        runs_at_work: config.serve.runs_at_work,
        metrics: config.metrics.clone(),
        model: match &config.model {
            ModelConfig::Scripted { .. } => "scripted".to_owned(),
            ModelConfig::Chain(chain) => {
                let armed = chain.fallbacks.iter().filter(|f| f.armed);
                let names: Vec<&str> = std::iter::once(chain.first.model.as_str())
                    .chain(armed.map(|f| f.name.as_str()))
                    .collect();
                format!("{}; the last run could ask it", names.join(", else "))
            }
        },
    })
}

/// Calls of clients that an earlier host has left.
async fn take_up(host: &Host, front: &Front) -> Result<(), CliError> {
    for row in host.store().sessions(Which::Unfinished).await? {
        if !row.session.starts_with(CLIENT_SESSION) {
            continue;
        }
        let Ok(id) = SessionId::new(row.session) else {
            continue;
        };
        if let Some((_, session)) = load(host.store(), &id).await? {
            front.take_up(&session);
        }
    }
    Ok(())
}

/// Puts sessions to work until the shutdown is asked for. How many were not begun.
async fn work(
    context: &Context,
    crew: &mut Crew,
    front: &Front,
    mut in_line: mpsc::Receiver<SessionId>,
) -> Result<usize, CliError> {
    let host = crew.host();
    let mut failed: HashMap<SessionId, Instant> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => break,
            Some(id) = in_line.recv(), if crew.has_room() => begin(crew, &host, id),
            came = crew.next(), if !crew.is_idle() => {
                if let Some(came) = came {
                    settle(front, came, &mut failed);
                }
            }
            _ = looks.tick() => {
                failed.retain(|_, at| at.elapsed() < AGAIN_AFTER);
                for id in able_to_go_on(&host).await? {
                    if crew.has_room() && !failed.contains_key(&id) {
                        begin(crew, &host, id);
                    }
                }
            }
        }
    }
    Ok(in_line.len())
}

fn begin(crew: &mut Crew, host: &Host, id: SessionId) {
    if !crew.has(&id) && !host.is_at_work_on(&id) {
        crew.begin(Work::GoOn(id));
    }
}

/// Notes how a run ended. What can be said of it is in the journal.
fn settle(front: &Front, came: Came, failed: &mut HashMap<SessionId, Instant>) {
    let now_ms = SystemClock.now_ms();
    match &came.result {
        Ok(Some(ran)) => front.came(&came.session, ran.ended.ended.reason, now_ms),
        Ok(None) => front.came(&came.session, None, now_ms),
        Err(error) => {
            front.came(&came.session, error.reason, now_ms);
            if error.reason != Some(stoplog_model::Reason::SessionEnded) {
                output::note(format!("session {}: {}", came.session, error.message));
                failed.insert(came.session, Instant::now());
            }
        }
    }
}

/// The sessions that can go on by themselves, the one that waits longest first.
async fn able_to_go_on(host: &Host) -> Result<Vec<SessionId>, CliError> {
    let rows = host.store().sessions(Which::Unfinished).await?;
    let active = rows
        .into_iter()
        .rev()
        .filter(|row| row.head.status == Status::Active.as_str());
    Ok(active
        .filter_map(|row| SessionId::new(row.session).ok())
        .collect())
}
