//! The host is killed with SIGKILL at every stage, for every kind of far side, and started again.
//!
//! Invariants, in every case: the effect is in force once, or the call is parked with a record;
//! every request that reached the far side carried the same key; the session goes on at the right
//! iteration; and the spans tell of the call that died.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_model::port::{Moment, Stage};
use stoplog_tests::{World, bins, said, wait_for};

/// What must have become of the effect after the resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In force once, and the session has its answer.
    Once,
    /// Parked; the far side has it so many times (nought or one).
    Parked(usize),
}

/// Stage and moment, the count of the hit that kills, whether the request has left by then, and
/// the iteration that the resume goes on with.
const STAGES: [(&str, bool, u32); 10] = [
    ("turn_taken:before:2", false, 2),
    ("turn_taken:after:2", false, 2),
    ("intent_durable:before:1", false, 2),
    ("intent_durable:after:1", false, 2),
    ("request_sent:before:1", false, 2),
    ("request_sent:after:1", true, 2),
    ("answer_received:before:1", true, 2),
    ("answer_received:after:1", true, 2),
    ("observation_durable:before:2", true, 2),
    ("observation_durable:after:2", true, 3),
];

/// Where the host dies with an approval in hand.
const APPROVAL_STAGES: [&str; 5] = [
    "approval_consumed:before:1",
    "approval_consumed:after:1",
    "request_sent:before:1",
    "request_sent:after:1",
    "observation_durable:before:1",
];

/// A stage that no test visits fails here.
#[test]
fn every_stage_is_visited() {
    for stage in Stage::ALL {
        for moment in [Moment::Before, Moment::After] {
            let word = |v: Value| v.as_str().unwrap_or("").to_owned();
            let point = format!("{}:{}:", word(json!(stage)), word(json!(moment)));
            let visited = STAGES
                .iter()
                .map(|s| s.0)
                .chain(APPROVAL_STAGES)
                .any(|s| s.starts_with(&point));
            assert!(visited, "no test kills the host at {point}");
        }
    }
}

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

fn expected(tool: &str, stage: &str, sent: bool) -> End {
    let before_intent = stage.starts_with("turn_taken") || stage == "intent_durable:before:1";
    let after_all = stage == "observation_durable:after:2";
    match tool {
        "neither" if !before_intent && !after_all => End::Parked(usize::from(sent)),
        _ => End::Once,
    }
}

/// One cell of the matrix.
fn kill_and_resume(tool: &str, stage: &str, sent: bool, iteration: u32) -> anyhow::Result<()> {
    let world = world(tool)?;
    world.host_dies(&World::run_args(), stage)?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.json["at_iteration"] == iteration, "{resumed:?}");
    ensure!(resumed.json["after_crash"] == true, "{resumed:?}");
    let in_force = world.far.acts_in_force("act_x")?;
    match expected(tool, stage, sent) {
        End::Once => {
            ensure!(resumed.code == Some(0), "{resumed:?}");
            ensure!(in_force == 1, "in force {in_force} times");
        }
        End::Parked(times) => {
            ensure!(resumed.code == Some(3), "{resumed:?}");
            ensure!(in_force == times, "in force {in_force} times");
            resolve_and_finish(&world, times)?;
        }
    }
    let keys = world.far.keys("/acts")?;
    ensure!(keys.iter().all(|k| k == "act_x"), "other keys: {keys:?}");
    if tool != "undoable" {
        ensure!(
            world.far.acts_done()? == 1,
            "done {} times",
            world.far.acts_done()?
        );
    }
    ensure!(
        world.sql("SELECT * FROM open_intents")?.is_empty(),
        "an intent is left open"
    );
    check_spans(&world)
}

/// A person looks at the far side, decides, and the session goes on to its answer.
fn resolve_and_finish(world: &World, times: usize) -> anyhow::Result<()> {
    let parked = world.host(&["parked", "list"])?;
    ensure!(
        parked.json[0]["reason"] == "doubt_unresolvable",
        "{parked:?}"
    );
    let id = parked.json[0]["id"].as_str().context("an id")?.to_owned();
    let again = world.host(&["resume", "s"])?;
    ensure!(
        again.code == Some(3),
        "a parked session does nothing: {again:?}"
    );
    let mut args = vec!["parked", "resolve", &id, "--by", "Meera", "--as"];
    if times == 1 {
        args.extend(["done", "--output", "{\"act_id\": \"act_1\"}"]);
    } else {
        args.push("not-done");
    }
    let resolved = world.host(&args)?;
    ensure!(resolved.code == Some(0), "{resolved:?}");
    let finished = world.host(&["resume", "s"])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let in_force = world.far.acts_in_force("act_x")?;
    ensure!(
        in_force == 1,
        "in force {in_force} times after the decision"
    );
    Ok(())
}

/// Every span has its tags, no id is there twice, and each trace has one root.
fn check_spans(world: &World) -> anyhow::Result<()> {
    let spans = world.spans()?;
    let mut ids = std::collections::BTreeSet::new();
    for span in &spans {
        for tag in [
            "trace_id",
            "tenant_id",
            "session_id",
            "feature",
            "span_kind",
        ] {
            ensure!(span[tag].is_string(), "{tag} is missing: {span}");
        }
        ensure!(span["timestamp_ms"].as_u64() > Some(0), "no time: {span}");
        ensure!(ids.insert(span["span_id"].to_string()), "twice: {span}");
    }
    let executed = |s: &&Value| {
        s["span_kind"] == "tool_call"
            && s["blast_radius_class"].as_u64() >= Some(2)
            && s["disposition"] != "replayed"
            && s["disposition"] != "in_doubt"
    };
    let told = spans.iter().filter(executed).count();
    ensure!(told == 1, "the effect has {told} spans of its own");
    let runs = world.sql("SELECT count(*) FROM events WHERE kind = 'run_started'")?;
    let roots = spans
        .iter()
        .filter(|s| s["parent_span_id"].is_null())
        .count();
    ensure!(
        runs[0][0] == roots.to_string(),
        "{roots} roots for {} runs",
        runs[0][0]
    );
    Ok(())
}

fn sweep(tool: &str) {
    for (stage, sent, iteration) in STAGES {
        if let Err(e) = kill_and_resume(tool, stage, sent, iteration) {
            panic!("{tool} killed at {stage}: {e:#}");
        }
    }
}

#[test]
fn a_far_side_that_keeps_keys() {
    sweep("keyed");
}

#[test]
fn a_far_side_that_can_only_be_probed() {
    sweep("probed");
}

#[test]
fn a_far_side_with_neither_is_parked() {
    sweep("neither");
}

#[test]
fn a_far_side_that_can_be_undone() {
    sweep("undoable");
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
        check_spans(&world).with_context(|| tool.to_owned())?;
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

/// An approval is consumed by the commit of the intent, and never good twice.
#[test]
fn an_approval_survives_kills_and_is_good_once() -> anyhow::Result<()> {
    for stage in APPROVAL_STAGES {
        let world = World::new(bins!(), &["paid"])?;
        world.script(&[&[("paid", "x")]])?;
        let waits = world.host(&World::run_args())?;
        ensure!(waits.code == Some(3), "{waits:?}");
        let id = waits.json["approval"]
            .as_str()
            .context("an approval")?
            .to_owned();
        ensure!(
            world.far.acts_done()? == 0,
            "nothing is done before the approval"
        );
        let approved = world.host(&["approvals", "approve", &id, "--by", "Meera"])?;
        ensure!(approved.code == Some(0), "{approved:?}");
        world.host_dies(&["resume", "s"], stage)?;
        let again = world.host(&["approvals", "approve", &id, "--by", "Meera"])?;
        ensure!(
            again.stderr.contains("approval_not_pending"),
            "{stage}: {again:?}"
        );
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{stage}: {resumed:?}");
        ensure!(
            world.far.acts_done()? == 1,
            "{stage}: {}",
            world.far.acts_done()?
        );
    }
    Ok(())
}

/// Two processes resume one session: one works, the other is told who does and fires nothing.
#[test]
fn two_resumes_at_once() -> anyhow::Result<()> {
    let world = world("keyed")?;
    world.host_dies(&World::run_args(), "intent_durable:after:1")?;
    world.far.misbehave("hold_answer", 1, 5_000)?;
    let first = world
        .command(&["resume", "s"])
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = first.id();
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let second = world.host(&["resume", "s"])?;
    ensure!(second.code == Some(5), "{second:?}");
    ensure!(second.stderr.contains("session_leased"), "{second:?}");
    ensure!(
        second.stderr.contains(&format!("pid {pid}")),
        "it says who: {second:?}"
    );
    let first = said(first.wait_with_output()?)?;
    ensure!(first.code == Some(0), "{first:?}");
    ensure!(
        world.far.acts_done()? == 1,
        "done {} times",
        world.far.acts_done()?
    );
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
