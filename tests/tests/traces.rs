//! The trace store beside real hosts: killed ones, running ones, and ones that cannot use it.

use std::fs;
use std::process::Child;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{World, bins, go_on};

/// The spans of session `s`, as `trace show` tells them.
fn shown(world: &World) -> anyhow::Result<Vec<Value>> {
    let said = world.host(&["trace", "show", "s"])?;
    ensure!(said.code == Some(0), "{said:?}");
    let spans = said.json.as_array().context("spans")?;
    Ok(spans.clone())
}

fn the<'s>(spans: &'s [Value], kind: &str) -> anyhow::Result<&'s Value> {
    let mut found = spans.iter().filter(|s| s["span_kind"] == kind);
    let one = found
        .next()
        .with_context(|| format!("no {kind} in {spans:?}"))?;
    ensure!(found.next().is_none(), "more than one {kind}");
    Ok(one)
}

/// Nothing that was not done is told as done.
fn no_success(spans: &[Value]) -> anyhow::Result<()> {
    for span in spans {
        for field in ["result_status", "outcome"] {
            ensure!(span[field] != "success", "{span}");
        }
    }
    Ok(())
}

/// The host dies with its effect under way, and nobody has resumed the session.
#[test]
fn a_dead_hosts_call_is_in_doubt_before_anybody_resumes() -> anyhow::Result<()> {
    for (at, disposition) in [
        // Before it has left anything, after the request has left, and with its answer at hand.
        ("intent_durable:after:1", "in_doubt"),
        ("request_sent:after:1", "in_doubt"),
        ("observation_durable:before:1", "in_doubt"),
    ] {
        let world = World::new(bins!(), &["keyed"])?;
        world.script(&[&[("keyed", "x")]])?;
        world.host_dies(&World::run_args(), at)?;
        let spans = shown(&world)?;
        no_success(&spans)?;
        let call = the(&spans, "tool_call")?;
        ensure!(call["disposition"] == disposition, "{at}: {call}");
        ensure!(
            the(&spans, "final_response")?["outcome"] == "crashed",
            "{at}"
        );
        ensure!(the(&spans, "agent_step")?["status"] == "crashed", "{at}");

        // Resumed, the same span stays, and the new run has one of its own.
        ensure!(world.host(&["resume", "s"])?.code == Some(0));
        let after = shown(&world)?;
        let id = &call["span_id"];
        let same = after.iter().find(|s| s["span_id"] == *id);
        ensure!(same == Some(call), "{at}: {same:?}");
        let done = after.iter().filter(|s| s["result_status"] == "success");
        ensure!(done.count() == 1, "{at}: {after:?}");
    }
    Ok(())
}

/// Beside a host that works, a look shows what runs, and stands in nobody's way.
#[test]
fn beside_a_running_host_a_look_shows_what_runs() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let mut host: Child = world.host_stops(&World::run_args(), "intent_durable:after:1")?;
    let spans = shown(&world)?;
    no_success(&spans)?;
    ensure!(
        the(&spans, "tool_call")?["disposition"] == "running",
        "{spans:?}"
    );
    ensure!(
        the(&spans, "final_response")?["outcome"] == "running",
        "{spans:?}"
    );
    let rebuilt = world.host(&["traces", "rebuild"])?;
    ensure!(rebuilt.code == Some(0), "{rebuilt:?}");
    ensure!(shown(&world)? == spans, "made anew it is the same");
    go_on(&host)?;
    ensure!(host.wait()?.success());
    let spans = shown(&world)?;
    ensure!(
        the(&spans, "final_response")?["outcome"] == "success",
        "{spans:?}"
    );
    ensure!(
        the(&spans, "tool_call")?["disposition"] == "executed",
        "{spans:?}"
    );
    Ok(())
}

/// A call that waits for a person is shown, and so is the question.
#[test]
fn what_waits_for_a_person_is_shown() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["neither"])?;
    world.script(&[&[("neither", "x")]])?;
    world.host_dies(&World::run_args(), "request_sent:after:1")?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(3), "{resumed:?}");
    let waits = |spans: &[Value]| {
        let waits = |s: &&Value| s["result_status"] == "waiting" && s["disposition"] == "parked";
        spans.iter().filter(waits).count()
    };
    ensure!(waits(&shown(&world)?) == 1, "{:?}", shown(&world)?);
    let parked = world.host(&["parked", "list"])?;
    let id = parked.json[0]["id"].as_str().context("an id")?;
    let args = ["parked", "resolve", id, "--as", "abandon", "--by", "Meera"];
    ensure!(world.host(&args)?.code == Some(0));
    ensure!(world.host(&["resume", "s"])?.code == Some(0));
    ensure!(waits(&shown(&world)?) == 0, "nothing waits any more");
    Ok(())
}

/// What is wrong with the trace store is no affair of the calls.
#[test]
fn a_trace_store_that_cannot_be_used_fails_no_call() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let file = world.data_dir().join("traces.db");
    // No file, and none can be made.
    fs::create_dir(&file)?;
    let ran = world.host(&World::run_args())?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(ran.stderr.contains("no traces are kept"), "{ran:?}");
    let said = world.host(&["trace", "show", "s"])?;
    ensure!(said.code == Some(5), "{said:?}");
    ensure!(said.stderr.contains("traces_unusable"), "{said:?}");
    fs::remove_dir(&file)?;
    let spans = shown(&world)?;
    ensure!(the(&spans, "tool_call")?["disposition"] == "executed");

    // Damaged, and no host is there: it is made anew.
    fs::write(
        &file,
        "this is no database, but it is longer than its header should be.".repeat(9),
    )?;
    for beside in ["traces.db-wal", "traces.db-shm"] {
        let _ = fs::remove_file(world.data_dir().join(beside));
    }
    ensure!(shown(&world)? == spans, "made anew");

    // A newer version made it: it is left alone, and the calls go on.
    let newer = rusqlite::Connection::open(&file)?;
    newer.execute_batch("UPDATE meta SET value = '99' WHERE name = 'version'")?;
    drop(newer);
    let args = ["run", "--tenant", "acme", "--session", "t", "do it"];
    ensure!(world.host(&args)?.code == Some(0));
    let said = world.host(&["trace", "show", "s"])?;
    ensure!(said.stderr.contains("traces_newer"), "{said:?}");
    Ok(())
}

/// Spans outlive the sessions that are pruned, and go by their own time.
#[test]
fn spans_of_pruned_sessions_have_their_own_time() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    world.script(&[&[("lookup", "x")]])?;
    ensure!(world.host(&World::run_args())?.code == Some(0));
    let before = shown(&world)?;
    let pruned = world.host(&["prune", "--older-than", "0s"])?;
    ensure!(pruned.json["sessions"] == 1, "{pruned:?}");
    ensure!(pruned.json["spans"] == 0, "{pruned:?}");
    ensure!(shown(&world)? == before, "they are still there");
    ensure!(world.host(&["traces", "rebuild"])?.code == Some(0));
    ensure!(shown(&world)? == before, "and made anew they are, too");
    let old = format!(
        "UPDATE spans SET started_ms = started_ms - {}",
        91_u64 * 86_400_000
    );
    rusqlite::Connection::open(world.data_dir().join("traces.db"))?.execute_batch(&old)?;
    let pruned = world.host(&["prune"])?;
    ensure!(pruned.json["spans"] == json!(before.len()), "{pruned:?}");
    ensure!(world.host(&["trace", "show", "s"])?.code == Some(5));
    Ok(())
}
