//! What is told of a run, and of a shutdown: as JSON, and from that for people.

use serde_json::{Value, json};
use stoplog_model::event::RunOutcome;
use stoplog_model::{Reason, SessionId, UsdMicros};

use crate::error::Exit;
use crate::host::{Ran, Step};
use crate::output;

/// A run that is over.
pub(super) fn told(ran: &Ran) -> Value {
    let ended = &ran.ended;
    ran.session.read(|s| {
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
    })
}

/// A session that the shutdown came before.
pub(super) fn not_run(session: &SessionId) -> Value {
    no_outcome(
        session,
        "the host was told to stop before the session was run",
    )
}

/// A session that did not end within the grace.
pub(super) fn left(session: &SessionId) -> Value {
    no_outcome(
        session,
        "a call did not end within the grace: it is in the journal, and a resume recovers it",
    )
}

fn no_outcome(session: &SessionId, message: &str) -> Value {
    let reason = Reason::ShuttingDown.code();
    json!({"session": session, "outcome": null, "reason": reason, "message": message})
}

/// The whole of a run, for people.
pub(super) fn print(told: &Value) {
    let text = |name: &str| told[name].as_str().unwrap_or("").to_owned();
    let tenant = match told["tenant"].as_str() {
        Some(tenant) => format!("  (tenant {tenant})"),
        None => String::new(),
    };
    output::line(format!("session    {}{tenant}", text("session")));
    if !told["trace_id"].is_null() {
        output::line(format!("trace      {}", text("trace_id")));
    }
    if !told["resumed_from"].is_null() {
        let how = match told["after_crash"] == true {
            true => "after a crash",
            false => "in order",
        };
        output::line(format!(
            "resumed    at iteration {}, {how}, from trace {}",
            told["at_iteration"],
            text("resumed_from")
        ));
    }
    if !told["outcome"].is_null() {
        output::line(format!(
            "outcome    {}  (cost {})",
            text("outcome"),
            text("cost_usd")
        ));
    }
    if told["outcome"] == json!(RunOutcome::Success) {
        output::line(format!("answer     {}", text("answer")));
        return;
    }
    output::line(format!(
        "because    {}: {}",
        text("reason"),
        text("message")
    ));
    let reason = Reason::ALL.iter().find(|r| r.code() == text("reason"));
    if let Some(reason) = reason {
        output::line(format!("to do      {}", reason.hint()));
    }
}

/// One step of a shutdown: said at once to people, kept for machines.
pub(super) fn step(as_json: bool, step: &Step) -> Value {
    if !as_json {
        let Step {
            component,
            said,
            ms,
            ..
        } = step;
        output::note(format!("shutdown   {component:<9}  {said}  ({ms} ms)"));
    }
    step.json()
}

/// Ends the process behind an orderly shutdown that left calls under way. Nothing of them is run
/// down: to them it is a kill, which their intents are durable for.
pub(super) fn end_process() -> ! {
    std::process::exit(Exit::Ok as i32)
}
