//! Planted people: a customer's address, name and number in every place that a person, a model, a tool
//! or an approver can put them; then every byte that is kept or sent for people on call is looked at.
//! The journal has them, as it must: a session could not go on without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::otlp::Receiver;
use stoplog_tests::{Said, World, bins};

/// In every value, however it is written.
const MARK: &str = "lanted";

/// Calls of the script: what the tool does is in its name.
const CALLS: [&str; 3] = ["fail", "trap", "good"];

fn person(n: usize) -> Value {
    json!({
        "email": format!("planted.priya{n}@example.com"),
        "name": format!("Planted Priya {n}"),
        "phones": [format!("+91 98765 4321{n} planted"), format!("planted-{n}")],
    })
}

/// A model that repeats what it was told, in its texts and in its answer.
fn script(world: &World) -> anyhow::Result<()> {
    let turn = |i: usize, calls: Value, finish: &str| {
        json!({
            "iteration": i, "calls": calls, "text": "I ask planted.priya@example.com.",
            "finish_reason": finish, "input_tokens": 10, "output_tokens": 5,
            "cost_usd_micros": 1000,
        })
    };
    let call = |name: &str| {
        json!([{"tool": "spiller", "arguments": {
            "name": name, "customer": person(0), "before": [person(1), person(2)],
            "password": "planted-hunter2",
        }}])
    };
    let mut turns: Vec<Value> = (1..)
        .zip(CALLS)
        .map(|(i, name)| turn(i, call(name), "tool_use"))
        .collect();
    // A tool that nobody has, whose name and arguments are the model's own words.
    let unknown = json!([{"tool": "planted.priya@example.com", "arguments": {"planted": 1}}]);
    turns.push(turn(4, unknown, "tool_use"));
    turns.push(turn(5, json!([]), "end_turn"));
    let script = json!({"model_id": "scripted", "model_version": "1", "turns": turns});
    Ok(fs::write(
        world.path().join("script.json"),
        script.to_string(),
    )?)
}

/// Runs the session to its end, with a person's word for each call, and kills the host on the way.
fn run(world: &World) -> anyhow::Result<Vec<Said>> {
    let task = "Planted Priya (planted.priya@example.com, +91 98765 43210) wants her money.";
    let mut args = vec!["run", "--tenant", "acme", "--session", "s", task];
    let mut said = Vec::new();
    for round in 0..=CALLS.len() {
        let ran = world.host(&args)?;
        let code = ran.code;
        args = vec!["resume", "s"];
        if round == CALLS.len() {
            ensure!(code == Some(0), "{ran:?}");
            ensure!(
                ran.json["answer"].to_string().contains(MARK),
                "the caller is told"
            );
            said.push(ran);
            break;
        }
        ensure!(code == Some(3), "{round}: {ran:?}");
        said.push(ran);
        let waiting = world.host(&["approvals", "list"])?;
        let id = waiting.json[0]["id"]
            .as_str()
            .context("an approval")?
            .to_owned();
        let note = "planted.priya@example.com is known to me";
        let approved =
            world.host(&["approvals", "approve", &id, "--by", "Meera", "--note", note])?;
        ensure!(approved.code == Some(0), "{approved:?}");
        if round + 1 < CALLS.len() {
            continue;
        }
        // The last one is killed behind its effect, and recovered.
        world.host_dies(&args, "request_sent:after:1")?;
    }
    Ok(said)
}

/// Every file of the data directory.
fn all_kept(world: &World) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(world.data_dir())? {
        let path = entry?.path();
        if path.is_file() {
            found.push((path.clone(), fs::read(&path)?));
        }
    }
    Ok(found)
}

/// Every file of the data directory but the journal.
fn kept(world: &World) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("journal.db")
    };
    let mut found = all_kept(world)?;
    found.retain(|(path, _)| !is_journal(path));
    Ok(found)
}

fn has(bytes: &[u8], what: &str) -> bool {
    let what = what.as_bytes();
    bytes
        .windows(what.len())
        .any(|w| w.eq_ignore_ascii_case(what))
}

#[test]
fn nothing_of_a_person_is_kept_for_people_on_call() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["spiller"])?;
    let receiver = Receiver::start(bins!(), world.path())?;
    world.write_config(&format!(
        "[telemetry.otlp]\nendpoint = \"http://{}\"\n\n[log]\nfile = \"data/log.jsonl\"\n",
        receiver.address
    ))?;
    script(&world)?;
    let said = run(&world)?;
    let journal = [
        fs::read(world.data_dir().join("journal.db"))?,
        fs::read(world.data_dir().join("journal.db-wal")).unwrap_or_default(),
    ]
    .concat();
    ensure!(
        has(&journal, "planted.priya0@example.com"),
        "the journal has it"
    );

    let kept = kept(&world)?;
    for file in ["traces.db", "spans.jsonl", "log.jsonl"] {
        ensure!(
            kept.iter().any(|(path, _)| path.ends_with(file)),
            "no {file}"
        );
    }
    for (path, bytes) in kept {
        ensure!(!has(&bytes, MARK), "{} has it", path.display());
    }
    let collected = serde_json::to_vec(&receiver.requests()?)?;
    ensure!(
        receiver.spans()?.len() == world.spans()?.len(),
        "all were sent"
    );
    ensure!(!has(&collected, MARK), "the collector has it");
    for ran in &said {
        ensure!(
            !has(ran.stderr.as_bytes(), MARK),
            "standard error has it: {ran:?}"
        );
    }
    for command in [
        &["trace", "show", "s"][..],
        &["traces", "rebuild"],
        &["sessions", "list"],
        &["verify"],
    ] {
        let told = world.host(command)?;
        let text = told.json.to_string() + &told.stderr;
        ensure!(!has(text.as_bytes(), MARK), "{command:?} tells it: {text}");
    }

    // What is for audit is there, and so is what the schema lists.
    let spans = world.spans()?;
    let calls: Vec<&Value> = spans
        .iter()
        .filter(|s| s["tool_name"] == "spiller" && s["span_kind"] == "tool_call")
        .collect();
    let failed = calls.iter().find(|s| s["error_code"] == "not-found");
    let failed = failed.context("the failed call")?;
    ensure!(failed["annotations"]["region"] == "eu-west", "{failed}");
    ensure!(failed["annotations"]["[undecided]"] == 2, "{failed}");
    ensure!(failed["args_redacted"]["name"] == "fail", "{failed}");
    ensure!(
        failed["args_redacted"]["password"] == "[secret]",
        "{failed}"
    );
    ensure!(
        failed["args_redacted"]["before"][1]["email"] == "[personal]",
        "{failed}"
    );
    ensure!(failed["idempotency_key"] == "spill_fail", "{failed}");
    let parts: Vec<&Value> = spans
        .iter()
        .filter(|s| s["span_kind"] == "tool_span" && s["trace_id"] == failed["trace_id"])
        .collect();
    let names: Vec<&str> = parts.iter().filter_map(|s| s["name"].as_str()).collect();
    ensure!(names == ["lookup", "inner", "[undecided]"], "{names:?}");
    ensure!(parts[0]["parent_span_id"] == failed["span_id"], "{parts:?}");
    ensure!(
        parts[1]["parent_span_id"] == parts[0]["span_id"],
        "{parts:?}"
    );
    ensure!(
        parts[0]["annotations"]["region"] == "eu-central",
        "{parts:?}"
    );
    Ok(())
}

/// With a key, the journal itself has nothing of a person either, and the session goes on all the
/// same.
#[test]
fn with_a_key_the_journal_tells_nothing_of_a_person() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["spiller"])?;
    let key = world.path().join("journal.key");
    fs::write(&key, "3c".repeat(32))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    world.write_config(
        "[journal]\nencryption_key = { file = \"journal.key\" }\n\n[log]\nfile = \"data/log.jsonl\"\n",
    )?;
    script(&world)?;
    run(&world)?;
    for (path, bytes) in all_kept(&world)? {
        ensure!(!has(&bytes, MARK), "{} has it", path.display());
    }
    Ok(())
}
