//! Bad input to the command line: each mistake is a clear error with a reason code and an exit
//! code, and changes nothing.

use std::fs;

use anyhow::ensure;
use serde_json::Value;
use stoplog_tests::{Said, World, bins, guest};

/// The error of a command that must fail.
fn fails(said: &Said, code: i32, reason: &str) -> anyhow::Result<Value> {
    ensure!(
        said.code == Some(code),
        "exit {code} was expected: {said:?}"
    );
    let line = said.stderr.lines().next_back().unwrap_or("");
    let error: Value = serde_json::from_str(line)?;
    ensure!(
        error["error"]["reason"] == reason,
        "{reason} was expected: {error}"
    );
    ensure!(
        error["error"]["hint"]
            .as_str()
            .is_some_and(|h| !h.is_empty()),
        "{error}"
    );
    Ok(error["error"]["message"].clone())
}

#[test]
fn a_config_with_a_typo_names_file_and_line() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let path = world.path().join("stoplog.toml");
    let text = fs::read_to_string(&path)?.replace("feature", "faeture");
    fs::write(&path, text)?;
    let message = fails(&world.host(&World::run_args())?, 4, "config_invalid")?;
    ensure!(
        message
            .as_str()
            .is_some_and(|m| m.contains("stoplog.toml:4:1") && m.contains("faeture")),
        "{message}"
    );
    fs::remove_file(&path)?;
    fails(&world.host(&World::run_args())?, 4, "config_not_found")?;
    Ok(())
}

#[test]
fn a_rule_that_names_no_field_of_the_tool_is_refused() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["paid"])?;
    world.write_config("[tools.paid]\nclear_when = [\"nmae == 'x'\"]\n")?;
    let message = fails(&world.host(&World::run_args())?, 4, "config_invalid")?;
    ensure!(
        message.as_str().is_some_and(|m| m.contains("nmae")),
        "{message}"
    );
    Ok(())
}

#[test]
fn components_that_are_none_or_changed_are_refused() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let broken = world.path().join("broken.wasm");
    let mut bytes = fs::read(guest("keyed"))?;
    bytes.truncate(bytes.len() / 2);
    fs::write(&broken, &bytes)?;
    let path = broken.to_string_lossy().into_owned();
    for command in ["check", "add"] {
        fails(
            &world.host(&["tool", command, &path])?,
            4,
            "tool_not_component",
        )?;
    }
    fs::write(&broken, "not wasm at all")?;
    fails(
        &world.host(&["tool", "check", &path])?,
        4,
        "tool_not_component",
    )?;
    fails(
        &world.host(&["tool", "check", "no/such/file.wasm"])?,
        4,
        "tool_missing",
    )?;

    // The component in the data directory is not the one in the lock any more.
    let tools = world.data_dir().join("tools");
    for entry in fs::read_dir(&tools)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm") {
            let mut bytes = fs::read(&path)?;
            bytes.push(0);
            fs::write(&path, bytes)?;
        }
    }
    fails(&world.host(&World::run_args())?, 4, "tool_changed")?;
    ensure!(
        world.sql("SELECT * FROM events")?.is_empty(),
        "nothing was begun"
    );
    Ok(())
}

#[test]
fn class_external_and_irreversible_are_accepted_by_name() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let file = |name: &str| guest(name).to_string_lossy().into_owned();
    fails(
        &world.host(&["tool", "add", &file("keyed")])?,
        4,
        "tool_class_not_accepted",
    )?;
    let wrong = ["tool", "add", &file("paid"), "--accept-class", "external"];
    fails(&world.host(&wrong)?, 4, "tool_class_not_accepted")?;
    let right = [
        "tool",
        "add",
        &file("paid"),
        "--accept-class",
        "irreversible",
    ];
    ensure!(world.host(&right)?.code == Some(0));
    let listed = world.host(&["tool", "list"])?;
    ensure!(
        listed.json[0]["name"] == "paid" && listed.json[0]["class"] == "irreversible",
        "{listed:?}"
    );
    Ok(())
}

#[test]
fn tool_check_says_class_imports_and_obligations() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let file = guest("issue_refund").to_string_lossy().into_owned();
    let checked = world.host(&["tool", "check", &file])?;
    ensure!(checked.code == Some(0), "{checked:?}");
    ensure!(checked.json["class"] == "irreversible" && checked.json["class_number"] == 4);
    let imports = checked.json["imports"].to_string();
    ensure!(imports.contains("stoplog:tool/effects@0.1.0"), "{imports}");
    ensure!(
        checked.json["obligations"].to_string().contains("preview"),
        "{checked:?}"
    );
    ensure!(checked.json["key"]["template"] == "refund_{order_id}_{reason}");
    Ok(())
}

#[test]
fn sessions_that_are_not_there_or_there_already_or_over() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    fails(&world.host(&["resume", "s"])?, 5, "session_not_found")?;
    ensure!(world.host(&World::run_args())?.code == Some(0));
    fails(&world.host(&World::run_args())?, 5, "session_exists")?;
    fails(&world.host(&["resume", "s"])?, 5, "session_ended")?;
    fails(
        &world.host(&["trace", "show", "nope"])?,
        5,
        "session_not_found",
    )?;
    fails(
        &world.host(&["approvals", "show", "nope"])?,
        1,
        "approval_not_found",
    )?;
    fails(
        &world.host(&["parked", "show", "s/1.0"])?,
        1,
        "park_not_found",
    )?;
    let by = ["parked", "resolve", "nonsense", "--as", "done", "--by", "M"];
    fails(&world.host(&by)?, 1, "park_not_found")?;
    let no_tenant = world.host(&["run", "do it"])?;
    ensure!(
        no_tenant.code == Some(2) && no_tenant.stderr.contains("--tenant"),
        "{no_tenant:?}"
    );
    Ok(())
}

#[test]
fn a_second_host_on_the_data_directory_fails_loudly() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    world.far.misbehave("delay_before", 1, 5_000)?;
    let first = world.command(&World::run_args()).spawn()?;
    stoplog_tests::wait_for("the first host's intent", || {
        let open = world.sql("SELECT * FROM open_intents").ok()?;
        (!open.is_empty()).then_some(())
    })?;
    let second = world.host(&["run", "--tenant", "acme", "--session", "t", "do it"])?;
    let message = fails(&second, 5, "data_dir_locked")?;
    let pid = format!("pid {}", first.id());
    ensure!(
        message.as_str().is_some_and(|m| m.contains(&pid)),
        "{message}"
    );
    // Looking is allowed beside a host.
    ensure!(world.host(&["sessions", "list"])?.code == Some(0));
    ensure!(first.wait_with_output()?.status.success());
    Ok(())
}

#[test]
fn a_damaged_journal_is_an_error_and_never_a_wrong_resume() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    world.host_dies(&World::run_args(), "intent_durable:after:1")?;
    let journal = world.data_dir().join("journal.db");
    // A row is gone: the fold notices.
    let connection = rusqlite::Connection::open(&journal)?;
    connection.execute("DELETE FROM events WHERE kind = 'turn_taken'", [])?;
    drop(connection);
    fails(&world.host(&["resume", "s"])?, 5, "journal_corrupt")?;
    ensure!(world.far.acts_done()? == 0, "nothing was sent");
    // The file is none: refused, and left as it is.
    for side in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(world.data_dir().join(side));
    }
    fs::write(&journal, "x".repeat(10_000))?;
    fails(&world.host(&["resume", "s"])?, 5, "journal_corrupt")?;
    ensure!(fs::read(&journal)?.len() == 10_000, "the file was touched");
    Ok(())
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let well = world.host(&["doctor"])?;
    let problems = |said: &Said| -> Vec<String> {
        let all = said.json.as_array().cloned().unwrap_or_default();
        all.iter()
            .filter(|f| !f["problem"].is_null())
            .map(Value::to_string)
            .collect()
    };
    // Grants of tools that are not in this world's lock are told of, and nothing else.
    ensure!(
        problems(&well)
            .iter()
            .all(|p| p.contains("no such tool in the lock")),
        "{well:?}"
    );
    let path = world.path().join("stoplog.toml");
    let text = fs::read_to_string(&path)?.replace("script.json", "no-such.json");
    fs::write(&path, text)?;
    let ill = world.host(&["doctor"])?;
    ensure!(ill.code == Some(1), "{ill:?}");
    ensure!(
        problems(&ill).iter().any(|p| p.contains("no-such.json")),
        "{ill:?}"
    );
    Ok(())
}

#[test]
fn shells_and_readers_are_told_of_every_command() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = world.command(&["completions", shell]).output()?;
        let script = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success()
                && ["resume", "tenant"]
                    .iter()
                    .all(|word| script.contains(word))
                && !script.contains("far-side"),
            "{shell}: {script}"
        );
    }
    let dir = world.path().join("man");
    let dir_text = dir.to_string_lossy().into_owned();
    ensure!(world.host(&["man", &dir_text])?.code == Some(0));
    for (page, says) in [
        ("stoplog.1", "SIGTERM"),
        ("stoplog-run.1", "Never defaulted"),
        ("stoplog-tool-add.1", "accept"),
    ] {
        let text = fs::read_to_string(dir.join(page))?;
        ensure!(
            text.starts_with(".ie") && text.contains(says),
            "{page}: {text}"
        );
    }
    ensure!(!dir.join("stoplog-tool-test-far-side.1").exists());
    // A file stands where the directory is to be.
    let in_the_way = world.path().join("stoplog.toml");
    let said = world.host(&["man", &in_the_way.to_string_lossy()])?;
    fails(&said, 1, "file_unwritable")?;
    Ok(())
}
