//! A host that is told to stop: in order within its grace, at once at the second signal, and
//! killed in the middle of either. And a host that takes up all that such ends leave behind.
//!
//! Invariants, in every case: each act is done once or lies with a person; nothing is begun after
//! the signal; and a session that was given back in order goes on without a word of a crash.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{Said, World, bins, said, wait_for};

/// The steps of a shutdown, in order.
const COMPONENTS: [&str; 5] = ["admission", "calls", "sessions", "spans", "journal"];

/// Longer than any test waits for a host that need not wait.
const FOR_EVER_MS: u32 = 60_000;

/// Far less than [`FOR_EVER_MS`], with room for a slow machine.
const SOON: Duration = Duration::from_secs(20);

fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    let kill = format!("kill -{name} {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status()?;
    ensure!(sent.success(), "{kill}: {sent}");
    Ok(())
}

/// A world whose script does one act after the other, each named after its session.
fn world(tool: &str, acts: usize) -> anyhow::Result<World> {
    let world = World::new(bins!(), &[tool])?;
    let suffix = |i: usize| {
        if i == 0 {
            String::new()
        } else {
            format!("_{i}")
        }
    };
    let act = |i| {
        vec![json!({"tool": tool, "arguments": {"name": format!("{{{{session}}}}{}", suffix(i))}})]
    };
    let turns: Vec<Vec<Value>> = (0..acts).map(act).collect();
    world.script_calls(&turns)?;
    Ok(world)
}

fn run_args(session: &str) -> [&str; 6] {
    ["run", "--tenant", "acme", "--session", session, "do it"]
}

fn admit(world: &World, session: &str) -> anyhow::Result<()> {
    let said = world.host(&[
        "run",
        "--admit",
        "--tenant",
        "acme",
        "--session",
        session,
        "do it",
    ])?;
    ensure!(said.code == Some(0), "{said:?}");
    ensure!(
        said.json["session"] == session && said.json["status"] == "active",
        "{said:?}"
    );
    Ok(())
}

fn wait_for_acts(world: &World, acts: u64) -> anyhow::Result<()> {
    wait_for("the acts", || {
        (world.far.acts_done().ok()? == acts).then_some(())
    })
}

/// A run of session `s`, told to stop while the far side holds the answer to its act.
fn stopped_in_a_call(world: &World, hold_ms: u32, name: &str) -> anyhow::Result<Said> {
    world.far.misbehave("hold_answer", 1, hold_ms)?;
    let host = world.command(&run_args("s")).spawn()?;
    wait_for_acts(world, 1)?;
    signal(&host, name)?;
    said(host.wait_with_output()?)
}

fn component<'a>(steps: &'a Value, name: &str) -> &'a Value {
    let all = steps.as_array().into_iter().flatten();
    let mut of_name = all.filter(|step| step["component"] == name);
    of_name.next().unwrap_or(&Value::Null)
}

fn count(world: &World, what: &str) -> anyhow::Result<String> {
    Ok(world.sql(&format!("SELECT count(*) FROM {what}"))?[0][0].clone())
}

/// The values of an output of one JSON value a line.
fn lines(output: &Output) -> anyhow::Result<Vec<Value>> {
    let text = std::str::from_utf8(&output.stdout)?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn of_session<'a>(told: &'a [Value], session: &str) -> anyhow::Result<&'a Value> {
    told.iter()
        .find(|v| v["session"] == session)
        .with_context(|| format!("nothing is told of {session}: {told:?}"))
}

fn summary(told: &[Value]) -> anyhow::Result<&Value> {
    Ok(&told.last().context("a summary")?["summary"])
}

#[test]
fn a_call_that_ends_within_the_grace_is_finished() -> anyhow::Result<()> {
    for name in ["TERM", "INT"] {
        let world = world("keyed", 2)?;
        let stopped = stopped_in_a_call(&world, 1_000, name)?;
        ensure!(stopped.code == Some(0), "{stopped:?}");
        ensure!(stopped.json["outcome"] == "interrupt", "{stopped:?}");
        ensure!(stopped.json["reason"] == "shutting_down", "{stopped:?}");
        ensure!(stopped.json["status"] == "active", "{stopped:?}");
        let steps = &stopped.json["shutdown"];
        for (i, name) in COMPONENTS.iter().enumerate() {
            ensure!(steps[i]["component"] == *name, "{steps}");
            ensure!(
                steps[i]["done"] == true && steps[i]["ms"].is_u64(),
                "{steps}"
            );
        }
        ensure!(component(steps, "calls")["finished"] == 1, "{steps}");
        ensure!(
            component(steps, "calls")["ms"].as_u64() > Some(0),
            "{steps}"
        );
        ensure!(component(steps, "sessions")["given_back"] == 1, "{steps}");
        // SQLite takes its side files away when it is closed in order.
        let wal = world.data_dir().join("journal.db-wal");
        ensure!(!wal.exists(), "the WAL was not checkpointed");

        let last = world.sql("SELECT kind FROM events ORDER BY seq DESC LIMIT 1")?;
        ensure!(last[0][0] == "run_ended", "{last:?}");
        ensure!(
            count(&world, "state_transitions")? == "1",
            "the effect is observed"
        );
        ensure!(world.far.acts_done()? == 1, "nothing new was begun");

        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{resumed:?}");
        ensure!(resumed.json["after_crash"] == false, "{resumed:?}");
        ensure!(resumed.json["at_iteration"] == 2, "{resumed:?}");
        let keys = world.far.keys("/acts")?;
        ensure!(keys == ["act_s", "act_s_1"], "{keys:?}");
    }
    Ok(())
}

#[test]
fn a_call_that_takes_longer_than_the_grace_is_left_and_recovered() -> anyhow::Result<()> {
    for (tool, code) in [("keyed", 0), ("probed", 0), ("neither", 3)] {
        let world = world(tool, 1)?;
        world.write_config("[shutdown]\ngrace_seconds = 4\n")?;
        let began = Instant::now();
        let stopped = stopped_in_a_call(&world, FOR_EVER_MS, "TERM")?;
        ensure!(stopped.code == Some(0), "{stopped:?}");
        ensure!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
        ensure!(stopped.json["outcome"].is_null(), "{stopped:?}");
        let steps = &stopped.json["shutdown"];
        let calls = component(steps, "calls");
        ensure!(calls["done"] == false && calls["left"] == 1, "{steps}");
        ensure!(
            calls["said"].to_string().contains("checkpointed"),
            "{steps}"
        );
        ensure!(component(steps, "sessions")["left"] == 1, "{steps}");
        ensure!(component(steps, "spans")["done"] == true, "{steps}");
        ensure!(component(steps, "journal")["done"] == false, "{steps}");
        ensure!(count(&world, "events WHERE kind = 'run_ended'")? == "0");
        ensure!(
            count(&world, "open_intents")? == "1",
            "the intent is durable"
        );

        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(code), "{tool}: {resumed:?}");
        ensure!(resumed.json["after_crash"] == true, "{resumed:?}");
        ensure!(world.far.acts_done()? == 1, "{tool}: done again");
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_it_at_once_and_is_as_safe_as_a_kill() -> anyhow::Result<()> {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let world = world("keyed", 1)?;
        world.far.misbehave("hold_answer", 1, FOR_EVER_MS)?;
        let mut host = world.command(&run_args("s")).spawn()?;
        wait_for_acts(&world, 1)?;
        let began = Instant::now();
        // Signals that come before the first is noticed count as one: so until it is gone.
        let status = loop {
            if let Some(status) = host.try_wait()? {
                break status;
            }
            ensure!(began.elapsed() < SOON, "it goes on");
            signal(&host, name)?;
            std::thread::sleep(Duration::from_millis(300));
        };
        ensure!(status.code() == Some(code), "{status:?}");
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{resumed:?}");
        ensure!(resumed.json["after_crash"] == true, "{resumed:?}");
        ensure!(world.far.acts_done()? == 1);
    }
    Ok(())
}

#[test]
fn killed_at_each_step_of_a_shutdown() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    for step in 1..=COMPONENTS.len() {
        for moment in ["before", "after"] {
            let session = format!("s_{moment}_{step}");
            let at = format!("shutdown_step:{moment}:{step}");
            world.far.misbehave("hold_answer", 1, 700)?;
            let before = world.far.acts_done()?;
            let mut command = world.command(&run_args(&session));
            let host = command.env("STOPLOG_DIE_AT", &at).spawn()?;
            wait_for_acts(&world, before + 1)?;
            signal(&host, "TERM")?;
            let died = said(host.wait_with_output()?)?;
            ensure!(died.code.is_none(), "it did not die at {at}: {died:?}");
            let resumed = world.host(&["resume", &session])?;
            ensure!(resumed.code == Some(0), "{at}: {resumed:?}");
            // The run has its end as soon as its calls have theirs: in the second step.
            let in_order = step > 2 || (step, moment) == (2, "after");
            ensure!(
                resumed.json["after_crash"] == !in_order,
                "{at}: {resumed:?}"
            );
            ensure!(world.far.acts_done()? == before + 1, "{at}: done again");
            let in_force = world.far.acts_in_force(&format!("act_{session}"))?;
            ensure!(in_force == 1, "{at}: in force {in_force} times");
        }
    }
    Ok(())
}

#[test]
fn a_models_answer_is_not_waited_for() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    let quick = std::fs::read_to_string(world.path().join("script.json"))?;
    let mut slow: Value = serde_json::from_str(&quick)?;
    slow["turns"][0]["latency_ms"] = json!(FOR_EVER_MS);
    std::fs::write(world.path().join("script.json"), slow.to_string())?;
    let host = world.command(&run_args("s")).spawn()?;
    wait_for("the run", || {
        let begun = count(&world, "events WHERE kind = 'run_started'").ok()?;
        (begun == "1").then_some(())
    })?;
    let began = Instant::now();
    signal(&host, "TERM")?;
    let stopped = said(host.wait_with_output()?)?;
    ensure!(
        stopped.code == Some(0) && began.elapsed() < SOON,
        "{stopped:?}"
    );
    ensure!(stopped.json["reason"] == "shutting_down", "{stopped:?}");
    std::fs::write(world.path().join("script.json"), quick)?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    ensure!(resumed.json["after_crash"] == false, "{resumed:?}");
    ensure!(resumed.json["at_iteration"] == 1, "{resumed:?}");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

/// A recovery that waits before it sends again gives up waiting, and leaves that to the next run.
#[test]
fn nothing_is_sent_again_in_a_shutdown() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    world.far.misbehave("hang_up_after", 0, 0)?;
    let host = world.command(&run_args("s")).spawn()?;
    // Sent, and once more after half a second; the third time would come two seconds later.
    wait_for("the second sending", || {
        (world.far.keys("/acts").ok()?.len() == 2).then_some(())
    })?;
    signal(&host, "TERM")?;
    let stopped = said(host.wait_with_output()?)?;
    ensure!(stopped.code == Some(0), "{stopped:?}");
    ensure!(stopped.json["reason"] == "shutting_down", "{stopped:?}");
    let keys = world.far.keys("/acts")?;
    ensure!(keys.len() == 2, "sent again in the shutdown: {keys:?}");
    world.far.ask("DELETE", "/admin/misbehave", None)?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    ensure!(resumed.json["after_crash"] == false, "{resumed:?}");
    let keys = world.far.keys("/acts")?;
    ensure!(keys == ["act_s"; 3], "{keys:?}");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

#[test]
fn people_are_told_of_each_component() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    world.far.misbehave("hold_answer", 1, 500)?;
    let host = Command::new(bins!().host)
        .arg("--config")
        .arg(world.path().join("stoplog.toml"))
        .args(run_args("s"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_for_acts(&world, 1)?;
    signal(&host, "TERM")?;
    let output = host.wait_with_output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let stderr = String::from_utf8(output.stderr)?;
    let told: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("shutdown "))
        .collect();
    ensure!(told.len() == COMPONENTS.len(), "{stderr}");
    for (line, component) in told.iter().zip(COMPONENTS) {
        let word = line.split_whitespace().nth(1);
        ensure!(word == Some(component) && line.ends_with(" ms)"), "{line}");
    }
    ensure!(told[1].contains("1 finished, 0 left"), "{stderr}");
    let stdout = String::from_utf8(output.stdout)?;
    ensure!(
        stdout.contains("shutting_down") && stdout.contains("resume"),
        "{stdout}"
    );
    Ok(())
}

/// Sessions in every state a host may find: each act is done once, or lies with a person.
#[test]
fn resume_all_takes_up_what_can_go_on_by_itself() -> anyhow::Result<()> {
    let world = world("neither", 1)?;
    ensure!(world.host(&run_args("over"))?.code == Some(0));
    for (session, stage) in [
        ("turn", "turn_taken:after:1"),
        ("unsent", "request_sent:before:1"),
        ("sent", "request_sent:after:1"),
        ("told", "observation_durable:after:1"),
        ("parked", "request_sent:after:1"),
    ] {
        world.host_dies(&run_args(session), stage)?;
    }
    ensure!(world.host(&["resume", "parked"])?.code == Some(3));
    admit(&world, "new_1")?;
    admit(&world, "new_2")?;
    let acts = world.far.acts_done()?;
    ensure!(acts == 4, "over, sent, told and parked are done: {acts}");

    let output = world
        .command(&["resume", "--all", "--concurrency", "3"])
        .output()?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let told = lines(&output)?;
    let counts = json!({
        "sessions": 6, "ended": 4, "waiting": 2, "failed": 0,
        "stopped": 0, "left": 0, "not_run": 0,
    });
    ensure!(*summary(&told)? == counts, "{told:?}");
    for (session, outcome, after_crash, in_force) in [
        ("turn", "success", true, 1),
        ("unsent", "interrupt", true, 0),
        ("sent", "interrupt", true, 1),
        ("told", "success", true, 1),
        ("new_1", "success", false, 1),
        ("new_2", "success", false, 1),
    ] {
        let one = of_session(&told, session)?;
        ensure!(one["outcome"] == outcome, "{one}");
        ensure!(one["after_crash"] == after_crash, "{one}");
        let found = world.far.acts_in_force(&format!("act_{session}"))?;
        ensure!(found == in_force, "{session}: in force {found} times");
    }
    ensure!(of_session(&told, "over").is_err() && of_session(&told, "parked").is_err());
    ensure!(world.far.acts_done()? == acts + 3, "turn, new_1 and new_2");

    // What waits for a person waits on, and nothing is left to do.
    let again = world.command(&["resume", "--all"]).output()?;
    ensure!(again.status.code() == Some(0), "{again:?}");
    ensure!(summary(&lines(&again)?)?["sessions"] == 0, "{again:?}");
    Ok(())
}

#[test]
fn one_sessions_failure_is_its_own() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    for session in ["good", "torn"] {
        world.host_dies(&run_args(session), "intent_durable:after:1")?;
    }
    let connection = rusqlite::Connection::open(world.data_dir().join("journal.db"))?;
    let torn = "DELETE FROM events WHERE kind = 'turn_taken' AND session_id = 'torn'";
    ensure!(connection.execute(torn, [])? == 1);
    drop(connection);
    let output = world.command(&["resume", "--all"]).output()?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let told = lines(&output)?;
    let error = &of_session(&told, "torn")?["error"];
    ensure!(
        error["reason"] == "journal_corrupt" && error["hint"].is_string(),
        "{error}"
    );
    ensure!(
        of_session(&told, "good")?["outcome"] == "success",
        "{told:?}"
    );
    ensure!(world.far.acts_in_force("act_good")? == 1);
    ensure!(world.far.acts_in_force("act_torn")? == 0);
    Ok(())
}

/// With a tool gone from the data directory, the sessions that have it pinned fail, by name.
#[test]
fn a_tool_that_is_gone_is_told_for_each_session() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    admit(&world, "a")?;
    std::fs::remove_dir_all(world.data_dir().join("tools"))?;
    let output = world.command(&["resume", "--all"]).output()?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let told = lines(&output)?;
    ensure!(
        of_session(&told, "a")?["error"]["reason"] == "tool_missing",
        "{told:?}"
    );
    let single = world.host(&["resume", "a"])?;
    ensure!(
        single.code == Some(4) && single.stderr.contains("tool_missing"),
        "{single:?}"
    );
    Ok(())
}

#[test]
fn resume_all_is_stopped_in_order_and_taken_up_again() -> anyhow::Result<()> {
    let world = world("keyed", 2)?;
    let sessions = ["a", "b", "c", "d"];
    for session in sessions {
        admit(&world, session)?;
    }
    world.far.misbehave("hold_answer", 2, 1_500)?;
    let host = world
        .command(&["resume", "--all", "--concurrency", "2"])
        .spawn()?;
    wait_for_acts(&world, 2)?;
    // A second host has no business here.
    let second = world.host(&["resume", "--all"])?;
    ensure!(second.code == Some(5), "{second:?}");
    ensure!(second.stderr.contains("data_dir_locked"), "{second:?}");
    signal(&host, "TERM")?;
    let output = host.wait_with_output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let told = lines(&output)?;
    let counts = summary(&told)?;
    ensure!(counts["stopped"] == 2 && counts["not_run"] == 2, "{counts}");
    let steps = &counts["shutdown"];
    ensure!(component(steps, "admission")["not_begun"] == 2, "{steps}");
    ensure!(component(steps, "calls")["finished"] == 2, "{steps}");
    ensure!(component(steps, "sessions")["given_back"] == 2, "{steps}");
    ensure!(component(steps, "journal")["done"] == true, "{steps}");
    ensure!(world.far.acts_done()? == 2, "nothing new was begun");

    let output = world.command(&["resume", "--all"]).output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let told = lines(&output)?;
    ensure!(summary(&told)?["ended"] == 4, "{told:?}");
    for session in sessions {
        let one = of_session(&told, session)?;
        ensure!(one["after_crash"] == false, "{one}");
        for key in [format!("act_{session}"), format!("act_{session}_1")] {
            ensure!(world.far.acts_in_force(&key)? == 1, "{key}");
        }
    }
    ensure!(world.far.acts_done()? == 8);
    Ok(())
}

/// The far side forgot the second of two settled writes. A shutdown while the first is confirmed
/// must not make the second one trusted.
#[test]
fn what_a_shutdown_left_unconfirmed_is_confirmed_by_the_next_run() -> anyhow::Result<()> {
    let world = world("probed", 2)?;
    world.host_dies(&run_args("s"), "observation_durable:after:2")?;
    world.far.ask("DELETE", "/acts/by-key/act_s_1", None)?;
    let slow = json!({
        "path": "/acts/by-key/{key}", "mode": "hold_answer", "times": 1, "delay_ms": 3_000,
    });
    world.far.ask("POST", "/admin/misbehave", Some(&slow))?;
    let host = world.command(&["resume", "s"]).spawn()?;
    wait_for("the first question", || {
        let faults = world.far.ask("GET", "/admin/misbehave", None).ok()?;
        faults["faults"].as_array()?.is_empty().then_some(())
    })?;
    signal(&host, "TERM")?;
    let stopped = said(host.wait_with_output()?)?;
    ensure!(stopped.code == Some(0), "{stopped:?}");
    ensure!(stopped.json["reason"] == "shutting_down", "{stopped:?}");
    ensure!(stopped.json["status"] == "active", "{stopped:?}");
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.json["after_crash"] == false, "{resumed:?}");
    ensure!(resumed.json["reason"] == "ledger_mismatch", "{resumed:?}");
    ensure!(resumed.code == Some(3), "{resumed:?}");
    Ok(())
}

#[test]
fn arguments_that_do_not_go_together_are_refused() -> anyhow::Result<()> {
    let world = world("keyed", 1)?;
    for args in [
        &["resume"][..],
        &["resume", "s", "--all"],
        &["resume", "s", "--concurrency", "2"],
        &["resume", "--all", "--concurrency", "0"],
        &[
            "run", "--tenant", "t", "--admit", "--script", "x.json", "do it",
        ],
    ] {
        let said = world.host(args)?;
        ensure!(said.code == Some(2), "{args:?}: {said:?}");
    }
    Ok(())
}
