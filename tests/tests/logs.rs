//! The log of real hosts: a line a step, a line a run, and what becomes of them when a host is killed.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;
use stoplog_tests::{World, bins};

fn world(log: &str) -> anyhow::Result<World> {
    let world = World::new(bins!(), &["keyed", "lookup"])?;
    world.write_config(log)?;
    world.script(&[&[("lookup", "a"), ("lookup", "b")], &[("keyed", "x")]])?;
    Ok(world)
}

/// Lines that are JSON objects with an event.
fn lines(text: &str) -> Vec<Value> {
    let parsed = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    parsed
        .filter(|line: &Value| line["event"].is_string())
        .collect()
}

/// `EVENT OUTCOME` of each.
fn told(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
    let both = |line: &Value| format!("{} {}", word(line, "event"), word(line, "outcome"));
    lines.iter().map(both).collect()
}

#[test]
fn a_line_for_each_step_and_one_for_the_run() -> anyhow::Result<()> {
    let world = world("")?;
    let ran = world.host(&World::run_args())?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let lines = lines(&ran.stderr);
    ensure!(
        lines.len() == ran.stderr.lines().count(),
        "nothing else: {ran:?}"
    );
    let steps = "step complete";
    ensure!(
        told(&lines) == [steps, steps, steps, "run success"],
        "{lines:?}"
    );
    for line in &lines {
        ensure!(
            line["thread_id"] == "s" && line["session_id"] == "s",
            "{line}"
        );
        ensure!(line["tenant_id"] == "acme", "{line}");
        ensure!(line["trace_id"] == ran.json["trace_id"], "{line}");
        ensure!(
            line["model"] == "scripted" && line["provider"] == "scripted",
            "{line}"
        );
        ensure!(line["level"] == "info", "{line}");
    }
    let messages: Vec<&Value> = lines.iter().map(|l| &l["message_count"]).collect();
    ensure!(
        messages[..3] == [4, 6, 7],
        "task, turns and results: {messages:?}"
    );
    let roles: Vec<&Value> = lines.iter().map(|l| &l["last_role"]).collect();
    ensure!(roles[..3] == ["tool", "tool", "assistant"], "{roles:?}");
    let run = &lines[3];
    ensure!(run["steps"] == 3 && run["tool_calls"] == 3, "{run}");
    ensure!(
        run["prompt_tokens"] == 30 && run["completion_tokens"] == 15,
        "{run}"
    );
    ensure!(run["cost_usd_micros"] == 3000, "{run}");
    Ok(())
}

/// The next host tells of the run that died, and each step is told once.
#[test]
fn a_run_whose_host_died_is_told_of_by_the_next() -> anyhow::Result<()> {
    let world = world("[log]\nfile = \"log.jsonl\"\n")?;
    world.host_dies(&World::run_args(), "request_sent:after:1")?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    let text = fs::read_to_string(world.path().join("log.jsonl"))?;
    let lines = lines(&text);
    let of_trace = |crashed: bool| -> Vec<Value> {
        let is_second = |l: &&Value| l["trace_id"] == resumed.json["trace_id"];
        let of = lines.iter().filter(|l| is_second(l) != crashed);
        of.cloned().collect()
    };
    let first = of_trace(true);
    ensure!(
        told(&first) == ["step complete", "step crashed", "run crashed"],
        "{first:?}"
    );
    ensure!(first[2]["level"] == "error", "{first:?}");
    let second = of_trace(false);
    ensure!(
        told(&second) == ["step complete", "step complete", "run success"],
        "{second:?}"
    );
    ensure!(second[2]["after_crash"] == true, "{second:?}");
    ensure!(
        second[2]["resumed_from"] == first[2]["trace_id"],
        "{second:?}"
    );
    let mode = fs::metadata(world.path().join("log.jsonl"))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    ensure!(mode & 0o077 == 0, "{mode:o}");
    Ok(())
}

#[test]
fn people_get_text_and_may_ask_for_less() -> anyhow::Result<()> {
    let world = world("[log]\nlevel = \"off\"\n")?;
    let silent = world.host(&World::run_args())?;
    ensure!(
        silent.code == Some(0) && silent.stderr.is_empty(),
        "{silent:?}"
    );
    let run = |session: &str, flags: &[&str]| {
        let mut args = vec!["run", "--tenant", "acme", "--session", session, "do it"];
        args.extend(flags);
        world.host(&args)
    };
    let text = run("t", &["--log-level", "info", "--log-format", "text"])?;
    let said: Vec<&str> = text.stderr.lines().collect();
    ensure!(said.len() == 4, "{said:?}");
    ensure!(
        said[0].contains("t (acme)  step 0 complete 2 call(s)"),
        "{said:?}"
    );
    ensure!(
        said[3].contains("t (acme)  run success: 3 step(s), 3 call(s)"),
        "{said:?}"
    );
    let errors = run("u", &["--log-level", "error"])?;
    ensure!(
        errors.code == Some(0) && errors.stderr.is_empty(),
        "{errors:?}"
    );

    // A run that fails is told of at that level.
    world.script(&[&[("keyed", "y")]])?;
    let script = world.path().join("script.json");
    let refused = fs::read_to_string(&script)?.replace("end_turn", "refusal");
    fs::write(&script, refused)?;
    let failed = run("v", &["--log-level", "error"])?;
    let lines = lines(&failed.stderr);
    ensure!(told(&lines) == ["run error"], "{failed:?}");
    let class = lines[0]["error_class"].as_str().context("a class")?;
    ensure!(class == "refusal", "{failed:?}");
    Ok(())
}
