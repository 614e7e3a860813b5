//! Calls: each is done once, whoever asks again, and whatever died in between.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use stoplog_tests::service::{Say, Service};
use stoplog_tests::wait_for;

use super::{act, text, world};

#[test]
fn a_repeat_is_told_what_came_of_it_also_by_the_next_host() -> anyhow::Result<()> {
    let world = world(&["keyed", "lookup"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let first = act(&service, &agent, "keyed", "x", Some("\"k-1\""))?;
    ensure!(first.status == 200, "{first:?}");
    ensure!(
        text(&first.json(), "disposition") == "executed",
        "{first:?}"
    );
    ensure!(
        !first.headers.contains_key("idempotent-replayed"),
        "{first:?}"
    );
    let output = first.json()["output"].clone();

    let check = |service: &Service| -> anyhow::Result<()> {
        let again = act(service, &agent, "keyed", "x", Some("k-1"))?;
        ensure!(again.status == 200, "{again:?}");
        ensure!(again.json()["output"] == output, "{again:?}");
        ensure!(again.headers["idempotent-replayed"] == "true", "{again:?}");
        ensure!(
            text(&again.json(), "disposition") == "replayed",
            "{again:?}"
        );
        for (tool, name) in [("keyed", "y"), ("lookup", "x")] {
            let other = act(service, &agent, tool, name, Some("k-1"))?;
            ensure!(
                (other.status, other.reason()) == (422, "key_conflict".into()),
                "{other:?}"
            );
        }
        // Without a key the act's own serves.
        let bare = act(service, &agent, "keyed", "x", None)?;
        ensure!(
            text(&bare.json(), "disposition") == "deduplicated",
            "{bare:?}"
        );
        ensure!(bare.json()["output"] == output, "{bare:?}");
        Ok(())
    };
    check(&service)?;
    service.kill()?;
    let service = Service::start(&world)?;
    check(&service)?;
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    // A read leaves its result under the key too.
    let read = act(&service, &agent, "lookup", "x", Some("k-2"))?;
    ensure!(read.json()["output"] == json!({"count": 1}), "{read:?}");
    world.far.ask("DELETE", "/acts/by-key/act_x", None)?;
    let again = act(&service, &agent, "lookup", "x", Some("k-2"))?;
    ensure!(again.json()["output"] == json!({"count": 1}), "{again:?}");
    ensure!(verified(&world)?, "the journal is not what was written");
    Ok(())
}

fn verified(world: &stoplog_tests::World) -> anyhow::Result<bool> {
    Ok(world.host(&["verify"])?.code == Some(0))
}

/// Keys are those of their owner: another one's key of the same text is another key.
#[test]
fn a_key_is_its_owners() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let (ann, bob) = (
        world.key("acme", "agent", "ann")?,
        world.key("initech", "agent", "bob")?,
    );
    let service = Service::start(&world)?;
    let first = act(&service, &ann, "keyed", "a", Some("k"))?;
    let second = act(&service, &bob, "keyed", "b", Some("k"))?;
    ensure!(
        first.status == 200 && second.status == 200,
        "{first:?} {second:?}"
    );
    ensure!(world.far.acts_done()? == 2);
    Ok(())
}

#[test]
fn two_at_once_make_one_effect() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    for (name, key) in [("x", Some("k")), ("y", None)] {
        world.far.misbehave("hold_answer", 1, 1_500)?;
        let done = world.far.acts_done()?;
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let first = scope.spawn(|| act(&service, &agent, "keyed", name, key));
            wait_for("the act", || {
                (world.far.acts_done().ok()? == done + 1).then_some(())
            })?;
            let second = act(&service, &agent, "keyed", name, key)?;
            ensure!(
                (second.status, second.reason()) == (409, "key_in_flight".into()),
                "{second:?}"
            );
            ensure!(second.headers.contains_key("retry-after"), "{second:?}");
            let first = first.join().expect("no panic")?;
            ensure!(first.status == 200, "{first:?}");
            Ok(())
        })?;
        let again = act(&service, &agent, "keyed", name, key)?;
        ensure!(again.status == 200, "{again:?}");
        ensure!(
            world.far.acts_done()? == done + 1,
            "{}",
            world.far.acts_done()?
        );
    }
    Ok(())
}

/// The far side has done it and the host is killed before the answer: the client asks again, and is
/// told; by its key, or by the act's.
#[test]
fn killed_in_a_call_the_repeat_is_told() -> anyhow::Result<()> {
    for (tool, key) in [
        ("keyed", Some("k")),
        ("probed", Some("k")),
        ("probed", None),
    ] {
        let world = world(&[tool])?;
        if tool == "probed" {
            world.far.misbehave("forget_keys", 0, 0)?;
        }
        let agent = world.key("acme", "agent", "bot")?;
        let service = Service::start(&world)?;
        world.far.misbehave("hold_answer", 1, 60_000)?;
        let asked = std::thread::scope(|scope| -> anyhow::Result<_> {
            let asked = scope.spawn(|| act(&service, &agent, tool, "x", key));
            wait_for("the act", || {
                (world.far.acts_done().ok()? == 1).then_some(())
            })?;
            let kill = format!("kill -9 {}", service.pid());
            std::process::Command::new("sh")
                .args(["-c", &kill])
                .status()?;
            Ok(asked.join().expect("no panic"))
        })?;
        ensure!(asked.is_err(), "{asked:?}");
        drop(service);
        let service = Service::start(&world)?;
        let again = act(&service, &agent, tool, "x", key)?;
        ensure!(again.status == 200, "{tool}: {again:?}");
        ensure!(
            !text(&again.json()["output"], "act_id").is_empty(),
            "{again:?}"
        );
        ensure!(
            world.far.acts_done()? == 1,
            "{tool}: {}",
            world.far.acts_done()?
        );
        ensure!(verified(&world)?);
    }
    Ok(())
}

/// Many calls of one client beside each other: each is a turn of its own, and has one span.
#[test]
fn calls_of_one_client_do_not_wait_for_each_other() -> anyhow::Result<()> {
    let world = world(&["keyed", "lookup"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 3_000)?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let (service, agent) = (&service, &agent);
        let slow = scope.spawn(|| act(service, agent, "keyed", "slow", Some("slow")));
        wait_for("the act", || {
            (world.far.acts_done().ok()? == 1).then_some(())
        })?;
        let quick = |i: u32| {
            let name = format!("n{i}");
            act(service, agent, "keyed", &name, Some(&name))
        };
        let all: Vec<_> = (0..40).map(|i| scope.spawn(move || quick(i))).collect();
        for one in all {
            let heard = one.join().expect("no panic")?;
            ensure!(heard.status == 200, "{heard:?}");
        }
        ensure!(!slow.is_finished(), "they waited");
        let slow = slow.join().expect("no panic")?;
        ensure!(slow.status == 200, "{slow:?}");
        Ok(())
    })?;
    service.terminate()?;
    let (status, _) = service.ended()?;
    ensure!(status.code() == Some(0), "{status:?}");
    ensure!(world.far.acts_done()? == 41);
    let open = world.sql("SELECT status, count(*) FROM sessions GROUP BY status")?;
    ensure!(open.len() == 1 && open[0][0] == "ended", "{open:?}");
    let spans = world.spans()?;
    let calls = spans.iter().filter(|s| s["span_kind"] == "tool_call");
    ensure!(calls.count() == 41);
    let mut ids: Vec<&str> = spans.iter().map(|s| text(s, "span_id")).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == spans.len(), "a span id is there twice");
    ensure!(
        spans.iter().all(|s| s["span_kind"] != "llm_call"),
        "nobody paid for a model"
    );
    ensure!(verified(&world)?);
    Ok(())
}

#[test]
fn what_the_host_refuses_is_a_problem() -> anyhow::Result<()> {
    let world = world(&["keyed", "trap_after_effect", "spinner"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let call = |tool: &str, body| {
        let say = Say::of(&agent).body(body);
        service.ask("POST", &format!("/tools/{tool}/call"), &say)
    };
    let wrong = call("keyed", json!({"arguments": {"name": 5}}))?;
    ensure!(
        (wrong.status, wrong.reason()) == (400, "input_schema".into()),
        "{wrong:?}"
    );
    ensure!(
        wrong.headers["content-type"] == "application/problem+json",
        "{wrong:?}"
    );
    ensure!(text(&wrong.json(), "changed") == "nothing", "{wrong:?}");
    ensure!(!text(&wrong.json(), "hint").is_empty(), "{wrong:?}");
    let slow = call("spinner", json!({"arguments": {"name": "x"}}))?;
    ensure!(
        (slow.status, slow.reason()) == (500, "sandbox_timeout".into()),
        "{slow:?}"
    );
    // An error that changed nothing gives the key free.
    let say = |name: serde_json::Value| {
        Say::of(&agent)
            .with("idempotency-key", "k")
            .body(json!({"arguments": {"name": name}}))
    };
    let wrong = service.ask("POST", "/tools/keyed/call", &say(json!(5)))?;
    ensure!(wrong.status == 400, "{wrong:?}");
    let right = service.ask("POST", "/tools/keyed/call", &say(json!("x")))?;
    ensure!(right.status == 200, "{right:?}");
    Ok(())
}

/// A client that goes away takes nothing with it.
#[test]
fn who_hangs_up_finds_its_call_done() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 800)?;
    let say = Say::of(&agent)
        .with("idempotency-key", "k")
        .body(json!({"arguments": {"name": "x"}}));
    let stream = service.send("POST", "/tools/keyed/call", &say)?;
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    drop(stream);
    let again = wait_for("its result", || {
        std::thread::sleep(Duration::from_millis(100));
        let heard = service.ask("POST", "/tools/keyed/call", &say).ok()?;
        (heard.status == 200).then_some(heard)
    })?;
    ensure!(
        again.headers.contains_key("idempotent-replayed"),
        "{again:?}"
    );
    ensure!(world.far.acts_done()? == 1);
    let answered = world.sql("SELECT count(*) FROM events WHERE kind = 'observed'")?;
    ensure!(answered.first().context("a row")?[0] == "1", "{answered:?}");
    Ok(())
}
