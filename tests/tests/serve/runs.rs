//! Runs: in the journal before anything is answered, done once, followed from any event.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Heard, Say, Service};
use stoplog_tests::wait_for;

use super::{text, world};

fn run(service: &Service, agent: &str, task: &str, more: &[(&str, &str)]) -> anyhow::Result<Heard> {
    let mut say = Say::of(agent).body(json!({"task": task}));
    for (name, value) in more {
        say = say.with(name, value);
    }
    service.ask("POST", "/agent/run", &say)
}

#[test]
fn a_run_is_begun_once_under_its_key() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let key = [("idempotency-key", "r-1")];
    let first = run(&service, &agent, "do it", &key)?;
    ensure!(first.status == 200, "{first:?}");
    let told = first.json();
    ensure!(
        (text(&told, "status"), text(&told, "answer")) == ("ended", "done"),
        "{told}"
    );
    ensure!(text(&told, "trace_id").len() == 32, "{told}");
    let place = &first.headers["location"];

    let again = run(&service, &agent, "do it", &key)?;
    ensure!(
        again.status == 200 && again.headers["idempotent-replayed"] == "true",
        "{again:?}"
    );
    ensure!(again.json() == told, "{again:?}");
    let other = run(&service, &agent, "do something else", &key)?;
    ensure!(
        (other.status, other.reason()) == (422, "key_conflict".into()),
        "{other:?}"
    );
    for bad in ["", "two words", "\"open"] {
        let bad = run(&service, &agent, "do it", &[("idempotency-key", bad)])?;
        ensure!(
            (bad.status, bad.reason()) == (400, "idempotency_key_invalid".into()),
            "{bad:?}"
        );
    }
    let shown = service.ask("GET", place, &Say::of(&agent))?;
    ensure!(shown.json() == told, "{shown:?}");
    let stranger = world.key("initech", "viewer", "wall")?;
    let hidden = service.ask("GET", place, &Say::of(&stranger))?;
    ensure!(
        (hidden.status, hidden.reason()) == (404, "session_not_found".into()),
        "{hidden:?}"
    );
    let trace = format!("/traces/{}", text(&told, "session"));
    let spans = service.ask("GET", &trace, &Say::of(&agent))?;
    ensure!(
        spans.json()["spans"]
            .as_array()
            .is_some_and(|s| s.len() > 3),
        "{spans:?}"
    );
    let hidden = service.ask("GET", &trace, &Say::of(&stranger))?;
    ensure!(hidden.status == 404, "{hidden:?}");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

/// The run is a trace of its own, seen below the span of who began it.
#[test]
fn a_clients_trace_goes_on_in_the_run() -> anyhow::Result<()> {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let world = world(&["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    for (given, seen) in [
        (format!("00-{TRACE}-b7ad6b7169203331-01"), json!(TRACE)),
        ("no context".to_owned(), Value::Null),
    ] {
        let ran = run(&service, &agent, "do it", &[("traceparent", &given)])?;
        ensure!(ran.status == 200, "{ran:?}");
        let trace = format!("/traces/{}", text(&ran.json(), "session"));
        let spans = service.ask("GET", &trace, &Say::of(&agent))?.json();
        let spans = spans["spans"].as_array().context("spans")?;
        ensure!(spans.len() > 3, "{spans:?}");
        for span in spans {
            ensure!(span["remote_trace_id"] == seen, "{span}");
        }
    }
    Ok(())
}

#[test]
fn questions_are_answered_about_the_caller_s_tenant_alone() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let service = Service::start(&world)?;
    let keys = |tenant: &str| -> anyhow::Result<(String, String)> {
        let agent = world.key(tenant, "agent", "bot")?;
        Ok((agent, world.key(tenant, "viewer", "wall")?))
    };
    let (acme, viewer) = keys("acme")?;
    let (initech, stranger) = keys("initech")?;
    ensure!(run(&service, &acme, "do it", &[])?.status == 200);
    ensure!(run(&service, &initech, "do it", &[])?.status == 200);
    ensure!(run(&service, &initech, "do it again", &[])?.status == 200);
    let rows = |key: &str, path: &str| -> Option<Vec<Value>> {
        let heard = service.ask("GET", path, &Say::of(key)).ok()?;
        heard.json()["rows"].as_array().cloned()
    };
    for (key, tenant, runs) in [(&viewer, "acme", 1), (&stranger, "initech", 2)] {
        let listed = wait_for("the spans", || {
            let listed = rows(key, "/traces?since=1h")?;
            let ended = listed.iter().filter(|r| r["status"] == "success").count();
            (ended == runs).then_some(listed)
        })?;
        ensure!(
            listed.iter().all(|r| r["tenant_id"] == tenant),
            "{listed:?}"
        );
        // Two turns at a thousandth of a dollar each, and one that answers for nothing.
        let paid = rows(key, "/cost?by=tenant&since=1h").context("rows")?;
        ensure!(
            paid.len() == 1 && paid[0]["tenant_id"] == tenant,
            "{paid:?}"
        );
        let grouped = rows(key, "/traces?tool=keyed&group_by=tenant,status").context("rows")?;
        ensure!(
            grouped.len() == 1 && grouped[0]["tenant_id"] == tenant,
            "{grouped:?}"
        );
        let one = rows(key, "/traces?kind=llm_call&limit=1").context("rows")?;
        ensure!(one.len() == 1, "{one:?}");
    }
    let other = service.ask("GET", "/traces?tenant=initech", &Say::of(&viewer))?;
    ensure!(
        (other.status, other.reason()) == (400, "question_invalid".into()),
        "{other:?}"
    );
    Ok(())
}

#[test]
fn a_run_under_way_is_told_so_and_goes_on_without_its_client() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 60_000)?;
    let key = [("idempotency-key", "r-1"), ("prefer", "respond-async")];
    let began = run(&service, &agent, "do it", &key)?;
    ensure!(began.status == 202, "{began:?}");
    ensure!(
        began.headers["preference-applied"] == "respond-async",
        "{began:?}"
    );
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let again = run(&service, &agent, "do it", &key)?;
    ensure!(
        (again.status, again.reason()) == (409, "key_in_flight".into()),
        "{again:?}"
    );
    ensure!(again.headers.contains_key("retry-after"), "{again:?}");
    // Killed with the effect done and nothing known of it: the next host goes on by itself.
    service.kill()?;
    let service = Service::start(&world)?;
    let done = wait_for("the run", || {
        let heard = run(&service, &agent, "do it", &key).ok()?;
        (heard.status == 200).then_some(heard)
    })?;
    ensure!(text(&done.json(), "answer") == "done", "{done:?}");
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    Ok(())
}

#[test]
fn a_run_that_waits_for_a_person_goes_on_when_they_have_decided() -> anyhow::Result<()> {
    let world = world(&["paid"])?;
    world.script(&[&[("paid", "x")]])?;
    let agent = world.key("acme", "agent", "bot")?;
    let approver = world.key("acme", "approver", "Meera")?;
    let service = Service::start(&world)?;
    let waits = run(&service, &agent, "pay", &[])?;
    ensure!(waits.status == 202, "{waits:?}");
    let told = waits.json();
    ensure!(text(&told, "status") == "waiting_approval", "{told}");
    let approve = format!("/approvals/{}/approve", text(&told, "approval"));
    let approved = service.ask("POST", &approve, &Say::of(&approver).body(json!({})))?;
    ensure!(approved.status == 200, "{approved:?}");
    let place = &waits.headers["location"];
    wait_for("the run", || {
        let heard = service.ask("GET", place, &Say::of(&agent)).ok()?;
        (text(&heard.json(), "status") == "ended").then_some(())
    })?;
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

/// The events of a stream, as (id, name, data), until it ends.
fn events(
    service: &Service,
    path: &str,
    say: &Say<'_>,
) -> anyhow::Result<Vec<(String, String, Value)>> {
    let told = service.events(path, say)?;
    told.map(|event| event.map(|e| (e.id, e.name, e.data)))
        .collect()
}

#[test]
fn events_are_resumed_from_any_of_them() -> anyhow::Result<()> {
    let world = world(&["keyed", "lookup"])?;
    let call = |tool: &str, name: &str| json!({"tool": tool, "arguments": {"name": name}});
    let turn = |i: u32, text: &str, calls: Value, finish: &str| {
        json!({"iteration": i, "text": text, "calls": calls, "finish_reason": finish,
               "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 1})
    };
    let turns = json!([
        turn(1, "I look.", json!([call("lookup", "x")]), "tool_use"),
        turn(2, "I act.", json!([call("keyed", "x")]), "tool_use"),
        turn(3, "It is done.", json!([]), "end_turn"),
    ]);
    let script = json!({"model_id": "s", "model_version": "1", "turns": turns});
    std::fs::write(world.path().join("script.json"), script.to_string())?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 1_000)?;
    let began = run(&service, &agent, "do it", &[("prefer", "respond-async")])?;
    let path = format!("{}/events", began.headers["location"]);
    let live = events(&service, &path, &Say::of(&agent))?;

    let names: Vec<&str> = live.iter().map(|(_, name, _)| name.as_str()).collect();
    let expected = [
        "run_started",
        "text",
        "call",
        "result",
        "text",
        "text",
        "call",
        "result",
        "text",
        "text",
        "text",
        "run_ended",
        "rest",
    ];
    ensure!(names == expected, "{names:?}");
    // Text is committed behind what its step called, and never before.
    let texts: Vec<(u64, &str)> = live
        .iter()
        .filter(|(_, name, _)| name == "text")
        .map(|(_, _, data)| {
            (
                data["iteration"].as_u64().unwrap_or(0),
                text(data, "status"),
            )
        })
        .collect();
    let expected = [
        (1, "provisional"),
        (1, "committed"),
        (2, "provisional"),
        (2, "committed"),
        (3, "provisional"),
        (3, "committed"),
    ];
    ensure!(texts == expected, "{texts:?}");
    // Ids are places in the journal.
    let seqs: Vec<u64> = live
        .iter()
        .filter_map(|(id, _, _)| id.parse().ok())
        .collect();
    ensure!(seqs.windows(2).all(|w| w[0] < w[1]), "{seqs:?}");
    let last = world.sql("SELECT max(seq) FROM events WHERE session_id LIKE 'run_%'")?;
    ensure!(
        last[0][0] == seqs.last().context("an id")?.to_string(),
        "{seqs:?}"
    );

    // From any event on, also at another host.
    service.kill()?;
    let service = Service::start(&world)?;
    for (i, (id, _, _)) in live
        .iter()
        .enumerate()
        .filter(|(_, (id, ..))| !id.is_empty())
    {
        let rest = events(&service, &path, &Say::of(&agent).with("last-event-id", id))?;
        ensure!(rest == live[i + 1..], "behind {id}: {rest:?}");
    }
    let odd = service.ask("GET", &path, &Say::of(&agent).with("last-event-id", "x"))?;
    ensure!(
        (odd.status, odd.reason()) == (400, "request_invalid".into()),
        "{odd:?}"
    );
    Ok(())
}

/// Text of a turn that cannot be used is taken back.
#[test]
fn text_that_cannot_be_used_is_retracted() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let turn = json!({"iteration": 1, "text": "I will now", "finish_reason": "max_tokens",
                      "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 1});
    let script = json!({"model_id": "s", "model_version": "1", "turns": [turn]});
    std::fs::write(world.path().join("script.json"), script.to_string())?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let failed = run(&service, &agent, "do it", &[])?;
    ensure!(
        failed.status == 200 && text(&failed.json(), "status") == "failed",
        "{failed:?}"
    );
    let path = format!("{}/events", failed.headers["location"]);
    let told = events(&service, &path, &Say::of(&agent))?;
    let retracted = told
        .iter()
        .any(|(_, name, data)| name == "text" && text(data, "status") == "retracted");
    ensure!(retracted, "{told:?}");
    Ok(())
}
