//! What is refused on the way, by reason; what is replaced, and what keeps what it began with.

use std::fs;

use anyhow::ensure;
use stoplog_tests::{World, bins, guest};

use crate::desk::Desk;

#[test]
fn each_mistake_of_an_author_has_its_reason_and_names_the_way_on() -> anyhow::Result<()> {
    let desk = Desk::new("mistakes")?;
    desk.fails(".", "tool build", 4, "project_not_found")?;
    desk.fails(".", "tool check", 4, "project_not_found")?;
    desk.fails(".", "tool add", 4, "project_not_found")?;
    let nowhere = desk.fails(".", "tool run hello '{}'", 4, "config_not_found")?;
    ensure!(nowhere.stderr.contains("stoplog tool add"), "{nowhere:?}");
    let cobol = desk.fails(
        ".",
        "tool new t --class read --lang cobol",
        4,
        "template_missing",
    )?;
    ensure!(cobol.stderr.contains("rust"), "{cobol:?}");
    for odd in ["type --class pure", "class --class read --lang python"] {
        let odd = desk.fails(".", &format!("tool new {odd}"), 4, "tool_name_reserved")?;
        ensure!(odd.stderr.contains("another name"), "{odd:?}");
    }
    let usage = desk.sh(".", "stoplog tool new Hello --class read")?;
    ensure!(usage.code == Some(2), "{usage:?}");

    fs::create_dir(desk.path("taken"))?;
    fs::write(desk.path("taken/mine.txt"), "mine")?;
    desk.fails(".", "tool new taken --class read", 4, "project_exists")?;
    let left: Vec<_> = fs::read_dir(desk.path("taken"))?.collect::<Result<_, _>>()?;
    ensure!(left.len() == 1 && fs::read_to_string(desk.path("taken/mine.txt"))? == "mine");

    desk.ok(".", "stoplog tool new hello --class read")?;
    desk.fails("hello", "tool add", 4, "tool_not_built")?;
    desk.fails(".", "tool add hello", 4, "tool_not_built")?;
    ensure!(
        !desk.path("hello/stoplog.toml").exists(),
        "nothing was written"
    );
    let manifest = desk.path("hello/stoplog-tool.toml");
    let good = fs::read_to_string(&manifest)?;
    let with = |steps: &str, requires: &str| {
        let component = "component = \"made.wasm\"\n";
        format!(
            "name = \"hello\"\nlang = \"rust\"\nclass = \"read\"\n{component}\n[build]\n\
             requires = [\"{requires}\"]\nsetup = [\"echo x >> set-up.txt\"]\nsteps = [\"{steps}\"]\n"
        )
    };
    fs::write(&manifest, with("true", "no-such-program"))?;
    let missing = desk.fails("hello", "tool build", 1, "build_failed")?;
    ensure!(missing.stderr.contains("no-such-program"), "{missing:?}");
    fs::write(&manifest, with("false", "sh"))?;
    desk.fails("hello", "tool build", 1, "build_failed")?;
    fs::write(&manifest, with("true", "sh"))?;
    let nothing = desk.fails("hello", "tool build", 1, "build_failed")?;
    ensure!(
        nothing.stderr.contains("made.wasm is not there"),
        "{nothing:?}"
    );
    // What an earlier build made does not pass for what this one could not make.
    fs::write(desk.path("hello/made.wasm"), "of an earlier build")?;
    fs::write(&manifest, with("false", "sh"))?;
    desk.fails("hello", "tool build", 1, "build_failed")?;
    desk.fails("hello", "tool add", 4, "tool_not_built")?;
    let set_up = fs::read_to_string(desk.path("hello/set-up.txt"))?;
    ensure!(set_up == "x\n", "the set-up runs once: {set_up:?}");
    fs::write(&manifest, good.replace("steps", "stpes"))?;
    desk.fails("hello", "tool build", 4, "config_invalid")?;

    // A component that somebody else built goes the same way.
    let keyed = guest("keyed");
    let keyed = keyed.display();
    let bad_grant = desk.sh(".", &format!("stoplog tool add {keyed} --grant ftp://x"))?;
    ensure!(
        bad_grant.code == Some(2) && bad_grant.stderr.contains("http"),
        "{bad_grant:?}"
    );
    let add = format!("tool add {keyed}");
    desk.fails(".", &add, 4, "tool_class_not_accepted")?;
    ensure!(
        !desk.path("data").exists() && !desk.path("stoplog.toml").exists(),
        "a refusal leaves nothing behind"
    );
    desk.ok(".", &format!("stoplog {add} --accept-class external"))?;
    // The configuration that it wrote has no script, and nothing is wrong with that.
    let doctor = desk.sh(".", "stoplog doctor")?;
    ensure!(
        doctor.stdout.contains("ok     model and secrets: scripted"),
        "{doctor:?}"
    );
    let unknown = desk.fails(".", "tool run hello '{}'", 4, "tool_not_added")?;
    ensure!(
        unknown.stderr.contains("stoplog tool add FILE"),
        "{unknown:?}"
    );
    desk.fails(".", "tool run keyed '{'", 1, "input_schema")?;
    // A second configuration below one that is there would be a trap.
    let below = desk.fails("hello", &format!("tool add {keyed}"), 4, "config_not_found")?;
    ensure!(below.stderr.contains("--config"), "{below:?}");
    Ok(())
}

/// The same tool in other bytes: a custom section is behind it, which changes nothing but the
/// digest.
fn in_other_bytes(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // Section 0, five bytes long: a name of four.
    bytes.extend_from_slice(&[0, 5, 4]);
    bytes.extend_from_slice(b"more");
    bytes
}

/// What was taken away is gone, also for a session that began when it was there.
#[test]
fn a_session_that_goes_on_reaches_what_is_granted_today() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")], &[("keyed", "y")]])?;
    world.host_dies(&World::run_args(), "turn_taken:after:2")?;
    let config = world.path().join("stoplog.toml");
    let text = fs::read_to_string(&config)?;
    ensure!(text.contains("\"keyed\", "), "{text}");
    fs::write(&config, text.replace("\"keyed\", ", ""))?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    let bodies = world.sql("SELECT body FROM events WHERE kind = 'observed' ORDER BY seq")?;
    ensure!(bodies.len() == 2, "{bodies:?}");
    ensure!(bodies[1][0].contains("origin_not_granted"), "{bodies:?}");
    let keys = world.far.keys("/acts")?;
    ensure!(keys == ["act_x"], "{keys:?}");
    Ok(())
}

#[test]
fn a_session_goes_on_with_the_tool_that_it_began_with() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let other = world.path().join("other.wasm");
    fs::write(&other, in_other_bytes(&fs::read(guest("keyed"))?))?;
    let other = other.to_string_lossy().into_owned();
    let components = || -> anyhow::Result<Vec<std::path::PathBuf>> {
        let entries = fs::read_dir(world.data_dir().join("tools"))?;
        let paths = entries.map(|e| Ok(e?.path()));
        let mut paths: Vec<_> = paths.collect::<anyhow::Result<_>>()?;
        paths.retain(|p| p.extension().is_some_and(|e| e == "wasm"));
        Ok(paths)
    };
    let before = components()?;
    world.host_dies(&World::run_args(), "intent_durable:after:1")?;

    let refused = world.host(&["tool", "add", &other])?;
    ensure!(refused.code == Some(4), "{refused:?}");
    let command = format!("stoplog tool add {other} --replace --accept-class external");
    for part in ["tool_changed", "component", &command] {
        ensure!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    let replace = [
        "tool",
        "add",
        &other,
        "--replace",
        "--accept-class",
        "external",
    ];
    ensure!(world.host(&replace)?.code == Some(0));
    let same = world.host(&["tool", "add", &other])?;
    ensure!(
        same.code == Some(0),
        "what is in the lock is no change: {same:?}"
    );

    // The new component is gone, and the session does not miss it; a new session does.
    for path in components()?.iter().filter(|p| !before.contains(p)) {
        fs::remove_file(path)?;
    }
    let resumed = world.host(&["resume", "s"])?;
    ensure!(
        resumed.code == Some(0) && resumed.json["outcome"] == "success",
        "{resumed:?}"
    );
    ensure!(world.far.acts_done()? == 1, "once");
    let new = world.host(&["run", "--tenant", "acme", "--session", "t", "do it"])?;
    ensure!(
        new.code == Some(4) && new.stderr.contains("tool_missing"),
        "{new:?}"
    );
    Ok(())
}

#[test]
fn tools_are_listed_for_providers_and_for_mcp() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup", "issue_refund"])?;
    let list = |format: &str| -> anyhow::Result<serde_json::Value> {
        let said = world.host(&["tool", "list", "--format", format])?;
        ensure!(said.code == Some(0), "{said:?}");
        ensure!(!said.json.to_string().contains("\"x-"), "{}", said.json);
        Ok(said.json)
    };
    let openai = list("openai")?;
    ensure!(openai[0]["function"]["name"] == "issue_refund", "{openai}");
    ensure!(
        openai[1]["function"]["parameters"]["type"] == "object",
        "{openai}"
    );
    let anthropic = list("anthropic")?;
    ensure!(
        anthropic[0]["input_schema"] == openai[0]["function"]["parameters"],
        "{anthropic}"
    );
    let mcp = list("mcp")?;
    let hints = |i: usize| mcp["tools"][i]["annotations"].clone();
    ensure!(
        hints(0)["destructiveHint"] == true && hints(0)["readOnlyHint"] == false,
        "{mcp}"
    );
    ensure!(
        hints(1)["readOnlyHint"] == true && hints(1)["destructiveHint"] == false,
        "{mcp}"
    );
    ensure!(mcp["tools"][0]["outputSchema"]["type"] == "object", "{mcp}");
    Ok(())
}

#[test]
fn a_call_by_hand_goes_on_after_a_kill() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let call = ["tool", "run", "keyed", "{\"name\":\"x\"}", "--session", "s"];
    world.host_dies(&call, "answer_received:after:1")?;
    ensure!(world.far.acts_done()? == 1, "it was done, and nobody knows");
    let gone_on = world.host(&["tool", "run", "keyed", "--session", "s"])?;
    ensure!(
        gone_on.code == Some(0) && gone_on.json["output"]["act_id"].is_string(),
        "{gone_on:?}"
    );
    ensure!(world.far.acts_done()? == 1, "and not again");
    ensure!(world.far.keys("/acts")? == ["act_x", "act_x"]);
    Ok(())
}

#[test]
fn tools_that_are_added_at_once_are_all_in_the_lock() -> anyhow::Result<()> {
    let desk = Desk::new("at-once")?;
    for n in 1..=5 {
        desk.ok(".", &format!("stoplog tool new t{n} --from http-get"))?;
    }
    // One makes the configuration; the others find it.
    desk.ok(".", "stoplog tool add t1")?;
    let all = "for n in 2 3 4 5; do stoplog tool add t$n & done; wait";
    desk.ok(".", all)?;
    let listed = desk.ok(".", "stoplog --json tool list")?.json()?;
    let listed = listed.as_array().map_or(0, Vec::len);
    ensure!(listed == 5, "{listed} tools of five are in the lock");
    Ok(())
}

#[test]
fn a_tool_of_another_class_keeps_no_grants() -> anyhow::Result<()> {
    let desk = Desk::new("keeps-none")?;
    desk.ok(".", "stoplog tool new t1 --from http-get")?;
    let granted = desk
        .ok(".", "stoplog --json tool add t1 --grant-asked")?
        .json()?;
    let places = granted["granted"].as_array().map_or(0, Vec::len);
    ensure!(places > 0, "{granted}");
    desk.ok(".", "rm -r t1 && stoplog tool new t1 --from http-post")?;
    let replaced = desk.ok(
        ".",
        "stoplog --json tool add t1 --replace --accept-class external",
    )?;
    let replaced = replaced.json()?;
    ensure!(replaced["class"] == "external", "{replaced}");
    ensure!(replaced["granted"] == serde_json::json!([]), "{replaced}");
    Ok(())
}

#[test]
fn a_lock_that_says_something_else_is_believed_by_nobody() -> anyhow::Result<()> {
    let desk = Desk::new("edited")?;
    desk.ok(".", "stoplog tool new t1 --from http-post")?;
    desk.ok(".", "stoplog tool add t1 --accept-class external")?;
    desk.edit(
        "stoplog.lock",
        "class = \"external\"",
        "class = \"read-only\"",
    )?;
    for command in ["stoplog tool list --format mcp", "stoplog doctor"] {
        let told = desk.sh(".", command)?;
        let said = format!("{}{}", told.stdout, told.stderr);
        ensure!(told.code != Some(0), "{command}: {said}");
        ensure!(said.contains("something else of it"), "{command}: {said}");
    }
    Ok(())
}
