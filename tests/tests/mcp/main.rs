//! MCP, spoken to by the official SDKs for Python and TypeScript and by the inspector, over both
//! transports, with the host killed in the middle of a call.
//!
//! Needs `python3` with `venv`, `node` and `npm`, and the network the first time.

mod clients;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Say, Service};
use stoplog_tests::{World, bins, wait_for};

use clients::{At, Plan, SDKS, Sdk, inspect};

/// The host as a client starts it.
fn stdio(world: &World, more: &[&str]) -> At {
    let config = world.path().join("stoplog.toml").display().to_string();
    let mut words = vec![
        bins!().host.to_owned(),
        "--config".into(),
        config,
        "mcp".into(),
    ];
    words.extend(["--tenant", "acme"].map(str::to_owned));
    words.extend(more.iter().map(|&w| w.to_owned()));
    let watch = world.data_dir().display().to_string();
    At::Stdio(words, vec![("STOPLOG_WATCH_DIR".into(), watch)])
}

fn http(service: &Service, key: &str) -> At {
    At::Http(format!("http://{}/mcp", service.address), key.to_owned())
}

fn call(tool: &str, name: &str) -> Value {
    json!({"op": "call", "tool": tool, "arguments": {"name": name}})
}

fn keyed(tool: &str, name: &str, key: &str) -> Value {
    let mut call = call(tool, name);
    call["meta"] = json!({"stoplog/idempotency-key": key});
    call
}

fn meta<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer["_meta"][format!("stoplog/{name}")]
        .as_str()
        .unwrap_or_default()
}

/// Definitions are those of `tool list --format mcp`, with all four annotations; results are
/// structured; errors have their reason; resources and the prompt are there.
fn speaks(sdk: Sdk, at: &At, world: &World, mode: &'static str) -> anyhow::Result<()> {
    let steps = [
        json!({"op": "list"}),
        keyed("keyed", "x", "k-1"),
        keyed("keyed", "x", "k-1"),
        keyed("keyed", "y", "k-1"),
        call("keyed", "x"),
        json!({"op": "call", "tool": "keyed", "arguments": {"name": 5}}),
        call("nothing", "x"),
        json!({"op": "templates"}),
        json!({"op": "prompt", "name": "on_call", "arguments": {"session": "sess_88"}}),
    ];
    let mut plan = Plan::new(at, &steps);
    plan.mode = mode;
    let said = sdk.run(&plan)?;
    let answer = |i: usize| &said[i + 1]["answer"];
    let listed = world.host(&["tool", "list", "--format", "mcp"])?;
    for (told, expected) in answer(0)["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .zip(listed.json["tools"].as_array().context("tools")?)
    {
        for part in [
            "name",
            "inputSchema",
            "outputSchema",
            "annotations",
            "_meta",
        ] {
            ensure!(told[part] == expected[part], "{part}: {told} {expected}");
        }
        let hints = told["annotations"].as_object().context("annotations")?;
        ensure!(hints.len() == 4, "{hints:?}");
    }
    ensure!(
        answer(0)["tools"].as_array().map(Vec::len)
            == listed.json["tools"].as_array().map(Vec::len)
    );
    let first = answer(1);
    ensure!(!first["structuredContent"]["act_id"].is_null(), "{first}");
    ensure!(
        meta(first, "trace-id").len() == 32 && !meta(first, "call-id").is_empty(),
        "{first}"
    );
    let again = answer(2);
    ensure!(meta(again, "disposition") == "replayed", "{again}");
    ensure!(
        again["structuredContent"] == first["structuredContent"],
        "{again}"
    );
    for (i, reason) in [(3, "key_conflict"), (5, "input_schema")] {
        let told = answer(i);
        ensure!(told["isError"] == true, "{told}");
        let error = &told["_meta"]["stoplog/error"];
        ensure!(
            error["reason"] == reason && error["hint"].is_string(),
            "{told}"
        );
        ensure!(
            told["content"][0]["text"]
                .as_str()
                .is_some_and(|t| t.contains(reason)),
            "{told}"
        );
    }
    ensure!(
        meta(answer(4), "disposition") == "deduplicated",
        "{}",
        answer(4)
    );
    ensure!(
        answer(6)["failed"]
            .as_str()
            .is_some_and(|f| f.contains("nothing")),
        "{}",
        answer(6)
    );
    ensure!(
        answer(7)
            .to_string()
            .contains("stoplog://sessions/{session}"),
        "{}",
        answer(7)
    );
    ensure!(answer(8).to_string().contains("sess_88"), "{}", answer(8));
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);

    // What a session did, and its spans, for whoever asks next.
    let session = meta(first, "session");
    let reads = [
        json!({"op": "read", "uri": format!("stoplog://sessions/{session}")}),
        json!({"op": "read", "uri": format!("stoplog://traces/{session}")}),
        json!({"op": "read", "uri": "stoplog://sessions/other"}),
    ];
    let said = sdk.run(&Plan {
        mode,
        ..Plan::new(at, &reads)
    })?;
    let text = |i: usize| {
        said[i]["answer"]["contents"][0]["text"]
            .as_str()
            .unwrap_or_default()
    };
    ensure!(text(1).contains("\"tool_name\":\"keyed\""), "{said:?}");
    ensure!(text(2).contains("\"span_kind\":\"tool_call\""), "{said:?}");
    ensure!(said[3]["answer"]["failed"].is_string(), "{said:?}");
    Ok(())
}

#[test]
fn the_sdks_speak_over_standard_input() -> anyhow::Result<()> {
    for (sdk, mode) in [
        (Sdk::Python, "legacy"),
        (Sdk::Python, "2026-07-28"),
        (Sdk::TypeScript, "legacy"),
    ] {
        let world = World::new(bins!(), &["keyed", "lookup", "paid"])?;
        let at = stdio(&world, &[]);
        speaks(sdk, &at, &world, mode).with_context(|| format!("{sdk:?} {mode}"))?;
    }
    Ok(())
}

#[test]
fn the_sdks_speak_over_http() -> anyhow::Result<()> {
    for (sdk, mode) in [
        (Sdk::Python, "legacy"),
        (Sdk::Python, "2026-07-28"),
        (Sdk::TypeScript, "legacy"),
    ] {
        let world = World::new(bins!(), &["keyed", "lookup", "paid"])?;
        let agent = world.key("acme", "agent", "bot")?;
        let service = Service::start(&world)?;
        speaks(sdk, &http(&service, &agent), &world, mode)
            .with_context(|| format!("{sdk:?} {mode}"))?;
    }
    Ok(())
}

#[test]
fn the_inspector_speaks_over_both() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed", "lookup"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let check = |at: &At| -> anyhow::Result<()> {
        let listed = inspect(at, &["tools/list"])?;
        let names: Vec<&str> = listed["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|t| t["name"].as_str())
            .collect();
        ensure!(names == ["keyed", "lookup"], "{listed}");
        ensure!(
            listed["tools"][1]["annotations"]["readOnlyHint"] == true,
            "{listed}"
        );
        let called = inspect(
            at,
            &["tools/call", "--tool-name", "keyed", "--tool-arg", "name=x"],
        )?;
        ensure!(!called["structuredContent"]["act_id"].is_null(), "{called}");
        Ok(())
    };
    // The entry that `mcp install` writes for a client is what the inspector starts.
    let file = world.path().join("mcp.json");
    std::fs::write(&file, "{\"theme\": \"dark\", \"mcpServers\": {}}")?;
    let path = file.display().to_string();
    let install = [
        "mcp",
        "install",
        "--client",
        "claude-desktop",
        "--tenant",
        "acme",
        "--file",
        &path,
    ];
    let unasked = world.host(&install)?;
    ensure!(
        unasked.code == Some(4) && unasked.stderr.contains("+ "),
        "{unasked:?}"
    );
    ensure!(
        !std::fs::read_to_string(&file)?.contains("stoplog"),
        "nobody agreed"
    );
    let installed = world.host(&[&install[..], &["--yes"]].concat())?;
    ensure!(installed.code == Some(0), "{installed:?}");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains("\"theme\": \"dark\""), "{text}");
    let words = ["--config", &path, "--server", "stoplog"].map(str::to_owned);
    check(&At::Stdio(words.to_vec(), Vec::new())).context("standard input")?;
    let service = Service::start(&world)?;
    check(&http(&service, &agent)).context("HTTP")?;
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    Ok(())
}

/// The host is killed when the far side has done it and nobody knows: a client that comes back and
/// repeats is told, with a key of its own and without.
#[test]
fn killed_in_a_call_the_client_comes_back_and_is_told() -> anyhow::Result<()> {
    for sdk in SDKS {
        for key in [Some("k-1"), None] {
            let ask = match key {
                Some(key) => keyed("keyed", "x", key),
                None => call("keyed", "x"),
            };
            // Over HTTP.
            let world = World::new(bins!(), &["keyed"])?;
            let agent = world.key("acme", "agent", "bot")?;
            let service = Service::start(&world)?;
            world.far.misbehave("hold_answer", 1, 60_000)?;
            let mut client = sdk.start(&Plan::new(
                &http(&service, &agent),
                std::slice::from_ref(&ask),
            ))?;
            wait_for("the act", || {
                (world.far.acts_done().ok()? == 1).then_some(())
            })?;
            service.kill()?;
            client.kill()?;
            client.wait()?;
            let service = Service::start(&world)?;
            let said = sdk.run(&Plan::new(
                &http(&service, &agent),
                std::slice::from_ref(&ask),
            ))?;
            ensure!(
                !said[1]["answer"]["structuredContent"]["act_id"].is_null(),
                "{sdk:?} {key:?}: {said:?}"
            );
            ensure!(
                world.far.acts_done()? == 1,
                "{sdk:?}: {}",
                world.far.acts_done()?
            );

            // Over standard input: the client's child is killed, by a word to itself.
            let world = World::new(bins!(), &["keyed"])?;
            let At::Stdio(words, mut variables) = stdio(&world, &[]) else {
                continue;
            };
            variables.push(("STOPLOG_DIE_AT".into(), "request_sent:after:1".into()));
            let dying = At::Stdio(words, variables);
            let mut client = sdk.start(&Plan::new(&dying, std::slice::from_ref(&ask)))?;
            wait_for("the act", || {
                (world.far.acts_done().ok()? == 1).then_some(())
            })?;
            wait_for("the host's death", || {
                let open = world.sql("SELECT count(*) FROM open_intents").ok()?;
                (open[0][0] == "1").then_some(())
            })?;
            client.kill()?;
            client.wait()?;
            let said = sdk.run(&Plan::new(&stdio(&world, &[]), std::slice::from_ref(&ask)))?;
            ensure!(
                !said[1]["answer"]["structuredContent"]["act_id"].is_null(),
                "{sdk:?} {key:?}: {said:?}"
            );
            ensure!(
                world.far.acts_done()? == 1,
                "{sdk:?}: {}",
                world.far.acts_done()?
            );
        }
    }
    Ok(())
}

/// A client that gives a call up: what was sent is finished, and the repeat is told.
#[test]
fn a_call_that_is_given_up_is_finished_and_told() -> anyhow::Result<()> {
    for sdk in SDKS {
        let world = World::new(bins!(), &["keyed"])?;
        world.far.misbehave("hold_answer", 1, 2_500)?;
        let mut given_up = keyed("keyed", "x", "k");
        given_up["give_up_after"] = json!(1);
        let mut told = keyed("keyed", "x", "k");
        told["progress"] = json!(true);
        // As long as it is under way the repeat is told to wait.
        let steps = [vec![given_up], vec![told; 40]].concat();
        let said = sdk.run(&Plan::new(&stdio(&world, &[]), &steps))?;
        ensure!(
            said[1]["answer"]["gave_up"] == true,
            "{sdk:?}: {:?}",
            said[1]
        );
        let last = &said[40]["answer"];
        let waited = said
            .iter()
            .any(|s| s["answer"]["_meta"]["stoplog/error"]["reason"] == "key_in_flight");
        ensure!(waited, "{sdk:?}: {said:?}");
        ensure!(world.far.acts_done()? == 1, "{sdk:?}: {last}");
    }
    Ok(())
}

#[test]
fn progress_is_told_to_who_asks_for_it() -> anyhow::Result<()> {
    for sdk in SDKS {
        let world = World::new(bins!(), &["keyed"])?;
        world.far.misbehave("hold_answer", 1, 5_000)?;
        let mut ask = call("keyed", "x");
        ask["progress"] = json!(true);
        let said = sdk.run(&Plan::new(&stdio(&world, &[]), &[ask]))?;
        let told = said[1]["told"].as_array().context("progress")?;
        ensure!(told.len() >= 2, "{sdk:?}: {said:?}");
        ensure!(
            told[0]["message"]
                .as_str()
                .is_some_and(|m| m.contains("keyed")),
            "{told:?}"
        );
    }
    Ok(())
}

/// An approval without a person at the client: the result names it, and the repeat goes through.
#[test]
fn an_approval_is_named_and_the_repeat_goes_through() -> anyhow::Result<()> {
    for sdk in SDKS {
        let world = World::new(bins!(), &["paid"])?;
        let (agent, approver) = (
            world.key("acme", "agent", "bot")?,
            world.key("acme", "approver", "Meera")?,
        );
        let service = Service::start(&world)?;
        // A client that could be asked is not: over HTTP nobody is known to sit at it.
        let mut plan = Plan::new(&http(&service, &agent), &[call("paid", "x")]);
        plan.elicit = Some(json!({"approve": true}));
        let said = sdk.run(&plan)?;
        let told = &said[1]["answer"];
        ensure!(
            told["isError"] == true && said[1]["told"] == json!([]),
            "{sdk:?}: {said:?}"
        );
        let error = &told["_meta"]["stoplog/error"];
        ensure!(error["reason"] == "approval_required", "{told}");
        let id = error["approval"].as_str().context("an approval")?;
        ensure!(
            error["hint"].as_str().is_some_and(|h| h.contains(id)),
            "{told}"
        );
        ensure!(world.far.acts_done()? == 0);
        let approve = format!("/approvals/{id}/approve");
        let approved = service.ask("POST", &approve, &Say::of(&approver).body(json!({})))?;
        ensure!(approved.status == 200, "{approved:?}");
        let said = sdk.run(&Plan::new(&http(&service, &agent), &[call("paid", "x")]))?;
        ensure!(
            !said[1]["answer"]["structuredContent"]["act_id"].is_null(),
            "{sdk:?}: {said:?}"
        );
        ensure!(world.far.acts_done()? == 1);
    }
    Ok(())
}

/// The person at the client decides, where the operator has named one; and nobody where not.
#[test]
fn the_person_at_the_client_is_asked_where_there_is_one() -> anyhow::Result<()> {
    for sdk in SDKS {
        let world = World::new(bins!(), &["paid"])?;
        let asks = |more: &[&str], answer: Value, name: &str| -> anyhow::Result<Value> {
            let mut plan = Plan::new(&stdio(&world, more), &[call("paid", name)]);
            plan.elicit = Some(answer);
            let mut said = sdk.run(&plan)?;
            Ok(said.swap_remove(1))
        };
        let nobody = asks(&[], json!({"approve": true}), "a")?;
        ensure!(
            nobody["told"] == json!([]) && nobody["answer"]["isError"] == true,
            "{nobody}"
        );
        let meera = ["--approver", "Meera"];
        let yes = asks(&meera, json!({"approve": true}), "b")?;
        ensure!(
            yes["told"][0]["asked"]
                .as_str()
                .is_some_and(|q| q.contains("Do the act b")),
            "{sdk:?}: {yes}"
        );
        ensure!(
            !yes["answer"]["structuredContent"]["act_id"].is_null(),
            "{yes}"
        );
        let no = asks(&meera, json!({"approve": false, "note": "not today"}), "c")?;
        ensure!(
            no["answer"]["_meta"]["stoplog/error"]["reason"] == "approval_rejected",
            "{no}"
        );
        ensure!(no.to_string().contains("not today"), "{no}");
        let silent = asks(&meera, Value::Null, "d")?;
        ensure!(
            silent["answer"]["_meta"]["stoplog/error"]["reason"] == "approval_required",
            "{silent}"
        );
        ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
        let decided = world.host(&["approvals", "list", "--all"])?;
        let by: Vec<&str> = decided
            .json
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| a["decided_by"].as_str())
            .collect();
        ensure!(by == ["Meera", "Meera"], "{decided:?}");
    }
    Ok(())
}
