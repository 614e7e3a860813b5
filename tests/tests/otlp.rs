//! Spans at a real collector: over HTTP and over gRPC, with hosts and collectors that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::otlp::Receiver;
use stoplog_tests::{World, bins, wait_for};

const PROTOCOLS: [&str; 2] = ["http", "grpc"];

/// A world with a collector beside it, and a session of one read and one write.
fn world(protocol: &str, more: &str) -> anyhow::Result<(World, Receiver)> {
    let world = World::new(bins!(), &["keyed", "lookup"])?;
    let receiver = Receiver::start(bins!(), world.path())?;
    let address = receiver.address;
    world.write_config(&format!(
        "[telemetry.otlp]\nendpoint = \"http://{address}\"\nprotocol = \"{protocol}\"\n\
         service_name = \"refunds\"\nenvironment = \"test\"\n{more}"
    ))?;
    world.script(&[&[("lookup", "a")], &[("keyed", "x")]])?;
    Ok((world, receiver))
}

fn run(world: &World, session: &str) -> anyhow::Result<()> {
    let ran = world.host(&["run", "--tenant", "acme", "--session", session, "do it"])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    Ok(())
}

fn ids(spans: &[Value]) -> BTreeSet<String> {
    let id = |span: &Value| span["span_id"].as_str().map(str::to_owned);
    spans.iter().filter_map(id).collect()
}

/// The collector has the spans of the file, all of them and no other, each always the same.
fn all_are_there(world: &World, receiver: &Receiver) -> anyhow::Result<()> {
    let lines = world.spans()?;
    let told: BTreeSet<String> = receiver.spans()?.into_keys().collect();
    ensure!(ids(&lines).len() == lines.len(), "a line is there twice");
    ensure!(told == ids(&lines), "{told:?} and {:?}", ids(&lines));
    Ok(())
}

#[test]
fn a_collector_gets_every_span_under_the_names_of_the_conventions() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let headers = "headers = { x-team = \"on-call\", authorization = { file = \"key\" } }\n";
        let (world, receiver) = world(protocol, headers)?;
        let key = world.path().join("key");
        fs::write(&key, "Bearer hidden")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        run(&world, "s")?;
        all_are_there(&world, &receiver)?;
        ensure!(
            receiver.all_spans()?.len() == world.spans()?.len(),
            "each once"
        );

        let requests = receiver.requests()?;
        for request in &requests {
            ensure!(request["over"] == protocol, "{request}");
            ensure!(
                request["headers"]["authorization"] == "Bearer hidden",
                "{request}"
            );
            ensure!(request["headers"]["x-team"] == "on-call", "{request}");
            let resource = &request["resources"][0]["attributes"];
            ensure!(resource["service.name"] == "refunds", "{resource}");
            ensure!(
                resource["deployment.environment.name"] == "test",
                "{resource}"
            );
        }
        let spans = receiver.spans()?;
        let line = |kind: &str, tool: &str| -> anyhow::Result<Value> {
            let lines = world.spans()?;
            let mut of = lines.iter().filter(|s| s["span_kind"] == kind);
            let found = of.find(|s| tool.is_empty() || s["tool_name"] == tool);
            Ok(found.with_context(|| format!("no {kind}"))?.clone())
        };
        let call = line("tool_call", "keyed")?;
        let told = &spans[call["span_id"].as_str().context("an id")?];
        ensure!(told["name"] == "execute_tool keyed", "{told}");
        ensure!(told["trace_id"] == call["trace_id"], "{told}");
        ensure!(told["parent_span_id"] == call["parent_span_id"], "{told}");
        let start = call["timestamp_ms"].as_u64().context("a time")? * 1_000_000;
        let took = call["latency_ms"].as_u64().context("a time")? * 1_000_000;
        ensure!(
            told["start"] == start && told["end"] == start + took,
            "{told}"
        );
        for (name, value) in [
            ("gen_ai.operation.name", json!("execute_tool")),
            ("gen_ai.tool.name", json!("keyed")),
            ("gen_ai.conversation.id", json!("s")),
            ("session.id", json!("s")),
            ("openinference.span.kind", json!("TOOL")),
            ("stoplog.tenant.id", json!("acme")),
            ("stoplog.feature", json!("testing")),
            ("stoplog.blast_radius.class", json!(3)),
            ("stoplog.effect.disposition", json!("executed")),
            ("stoplog.idempotency.key", call["idempotency_key"].clone()),
        ] {
            ensure!(told["attributes"][name] == value, "{name} of {told}");
        }
        let turn = line("llm_call", "")?;
        let told = &spans[turn["span_id"].as_str().context("an id")?];
        ensure!(
            told["name"] == "chat scripted" && told["kind"] == 3,
            "{told}"
        );
        ensure!(
            told["attributes"]["gen_ai.usage.input_tokens"] == 10,
            "{told}"
        );
        ensure!(
            told["attributes"]["stoplog.cost.usd_micros"] == 1000,
            "{told}"
        );
        let root = line("final_response", "")?;
        let told = &spans[root["span_id"].as_str().context("an id")?];
        ensure!(told["name"] == "invoke_agent testing", "{told}");
        ensure!(told["parent_span_id"] == "", "{told}");
    }
    Ok(())
}

#[test]
fn killed_hosts_and_killed_collectors_lose_nothing_and_double_nothing() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let (world, mut receiver) = world(protocol, "")?;
        world.host_dies(&World::run_args(), "request_sent:after:1")?;

        // The collector dies with the batch in hand: it has it, and the host does not know that.
        receiver.next(&[json!({"how": "die"})])?;
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{resumed:?}");
        let had = receiver.all_spans()?.len();
        ensure!(had > 0, "it had a batch when it died");
        receiver.restart()?;

        // The host dies with the batch under way.
        receiver.next(&[json!({"how": "hang"})])?;
        let before = receiver.requests()?.len();
        let mut host = world
            .command(&["run", "--tenant", "acme", "--session", "t", "do it"])
            .spawn()?;
        wait_for("a request to the collector", || {
            let now = receiver.requests().ok()?.len();
            (now > before).then_some(())
        })?;
        host.kill()?;
        host.wait()?;
        receiver.restart()?;
        let all = world.host(&["resume", "--all"])?;
        ensure!(all.code == Some(0), "{all:?}");
        run(&world, "u")?;

        all_are_there(&world, &receiver)?;
        let all = receiver.all_spans()?.len();
        ensure!(all > world.spans()?.len(), "a batch went again: {all}");

        // The run that went on points to the one that died.
        let lines = world.spans()?;
        let roots = lines.iter().filter(|s| s["span_kind"] == "final_response");
        let of_s: Vec<&Value> = roots.filter(|s| s["session_id"] == "s").collect();
        ensure!(of_s.len() == 2, "{of_s:?}");
        let crashed = of_s.iter().find(|s| s["outcome"] == "crashed");
        let resumed = of_s.iter().find(|s| s["outcome"] == "success");
        let crashed = crashed.context("the first run")?;
        let resumed = resumed.context("the second run")?;
        let told = &receiver.spans()?[resumed["span_id"].as_str().context("an id")?];
        ensure!(
            told["links"][0]["trace_id"] == crashed["trace_id"],
            "{told}"
        );
        ensure!(told["links"][0]["span_id"] == crashed["span_id"], "{told}");
    }
    Ok(())
}

#[test]
fn a_collector_that_is_away_or_silent_costs_the_calls_nothing() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let (world, mut receiver) = world(protocol, "timeout_s = 300\n")?;
        receiver.kill()?;
        run(&world, "s")?;
        ensure!(receiver.requests()?.is_empty());
        receiver.restart()?;
        receiver.next(&[json!({"how": "hang"})])?;
        run(&world, "t")?;
        receiver.restart()?;
        run(&world, "u")?;
        all_are_there(&world, &receiver)?;
    }
    Ok(())
}

#[test]
fn a_pause_that_the_collector_asks_for_is_kept() -> anyhow::Result<()> {
    const PAUSE_MS: u64 = 3000;
    for (protocol, status, after) in [("http", 503, "3"), ("grpc", 14, "3000")] {
        let (world, receiver) = world(protocol, "")?;
        world.far.misbehave("hold_answer", 1, 9000)?;
        receiver.next(&[json!({"how": "refuse", "status": status, "after": after})])?;
        let ran = world.host(&World::run_args())?;
        ensure!(ran.code == Some(0), "{ran:?}");
        let told = format!(
            "collector answered {}",
            if protocol == "http" { "503" } else { "code 14" }
        );
        ensure!(ran.stderr.contains(&told), "{ran:?}");
        let requests = receiver.requests()?;
        ensure!(requests.len() >= 2, "{requests:?}");
        ensure!(requests[0]["refused"] == status, "{requests:?}");
        let at = |i: usize| requests[i]["at_ms"].as_u64().context("a time");
        let waited = at(1)? - at(0)?;
        ensure!(waited >= PAUSE_MS, "after {waited} ms");
        all_are_there(&world, &receiver)?;
    }
    Ok(())
}

#[test]
fn what_a_collector_does_not_take_is_told_and_not_sent_again() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let (world, receiver) = world(protocol, "")?;
        receiver.next(&[json!({"how": "part", "rejected": 2})])?;
        let ran = world.host(&World::run_args())?;
        ensure!(ran.code == Some(0), "{ran:?}");
        ensure!(
            ran.stderr.contains("2 span(s) were not taken: too old"),
            "{ran:?}"
        );
        let first = receiver.all_spans()?.len();
        run(&world, "t")?;
        let ids = receiver.spans()?.len();
        ensure!(receiver.all_spans()?.len() == ids, "none came again");
        ensure!(ids > first);
    }
    Ok(())
}

#[test]
fn idempotency_keys_are_told_only_if_they_may_be() -> anyhow::Result<()> {
    let (world, receiver) = world("http", "idempotency_keys = false\n")?;
    run(&world, "s")?;
    all_are_there(&world, &receiver)?;
    let lines = json!(world.spans()?).to_string();
    let key = world.far.keys("/acts")?.pop().context("a key")?;
    ensure!(lines.contains(&key), "the file has it");
    ensure!(!json!(receiver.requests()?).to_string().contains(&key));
    Ok(())
}

#[test]
fn a_collector_that_cannot_be_is_told_before_anything_is_done() -> anyhow::Result<()> {
    for (line, why) in [
        ("endpoint = \"ftp://x\"", "must be an http or https URL"),
        ("endpoint = \"http://x\"\nprotocol = \"udp\"", "it must be"),
        ("endpoint = \"http://x\"\ntimeout_s = 0", "must be 1 to 300"),
        (
            "endpoint = \"http://x\"\nheaders = { a = {} }",
            "`env` or `file`",
        ),
        ("protocol = \"http\"", "endpoint"),
    ] {
        let world = World::new(bins!(), &[])?;
        world.write_config(&format!("[telemetry.otlp]\n{line}\n"))?;
        let ran = world.host(&World::run_args())?;
        ensure!(ran.code == Some(4), "{line}: {ran:?}");
        ensure!(ran.stderr.contains(why), "{line}: {ran:?}");
    }
    Ok(())
}
