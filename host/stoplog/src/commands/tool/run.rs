//! `tool run`: one call by hand, the way that every call goes: judged, journalled, keyed, and
//! recovered if the host dies. Another `tool run --session ID` goes on with it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_llm::OneCall;
use stoplog_model::event::{CallResult, SessionStarted, Verdict};
use stoplog_model::{Aftermath, ApprovalId, Digest, Position, Reason, SessionId, ToolError};
use stoplog_policy::readable::make_readable;

use super::super::{approvals, run_report};
use super::{Context, quoted};
use crate::args::RunTool;
use crate::config::Config;
use crate::error::{CliError, Exit};
use crate::host::{Came, Crew, Host, Journal, Left, Ran, Told, Voice, Work};
use crate::lock::{self, Lock, Locked};
use crate::output;
use crate::project::Project;

/// Who talks, in spans and cost.
const USER: &str = "author";
/// Where the call stands in its session.
const CALL: Position = Position {
    iteration: 1,
    ordinal: 0,
};

pub(super) async fn run(context: &Context, args: RunTool) -> Result<Exit, CliError> {
    let config = configuration(context)?;
    let lock = Lock::load(&config.lock)?;
    let name = args.name.as_str();
    let locked = lock.get(name).ok_or_else(|| not_added(&config, name))?;
    tell_of_another_build(locked);
    let journal = Journal::for_host(&config, context.watch.clone())?;
    let work = work(&config, &journal, locked, &args)?;
    let session = work.session().clone();
    let mut ended = drive(context, config, journal, work).await?;
    if let (Some(who), Some(waits)) = (&args.approve_as, &ended.waits) {
        output::note(format!("preview    {}", make_readable(&waits.preview)));
        let note = "tool run --approve-as".to_owned();
        approvals::settle(context, &waits.id, Verdict::Approved, who.clone(), note).await?;
        output::note(format!("approved   by {who}"));
        let config = configuration(context)?;
        let journal = Journal::for_host(&config, context.watch.clone())?;
        ended = drive(context, config, journal, Work::GoOn(session)).await?;
    }
    Ok(tell(context, name, &ended))
}

/// The configuration, or the command that makes one.
fn configuration(context: &Context) -> Result<Config, CliError> {
    context.config().map_err(|error| match error.reason {
        Some(Reason::ConfigNotFound) => CliError {
            message: format!(
                "{}\n  `stoplog tool add`, in the folder of a tool, makes one; or name one with --config",
                error.message
            ),
            ..error
        },
        _ => error,
    })
}

/// Says which command is missing.
fn not_added(config: &Config, name: &str) -> CliError {
    let lock = config.lock.display();
    let message = match Project::find(Path::new("")) {
        Ok(Some(project)) if project.name == name && !project.component.exists() => {
            format!(
                "`{name}` is not in {lock}, and not built: `stoplog tool build`, then `stoplog tool add`"
            )
        }
        Ok(Some(project)) if project.name == name => {
            format!("`{name}` is built, and not in {lock}: `stoplog tool add`")
        }
        _ => format!("`{name}` is not in {lock}: `stoplog tool add FILE`"),
    };
    CliError::new(Reason::ToolNotAdded, message)
}

/// An author who has built anew should know that the lock still has the old component.
fn tell_of_another_build(locked: &Locked) {
    let Ok(Some(project)) = Project::find(Path::new("")) else {
        return;
    };
    let built = std::fs::read(&project.component).map(|bytes| Digest::of(&bytes));
    if project.name == locked.name && built.is_ok_and(|built| built != locked.component) {
        output::note(
            "note: this is the component in the lock, and the folder has another one: \
             `stoplog tool add` shows what changed",
        );
    }
}

fn work(
    config: &Config,
    journal: &Journal,
    locked: &Locked,
    args: &RunTool,
) -> Result<Work, CliError> {
    let Some(input) = &args.input else {
        // clap asks for one of the two.
        let session = args.session.clone();
        return session
            .map(Work::GoOn)
            .ok_or_else(|| CliError::internal("neither an input nor a session"));
    };
    let input: Value = serde_json::from_str(input).map_err(|e| {
        let message = format!("the input is not JSON: {e}");
        CliError::new(Reason::InputSchema, message)
    })?;
    let session = match &args.session {
        Some(id) => id.clone(),
        None => SessionId::new(format!("tool_{}", uuid::Uuid::now_v7().simple()))
            .map_err(|e| CliError::internal(e.to_string()))?,
    };
    Ok(Work::Begin(Box::new(SessionStarted {
        session,
        tenant: args.tenant.clone(),
        user: USER.into(),
        feature: config.feature.clone(),
        task: OneCall::task(&locked.name, &input),
        system_prompt: String::new(),
        max_iterations: config.max_iterations,
        tools: vec![Arc::new(lock::pin(&journal.data, locked)?)],
        client: None,
    })))
}

/// A call that waits for an approval.
struct Waits {
    id: ApprovalId,
    preview: String,
}

/// What became of the call.
struct Ended {
    session: SessionId,
    result: Option<CallResult>,
    disposition: &'static str,
    latency_ms: u64,
    effects: usize,
    /// What the tool wrote, and what the host noted of it.
    log: String,
    waits: Option<Waits>,
    parked: Option<(Reason, String)>,
    /// How the run ended, where the call says nothing.
    said: String,
}

impl Ended {
    fn of(ran: &Ran) -> Ended {
        ran.session.read(|s| {
            let call = s.call(CALL);
            let observed = call.and_then(|c| c.observed.as_ref());
            let asked = ran.ended.approval.as_ref();
            let waits = asked.and_then(|id| s.approval(id)).map(|(_, state)| Waits {
                id: state.approval.id.clone(),
                preview: state.approval.preview.clone(),
            });
            let parked = call.and_then(|c| c.parked.as_ref());
            Ended {
                session: s.started.session.clone(),
                result: observed.map(|o| o.result.clone()),
                disposition: observed.map_or("", |o| o.disposition.as_str()),
                latency_ms: observed.map_or(0, |o| o.latency_ms),
                effects: call.map_or(0, |c| c.effects.len()),
                log: observed.map_or(String::new(), |o| o.log.clone()),
                waits,
                parked: parked.map(|p| (p.reason, p.detail.clone())),
                said: ran.ended.ended.message.clone(),
            }
        })
    }
}

/// Takes the session as far as it gets, on a host of its own.
async fn drive(
    context: &Context,
    config: Config,
    journal: Journal,
    work: Work,
) -> Result<Ended, CliError> {
    let (grace, session) = (config.grace, work.session().clone());
    let (watch, shutdown) = (context.watch.clone(), context.shutdown.clone());
    let voice = Voice::Given(Arc::new(OneCall));
    let mut crew = Crew::new(Host::new(journal, config, voice, watch, shutdown)?, 1);
    crew.begin(work);
    let mut ended = crew.next().await.map(settled);
    let left = crew
        .close(0, grace, &mut |told| match told {
            Told::Came(came) => ended = Some(settled(came)),
            Told::Step(step) => {
                run_report::step(context.json, &step);
            }
        })
        .await;
    if let Left::Sessions(_) = left {
        run_report::end_process();
    }
    match ended {
        Some(result) => result,
        None => Err(stopped(&session)),
    }
}

fn settled(came: Came) -> Result<Ended, CliError> {
    let Some(ran) = came.result? else {
        return Err(stopped(&came.session));
    };
    let ended = Ended::of(&ran);
    match ran.given_back {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(ended),
    }
}

fn stopped(session: &SessionId) -> CliError {
    let message = format!("the host was told to stop before session {session} had ended");
    CliError::new(Reason::ShuttingDown, message)
}

/// Prints what became of it.
fn tell(context: &Context, tool: &str, ended: &Ended) -> Exit {
    let session = &ended.session;
    let go_on = format!("stoplog tool run {tool} --session {session}");
    let next = match (&ended.waits, &ended.parked) {
        (Some(waits), _) => {
            let approve = format!("stoplog approvals approve {} --by YOU", waits.id);
            vec![approve, go_on]
        }
        (None, Some(_)) => {
            let id = quoted(&format!("{session}/{CALL}"));
            let show = format!("stoplog parked show {id}");
            vec![
                show,
                format!("stoplog parked resolve {id} --as done|not-done|abandon --by YOU"),
            ]
        }
        (None, None) => vec![format!("stoplog trace show {session}")],
    };
    if context.json {
        output::json(&told(tool, ended, &next));
    } else {
        for line in ended.log.lines() {
            output::note(format!("log: {}", make_readable(line)));
        }
    }
    match (&ended.result, &ended.waits, &ended.parked) {
        (Some(CallResult::Ok(output)), _, _) => {
            if !context.json {
                output::json(output);
                output::note(format!(
                    "{} in {} ms, {} effect(s); look at it: {}",
                    ended.disposition, ended.latency_ms, ended.effects, next[0]
                ));
            }
            Exit::Ok
        }
        (Some(CallResult::Err(error)), _, _) => {
            if !context.json {
                failed(error);
                output::note(format!("look at it: {}", next[0]));
            }
            Exit::Failed
        }
        (None, waits, parked) => {
            if !context.json {
                if let Some(waits) = waits {
                    output::line(format!("waits for a person: {}", waits.preview));
                } else if let Some((reason, detail)) = parked {
                    output::line(format!("parked, {}: {detail}", reason.code()));
                } else {
                    output::line(format!("not done: {}", ended.said));
                }
                for command in &next {
                    output::line(format!("next: {command}"));
                }
            }
            match waits.is_some() || parked.is_some() {
                true => Exit::Waiting,
                false => Exit::Failed,
            }
        }
    }
}

fn failed(error: &ToolError) {
    let code = match error.reason {
        Some(reason) => reason.code(),
        None => error.code.as_str(),
    };
    output::note(format!("error[{code}]: {}", make_readable(&error.message)));
    let hint = error.hint.as_deref();
    if let Some(hint) = hint.or_else(|| error.reason.map(Reason::hint)) {
        output::note(format!("  to do: {}", make_readable(hint)));
    }
    let changed = match error.aftermath {
        Aftermath::Untouched => "nothing",
        Aftermath::Changed => "something",
        Aftermath::Unknown => "nobody knows",
    };
    output::note(format!("  changed outside: {changed}"));
}

fn told(tool: &str, ended: &Ended, next: &[String]) -> Value {
    let (output, error) = match &ended.result {
        Some(CallResult::Ok(output)) => (output.clone(), Value::Null),
        Some(CallResult::Err(error)) => (Value::Null, json!(error)),
        None => (Value::Null, Value::Null),
    };
    json!({
        "tool": tool,
        "session": ended.session,
        "disposition": ended.disposition,
        "output": output,
        "error": error,
        "approval": ended.waits.as_ref().map(|w| &w.id),
        "preview": ended.waits.as_ref().map(|w| &w.preview),
        "parked": ended.parked.as_ref().map(|(reason, _)| reason.code()),
        "effects": ended.effects,
        "latency_ms": ended.latency_ms,
        "log": ended.log,
        "next": next,
    })
}
