//! Kill -9 around a request to the model: before it leaves, while it is under way, between the answer
//! and its turn, and behind the turn.
//!
//! Invariants: a turn that is durable is paid once and never asked for again; what was asked and never
//! answered is on record, with what it may have cost, in the run that asked; the write is done once.

use anyhow::ensure;
use stoplog_model::event::Event;
use stoplog_tests::{World, wait_for};

use crate::provider::{Meets, Provider};
use crate::scene::{configure, costs, count, journal, model, read_and_write, spans, world};

fn finishes(world: &World) -> anyhow::Result<()> {
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    ensure!(
        world.far.acts_done()? == 1,
        "done {}",
        world.far.acts_done()?
    );
    let (of_journal, of_spans) = costs(world)?;
    ensure!(
        of_journal == of_spans,
        "{of_journal} in the journal, {of_spans} in spans"
    );
    Ok(())
}

/// The host is killed from outside while half of a stream is there. The record says that it asked,
/// and what that may have cost; the text that had come is nowhere, and the whole request is made anew.
#[test]
fn killed_while_the_model_is_asked() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(read_and_write(), &[Meets::Well, Meets::Held])?;
    configure(&world, &model(provider.address, ""))?;
    let mut host = world.command(&World::run_args()).spawn()?;
    wait_for("the request on record", || {
        let (events, _) = journal(&world).ok()?;
        (count(&events, "model_asked") == 2).then_some(())
    })?;
    host.kill()?;
    host.wait()?;
    let (events, session) = journal(&world)?;
    ensure!(count(&events, "turn_taken") == 1, "half a turn was taken");
    let asked = session.unanswered();
    ensure!(asked.len() == 1 && asked[0].iteration == 2, "{asked:?}");
    ensure!(
        asked[0].cost.0 > 0 && asked[0].input_tokens > 0,
        "{asked:?}"
    );

    finishes(&world)?;
    provider.release();
    ensure!(provider.asked() == [1, 2, 1], "{:?}", provider.asked());
    let bodies = provider.bodies();
    ensure!(bodies[1] == bodies[2], "the same prompt, and no other");
    let (_, session) = journal(&world)?;
    let first = &session.runs[0];
    let turn = session.turns[0].turn.cost;
    ensure!(first.cost.0 == turn.0 + asked[0].cost.0, "{first:?}");
    ensure!(session.spent().requests == 4, "{:?}", session.spent());
    let gave_up = spans(&world, "retry")?;
    ensure!(gave_up.len() == 1, "{gave_up:?}");
    ensure!(
        gave_up[0]["cost_usd_micros"] == asked[0].cost.0,
        "{gave_up:?}"
    );
    ensure!(
        gave_up[0]["trace_id"] == first.started.trace_id.as_str(),
        "{gave_up:?}"
    );
    Ok(())
}

/// Between the answer and its turn: the answer is lost, which was paid for, and is on record as asked.
#[test]
fn killed_between_the_answer_and_its_turn() -> anyhow::Result<()> {
    let world = world()?;
    // Long enough for the request to be on disk.
    let provider = Provider::start(read_and_write(), &[Meets::Slow(400)])?;
    configure(&world, &model(provider.address, ""))?;
    world.host_dies(&World::run_args(), "turn_taken:before:1")?;
    let (events, session) = journal(&world)?;
    ensure!(count(&events, "turn_taken") == 0);
    ensure!(session.unanswered().len() == 1, "{events:?}");
    finishes(&world)?;
    ensure!(provider.asked() == [2, 1, 1], "{:?}", provider.asked());
    let (_, session) = journal(&world)?;
    ensure!(session.runs[0].cost.0 > 0, "{:?}", session.runs[0]);
    Ok(())
}

/// Before the request leaves, and when it is handed to the journal: nothing was sent.
#[test]
fn killed_before_the_request_leaves() -> anyhow::Result<()> {
    for at in ["model_asked:before:1", "model_asked:after:1"] {
        let world = world()?;
        let provider = Provider::start(read_and_write(), &[])?;
        configure(&world, &model(provider.address, ""))?;
        world.host_dies(&World::run_args(), at)?;
        ensure!(provider.asked().is_empty(), "{at}: {:?}", provider.asked());
        finishes(&world)?;
        ensure!(
            provider.asked() == [1, 1, 1],
            "{at}: {:?}",
            provider.asked()
        );
    }
    Ok(())
}

/// A turn that is durable is not paid for again, wherever the host dies behind it.
#[test]
fn a_turn_that_is_there_is_paid_once() -> anyhow::Result<()> {
    for at in [
        "observation_durable:after:1",
        "intent_durable:after:1",
        "request_sent:after:1",
        "observation_durable:after:2",
    ] {
        let world = world()?;
        let provider = Provider::start(read_and_write(), &[])?;
        configure(&world, &model(provider.address, ""))?;
        world.host_dies(&World::run_args(), at)?;
        finishes(&world)?;
        ensure!(
            provider.asked() == [1, 1, 1],
            "{at}: {:?}",
            provider.asked()
        );
        let (events, session) = journal(&world)?;
        ensure!(count(&events, "turn_taken") == 3, "{at}");
        let turns: u64 = session.turns.iter().map(|t| t.turn.cost.0).sum();
        ensure!(costs(&world)?.0 == turns, "{at}: nothing else was paid");
    }
    Ok(())
}

/// A failure that was known when the host died is not an estimate: it is in the next request's event.
#[test]
fn what_failed_before_the_kill_is_told_as_it_failed() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(
        read_and_write(),
        &[Meets::Refused(502), Meets::Half, Meets::Held],
    )?;
    configure(&world, &model(provider.address, ""))?;
    let mut host = world.command(&World::run_args()).spawn()?;
    wait_for("the third request on record", || {
        let (events, _) = journal(&world).ok()?;
        (count(&events, "model_asked") == 3).then_some(())
    })?;
    host.kill()?;
    host.wait()?;
    let (events, session) = journal(&world)?;
    let after: Vec<(u64, bool)> = events
        .iter()
        .filter_map(|e| match e {
            Event::ModelAsked(asked) => asked.after.as_ref(),
            _ => None,
        })
        .map(|f| (f.cost.0, f.cost_is_estimated))
        .collect();
    ensure!(after.len() == 2 && after[0] == (0, false), "{after:?}");
    ensure!(
        after[1].0 > 0 && after[1].1,
        "a broken stream was paid: {after:?}"
    );
    let last = session.unanswered().last().map_or(0, |a| a.cost.0);
    finishes(&world)?;
    provider.release();
    let (_, session) = journal(&world)?;
    ensure!(
        session.runs[0].cost.0 == after[1].0 + last,
        "{:?}",
        session.runs[0]
    );
    Ok(())
}

/// Told to stop while the model is asked: the run ends in order, and the request is on record.
#[test]
fn told_to_stop_while_the_model_is_asked() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(read_and_write(), &[Meets::Held])?;
    configure(&world, &model(provider.address, ""))?;
    let host = world.command(&World::run_args()).spawn()?;
    wait_for("the request on record", || {
        let (events, _) = journal(&world).ok()?;
        (count(&events, "model_asked") == 1).then_some(())
    })?;
    let kill = format!("kill -TERM {}", host.id());
    ensure!(
        std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()?
            .success()
    );
    let said = stoplog_tests::said(host.wait_with_output()?)?;
    ensure!(said.code == Some(0), "{said:?}");
    let (_, session) = journal(&world)?;
    ensure!(session.runs[0].ended.is_some(), "in order");
    ensure!(session.runs[0].cost.0 > 0, "{:?}", session.runs[0]);
    finishes(&world)?;
    provider.release();
    Ok(())
}
