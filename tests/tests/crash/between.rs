//! Kills between the parts of a thing: effect and answer, two effects of one call, two reads of a
//! turn, an effect and its undo. And what recovery may not guess.

use anyhow::{Context, ensure};
use stoplog_tests::{World, bins, wait_for};

use super::cell::check_spans;

/// A world in which `tool` is called in iteration 2, behind a read in iteration 1.
fn world(tool: &str) -> anyhow::Result<World> {
    let world = World::new(bins!(), &["lookup", tool])?;
    world.script(&[&[("lookup", "x")], &[(tool, "x")]])?;
    // Only the far side of `keyed` keeps keys.
    if tool != "keyed" {
        world.far.misbehave("forget_keys", 0, 0)?;
    }
    Ok(world)
}

/// The real thing: the far side has done it, the host is killed from outside before the answer,
/// and again while it recovers.
#[test]
fn killed_from_outside_between_effect_and_answer_and_again_in_recovery() -> anyhow::Result<()> {
    for tool in ["keyed", "probed"] {
        let world = world(tool)?;
        world.far.misbehave("hold_answer", 1, 60_000)?;
        let mut host = world.command(&World::run_args()).spawn()?;
        wait_for("the act", || {
            (world.far.acts_done().ok()? == 1).then_some(())
        })?;
        host.kill()?;
        host.wait()?;
        world.host_dies(&["resume", "s"], "observation_durable:before:1")?;
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{tool}: {resumed:?}");
        ensure!(
            world.far.acts_done()? == 1,
            "{tool}: {}",
            world.far.acts_done()?
        );
        check_spans(&world, 1).with_context(|| tool.to_owned())?;
    }
    Ok(())
}

/// Two effects in one call: killed between them, both are done once, each under its own key.
#[test]
fn killed_between_two_effects_of_one_call() -> anyhow::Result<()> {
    for stage in [
        "intent_durable:before:2",
        "intent_durable:after:2",
        "request_sent:after:2",
    ] {
        let world = World::new(bins!(), &["pair"])?;
        world.script(&[&[("pair", "x")]])?;
        world.host_dies(&World::run_args(), stage)?;
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{stage}: {resumed:?}");
        ensure!(
            world.far.acts_done()? == 2,
            "{stage}: {}",
            world.far.acts_done()?
        );
        ensure!(world.far.acts_in_force("act_x")? == 1, "{stage}");
        ensure!(world.far.acts_in_force("act_x.second")? == 1, "{stage}");
    }
    Ok(())
}

/// Killed between two reads of one turn: the missing sibling is run, the other is not run again.
#[test]
fn killed_between_parallel_reads() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup", "keyed"])?;
    world.script(&[&[("lookup", "x"), ("lookup", "y")], &[("keyed", "x")]])?;
    world.host_dies(&World::run_args(), "observation_durable:after:1")?;
    let done = world.sql("SELECT count(*) FROM state_transitions")?;
    ensure!(done[0][0] == "1", "one read is durable, not {done:?}");
    let resumed = world.host(&["resume", "s"])?;
    ensure!(
        resumed.code == Some(0) && resumed.json["at_iteration"] == 1,
        "{resumed:?}"
    );
    let reads = world.sql("SELECT count(*) FROM state_transitions WHERE iteration = 1")?;
    ensure!(reads[0][0] == "2", "{reads:?}");
    Ok(())
}

/// Two effects, the first answered and the second in doubt: a person who says not-done speaks of
/// the second, and the first is not sent again.
#[test]
fn not_done_leaves_what_the_far_side_answered() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["pair"])?;
    world.script(&[&[("pair", "x")]])?;
    world.host_dies(&World::run_args(), "intent_durable:after:2")?;
    // From here on nobody answers, and the call parks in the end.
    world.far.misbehave("hang_up_after", 0, 0)?;
    let parked = world.host(&["resume", "s"])?;
    ensure!(parked.json["reason"] == "resend_exhausted", "{parked:?}");
    world.far.ask("DELETE", "/admin/misbehave", None)?;
    let before = world.far.keys("/acts")?;
    let firsts = |keys: &[String]| keys.iter().filter(|k| *k == "act_x").count();
    let resolve = [
        "parked", "resolve", "s/1.0", "--as", "not-done", "--by", "Meera",
    ];
    ensure!(world.host(&resolve)?.code == Some(0));
    let finished = world.host(&["resume", "s"])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let after = world.far.keys("/acts")?;
    ensure!(
        firsts(&after) == firsts(&before),
        "the first was sent again: {before:?} {after:?}"
    );
    ensure!(world.far.acts_done()? == 2, "{}", world.far.acts_done()?);
    Ok(())
}

/// An undo in doubt at a far side without keys is not undone again on a guess.
#[test]
fn killed_in_an_undo() -> anyhow::Result<()> {
    let world = world("undoable")?;
    world.host_dies(&World::run_args(), "request_sent:after:1")?;
    world.host_dies(&["resume", "s"], "request_sent:after:1")?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(3), "{resumed:?}");
    ensure!(
        resumed.json["reason"] == "doubt_unresolvable",
        "{resumed:?}"
    );
    let undos = world.far.keys("/acts/by-key/act_x")?;
    ensure!(undos.len() == 1, "undone {undos:?}");
    Ok(())
}

/// The far side forgot what the journal calls done: the session parks instead of building on it.
#[test]
fn a_settled_write_that_the_far_side_denies_parks_the_session() -> anyhow::Result<()> {
    let world = world("probed")?;
    world.host_dies(&World::run_args(), "observation_durable:after:2")?;
    world.far.ask("DELETE", "/acts/by-key/act_x", None)?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(3), "{resumed:?}");
    ensure!(resumed.json["reason"] == "ledger_mismatch", "{resumed:?}");
    Ok(())
}
