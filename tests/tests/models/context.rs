//! A long session and a small window: what the provider is shown, and that a resumed run shows the
//! same.

use anyhow::ensure;
use serde_json::Value;
use stoplog_model::event::{ContextTrimmed, Event, TrimCause};
use stoplog_tests::{World, wait_for};

use crate::provider::{Meets, Plan, Provider};
use crate::scene::{configure, count, journal, model, world};

/// Reads that say a lot, a write early on, and an answer.
fn long() -> Plan {
    let mut turns = vec![vec![("keyed", "x")]];
    turns.extend((0..7).map(|_| vec![("lookup", "x"), ("lookup", "y")]));
    Plan {
        turns,
        text_chars: 900,
    }
}

const SMALL: &str = "context_window_tokens = 2000\nmax_tokens = 400";

fn trims(events: &[Event]) -> Vec<ContextTrimmed> {
    let trims = events.iter().filter_map(|e| match e {
        Event::ContextTrimmed(trim) => Some(trim.clone()),
        _ => None,
    });
    trims.collect()
}

/// System prompt and task in front, the newest turns whole at the end, no result without its call.
fn check_shown(body: &Value) -> anyhow::Result<()> {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    ensure!(
        messages[0]["content"] == "Test." && messages[1]["content"] == "do it",
        "{body}"
    );
    let mut called = Vec::new();
    for message in &messages {
        let calls = message["tool_calls"].as_array();
        called.extend(calls.into_iter().flatten().map(|c| c["id"].clone()));
        if message["role"] == "tool" {
            let id = &message["tool_call_id"];
            ensure!(called.contains(id), "a result without its call: {body}");
        }
    }
    Ok(())
}

#[test]
fn a_small_window_is_kept_by_leaving_out_what_is_old_and_saying_so() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(long(), &[])?;
    configure(&world, &model(provider.address, SMALL))?;
    let ended = world.host(&World::run_args())?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let (events, session) = journal(&world)?;
    let trims = trims(&events);
    ensure!(
        !trims.is_empty() && trims.iter().all(|t| t.cause == TrimCause::Share),
        "{trims:?}"
    );
    ensure!(session.trims == trims);
    for body in provider.bodies() {
        check_shown(&body)?;
    }
    let last = provider.bodies().pop().unwrap_or_default();
    let note = last["messages"][2]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // What was done is not forgotten with the turn that did it.
    ensure!(
        note.contains("1.0 keyed: done, under the key act_x"),
        "{note}"
    );
    let turns = session.turns.iter().map(|t| t.turn.input_tokens);
    let most = turns.max().unwrap_or(0);
    ensure!(most <= 1600, "a prompt of {most} tokens");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

/// Killed while it is asked behind a trim, the next run builds the same prompt, byte by byte.
#[test]
fn a_resumed_run_builds_the_same_prompt() -> anyhow::Result<()> {
    let world = world()?;
    let held = [&[Meets::Well; 6][..], &[Meets::Held]].concat();
    let provider = Provider::start(long(), &held)?;
    configure(&world, &model(provider.address, SMALL))?;
    let mut host = world.command(&World::run_args()).spawn()?;
    wait_for("the seventh request on record", || {
        let (events, _) = journal(&world).ok()?;
        (count(&events, "model_asked") == 7).then_some(())
    })?;
    host.kill()?;
    host.wait()?;
    let (events, _) = journal(&world)?;
    let before = trims(&events);
    ensure!(
        !before.is_empty(),
        "nothing was left out yet: this shows nothing"
    );
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    provider.release();
    let bodies = provider.bodies();
    ensure!(bodies[6] == bodies[7], "{}\n{}", bodies[6], bodies[7]);
    let (events, _) = journal(&world)?;
    ensure!(trims(&events)[..before.len()] == before[..]);
    Ok(())
}

/// The provider counts otherwise, and refuses: one trim, one repeat; and then the run ends.
#[test]
fn a_refused_prompt_is_made_shorter_once() -> anyhow::Result<()> {
    for (refusals, code) in [(1, 0), (2, 1)] {
        let world = world()?;
        let schedule = [&[Meets::Well; 5][..], &[Meets::TooLong; 2][..refusals]].concat();
        let provider = Provider::start(long(), &schedule)?;
        let large = "context_window_tokens = 100000\nmax_tokens = 400";
        configure(&world, &model(provider.address, large))?;
        let ended = world.host(&World::run_args())?;
        ensure!(ended.code == Some(code), "{refusals} refusals: {ended:?}");
        let (events, _) = journal(&world)?;
        let trims = trims(&events);
        ensure!(
            trims.len() == 1 && trims[0].cause == TrimCause::Refused,
            "{trims:?}"
        );
        ensure!(count(&events, "model_failed") == refusals);
        let bodies = provider.bodies();
        let length = |i: usize| bodies[i]["messages"].to_string().len();
        ensure!(length(6) < length(5), "{} and {}", length(6), length(5));
        if code == 1 {
            ensure!(ended.json["reason"] == "model_unavailable", "{ended:?}");
            ensure!(bodies.len() == 7, "{} requests", bodies.len());
        }
    }
    Ok(())
}
