//! The end of a service: in order, with every client answered.

use std::io::Read;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Say, Service, heard};
use stoplog_tests::wait_for;

use super::{act, text, world};

#[test]
fn told_to_stop_it_answers_who_is_there_and_ends() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.script(&[&[("keyed", "run")]])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 2, 1_500)?;
    let call = Say::of(&agent).body(json!({"arguments": {"name": "x"}}));
    let mut called = service.send("POST", "/tools/keyed/call", &call)?;
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let run = Say::of(&agent)
        .with("prefer", "respond-async")
        .body(json!({"task": "do it"}));
    let began = service.ask("POST", "/agent/run", &run)?;
    let place = began.headers["location"].clone();
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 2).then_some(())
    })?;
    let mut follows = service.send("GET", &format!("{place}/events"), &Say::of(&agent))?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    service.terminate()?;

    let mut answer = Vec::new();
    called.read_to_end(&mut answer)?;
    let answer = heard(&answer)?;
    ensure!(
        answer.status == 200,
        "the call under way was not answered: {answer:?}"
    );
    let mut told = String::new();
    follows.read_to_string(&mut told)?;
    ensure!(told.contains("run_started"), "{told}");
    let (status, said) = service.ended()?;
    ensure!(status.code() == Some(0), "{status:?}");
    let last: Value = serde_json::from_str(said.lines().last().context("a line")?)?;
    let steps = last["shutdown"].as_array().context("steps")?;
    let names: Vec<&str> = steps.iter().map(|s| text(s, "component")).collect();
    ensure!(
        names
            == [
                "doors",
                "admission",
                "calls",
                "sessions",
                "spans",
                "journal"
            ],
        "{names:?}"
    );
    ensure!(steps.iter().all(|s| s["done"] == true), "{last}");
    ensure!(
        !world.data_dir().join("journal.db-wal").exists(),
        "the WAL was not checkpointed"
    );

    // The run was stopped in order, and the next host ends it.
    let service = Service::start(&world)?;
    wait_for("the run", || {
        let heard = service.ask("GET", &place, &Say::of(&agent)).ok()?;
        (text(&heard.json(), "status") == "ended").then_some(())
    })?;
    ensure!(world.far.acts_done()? == 2);
    Ok(())
}

/// A service without clients ends at once, and what it leaves goes on by command as well.
#[test]
fn what_a_dead_service_left_is_ended_by_command_too() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start_with(&world, &[("STOPLOG_DIE_AT", "request_sent:after:1")])?;
    let asked = act(&service, &agent, "keyed", "x", Some("k"));
    ensure!(asked.is_err(), "{asked:?}");
    drop(service);
    let resumed = world.host(&["resume", "--all"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    let open = world.sql("SELECT session_id FROM sessions WHERE status <> 'ended'")?;
    ensure!(open.is_empty(), "{open:?}");
    let service = Service::start(&world)?;
    let again = act(&service, &agent, "keyed", "x", Some("k"))?;
    ensure!(
        again.status == 200 && again.headers.contains_key("idempotent-replayed"),
        "{again:?}"
    );
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}
