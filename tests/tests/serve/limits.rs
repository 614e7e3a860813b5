//! What a client may make the host hold; what it is told about mistakes; and the document.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Heard, Say, Service, heard};
use stoplog_tests::{World, wait_for};

use super::{act, text, world};

#[test]
fn who_sends_slowly_or_too_much_is_let_go() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.write_config("[serve]\nread_timeout_s = 1\nbody_bytes = 2000\nconnections = 3\n")?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let large = act(&service, &agent, "keyed", &"x".repeat(3000), None)?;
    ensure!(
        (large.status, large.reason()) == (413, "request_too_large".into()),
        "{large:?}"
    );

    // Heads that never end hold all connections, for a second and no longer.
    let mut slow: Vec<_> = (0..3)
        .map(|_| service.connect())
        .collect::<anyhow::Result<_>>()?;
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localh")?;
    }
    let live = service.ask("GET", "/health", &Say::default())?;
    ensure!(live.status == 200, "{live:?}");
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed, with a word or without.
        let _ = stream.read_to_end(&mut rest);
        ensure!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }

    // A body that never comes.
    let mut stream = service.connect()?;
    write!(
        stream,
        "POST /tools/keyed/call HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {agent}\r\n\
         connection: close\r\ncontent-length: 30\r\n\r\n{{",
        service.address
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let late = heard(&answer)?;
    ensure!(
        (late.status, late.reason()) == (408, "request_timeout".into()),
        "{late:?}"
    );
    Ok(())
}

#[test]
fn a_tenant_that_fills_its_line_is_told_so_and_no_other() -> anyhow::Result<()> {
    let world = world(&["keyed", "lookup"])?;
    world.write_config("[serve]\nat_work_per_tenant = 1\nwaiting_per_tenant = 0\n")?;
    let agent = world.key("acme", "agent", "bot")?;
    let other = world.key("initech", "agent", "bot")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 2_000)?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let held = scope.spawn(|| act(&service, &agent, "keyed", "x", None));
        wait_for("the act", || {
            (world.far.acts_done().ok()? == 1).then_some(())
        })?;
        let busy = act(&service, &agent, "lookup", "x", None)?;
        ensure!(
            (busy.status, busy.reason()) == (429, "host_busy".into()),
            "{busy:?}"
        );
        ensure!(busy.headers.contains_key("retry-after"), "{busy:?}");
        let free = act(&service, &other, "lookup", "x", None)?;
        ensure!(free.status == 200, "{free:?}");
        ensure!(held.join().expect("no panic")?.status == 200);
        Ok(())
    })
}

/// Every operation of the document, with the answers that it promises.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, told)| (method.to_uppercase(), path.clone(), told.clone()))
    });
    all.collect()
}

/// The errors that the document promises, as (operation, reason), without those of the guard.
fn promised(document: &Value) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for (_, _, told) in operations(document) {
        for answer in told["responses"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, a)| a)
        {
            for reason in answer["x-reasons"].as_array().into_iter().flatten() {
                let id = text(&told, "operationId").to_owned();
                all.insert((id, reason.as_str().unwrap_or_default().to_owned()));
            }
        }
    }
    all
}

/// Notes which promised error an answer is, and that its status is the promised one.
fn note(
    document: &Value,
    seen: &mut BTreeSet<(String, String)>,
    id: &str,
    heard: &Heard,
) -> anyhow::Result<()> {
    let reason = heard.reason();
    let all = operations(document);
    let (_, _, told) = all
        .iter()
        .find(|(_, _, t)| t["operationId"] == id)
        .context("an operation")?;
    let promised = &told["responses"][heard.status.to_string()]["x-reasons"];
    let is_promised = promised
        .as_array()
        .is_some_and(|r| r.contains(&json!(reason)));
    ensure!(
        is_promised,
        "{id} does not promise {} {reason}: {heard:?}",
        heard.status
    );
    for member in ["type", "title", "status", "detail"] {
        ensure!(
            !heard.json()[member].is_null(),
            "{member} is missing: {heard:?}"
        );
    }
    ensure!(
        heard.headers["content-type"] == "application/problem+json",
        "{heard:?}"
    );
    seen.insert((id.to_owned(), reason));
    Ok(())
}

struct Tried {
    document: Value,
    seen: BTreeSet<(String, String)>,
}

impl Tried {
    fn note(&mut self, id: &str, heard: &Heard) -> anyhow::Result<()> {
        note(&self.document, &mut self.seen, id, heard)
    }
}

/// Each documented error is provoked, and each has the documented status.
#[test]
fn the_document_promises_what_is_so() -> anyhow::Result<()> {
    let world = world(&["keyed", "paid", "neither"])?;
    world.script(&[&[("keyed", "run")]])?;
    world.write_config(
        "[approval]\nexpires_after_s = 2\n[serve]\nread_timeout_s = 1\nbody_bytes = 4000\n\
         at_work_per_tenant = 2\nwaiting_per_tenant = 0\n",
    )?;
    let key = |role: &str| world.key("acme", role, role);
    let (agent, operator, approver, viewer) = (
        key("agent")?,
        key("operator")?,
        key("approver")?,
        key("viewer")?,
    );
    let service = Service::start(&world)?;
    let document = service.ask("GET", "/openapi.json", &Say::default())?.json();
    ensure!(document["openapi"] == "3.1.0", "{document}");
    let mut tried = Tried {
        document: document.clone(),
        seen: BTreeSet::new(),
    };

    // The guard's own, at every route.
    for (method, path, told) in operations(&document) {
        let id = text(&told, "operationId").to_owned();
        let mut at = path.clone();
        for (name, value) in [
            ("{name}", "keyed"),
            ("{id}", "s"),
            ("{what}", "s"),
            ("{session}", "s"),
            ("{position}", "1.0"),
        ] {
            at = at.replace(name, value);
        }
        let elsewhere = Say::of(&agent)
            .with("host", "evil.example.com")
            .body(json!({}));
        tried.note(&id, &service.ask(&method, &at, &elsewhere)?)?;
        if told["security"] == json!([]) {
            continue;
        }
        tried.note(&id, &service.ask(&method, &at, &Say::default())?)?;
        // A right that everybody has is refused to nobody.
        let keys = [&agent, &operator, &approver, &viewer];
        for key in keys {
            let heard = service.ask(&method, &at, &Say::of(key).body(json!({})))?;
            if heard.status == 403 {
                tried.note(&id, &heard)?;
            }
        }
    }
    calls(&mut tried, &world, &service, &agent)?;
    runs(&mut tried, &service, &agent)?;
    people(&mut tried, &world, &service, (&agent, &operator, &approver))?;
    drained(&mut tried, &world, service, &agent)?;

    let mut missing: BTreeSet<_> = promised(&document)
        .difference(&tried.seen)
        .cloned()
        .collect();
    // Every role may follow: there is nobody to forbid it to.
    missing.retain(|(id, reason)| {
        let all_may = ["listTools", "showRun", "followRun", "showTrace"].contains(&id.as_str());
        !(all_may && reason == "forbidden")
    });
    ensure!(
        missing.is_empty(),
        "promised, and not provoked: {missing:?}"
    );
    Ok(())
}

fn calls(tried: &mut Tried, world: &World, service: &Service, agent: &str) -> anyhow::Result<()> {
    let id = "callTool";
    let call =
        |say: Say<'_>, body: Value| service.ask("POST", "/tools/keyed/call", &say.body(body));
    let good = json!({"arguments": {"name": "x"}});
    tried.note(id, &call(Say::of(agent), json!({"arguments": 1}))?)?;
    tried.note(
        id,
        &call(Say::of(agent).with("idempotency-key", "a b"), good.clone())?,
    )?;
    tried.note(id, &call(Say::of(agent), json!({"arguments": {}}))?)?;
    tried.note(id, &act(service, agent, "nothing", "x", None)?)?;
    tried.note(id, &act(service, agent, "keyed", &"x".repeat(5000), None)?)?;
    ensure!(call(Say::of(agent).with("idempotency-key", "k"), good.clone())?.status == 200);
    let other = json!({"arguments": {"name": "y"}});
    tried.note(
        id,
        &call(Say::of(agent).with("idempotency-key", "k"), other)?,
    )?;
    let mut stream = service.connect()?;
    write!(
        stream,
        "POST /tools/keyed/call HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {agent}\r\n\
         connection: close\r\ncontent-length: 30\r\n\r\n{{"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    tried.note(id, &heard(&answer)?)?;
    // Two at work are all that this tenant may have.
    let done = world.far.acts_done()?;
    world.far.misbehave("hold_answer", 2, 2_000)?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let held = scope.spawn(|| act(service, agent, "keyed", "one", Some("one")));
        wait_for("the act", || {
            (world.far.acts_done().ok()? == done + 1).then_some(())
        })?;
        tried.note(id, &act(service, agent, "keyed", "one", Some("one"))?)?;
        let more = scope.spawn(|| act(service, agent, "keyed", "two", None));
        wait_for("the act", || {
            (world.far.acts_done().ok()? == done + 2).then_some(())
        })?;
        tried.note(id, &act(service, agent, "keyed", "three", None)?)?;
        for held in [held, more] {
            ensure!(held.join().expect("no panic")?.status == 200);
        }
        Ok(())
    })
}

fn runs(tried: &mut Tried, service: &Service, agent: &str) -> anyhow::Result<()> {
    let id = "runAgent";
    let run = |say: Say<'_>, body: Value| service.ask("POST", "/agent/run", &say.body(body));
    let task = |t: &str| json!({"task": t});
    tried.note(id, &run(Say::of(agent), json!({"tusk": "x"}))?)?;
    tried.note(
        id,
        &run(Say::of(agent).with("idempotency-key", ""), task("x"))?,
    )?;
    tried.note(id, &run(Say::of(agent), task(&"x".repeat(5000)))?)?;
    let key = || {
        Say::of(agent)
            .with("idempotency-key", "r")
            .with("prefer", "respond-async")
    };
    ensure!(run(key(), task("x"))?.status == 202);
    // It may be over before it is asked for again.
    let mut again = run(key(), task("x"))?;
    for i in 0..50 {
        if again.status == 409 {
            break;
        }
        let name = format!("r{i}");
        let say = || {
            Say::of(agent)
                .with("idempotency-key", &name)
                .with("prefer", "respond-async")
        };
        run(say(), task("x"))?;
        again = run(say(), task("x"))?;
        if again.status == 429 {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
    tried.note(id, &again)?;
    tried.note(id, &run(key(), task("y"))?)?;
    let mut busy = run(Say::of(agent).with("prefer", "respond-async"), task("x"))?;
    for _ in 0..200 {
        if busy.status == 429 {
            break;
        }
        busy = run(Say::of(agent).with("prefer", "respond-async"), task("x"))?;
    }
    tried.note(id, &busy)?;
    for (id, path) in [
        ("showRun", "/agent/runs/nothing"),
        ("followRun", "/agent/runs/nothing/events"),
        ("showTrace", "/traces/nothing"),
    ] {
        tried.note(id, &service.ask("GET", path, &Say::of(agent))?)?;
    }
    let odd = Say::of(agent).with("last-event-id", "x");
    tried.note(
        "followRun",
        &service.ask("GET", "/agent/runs/nothing/events", &odd)?,
    )
}

fn people(
    tried: &mut Tried,
    world: &World,
    service: &Service,
    (agent, operator, approver): (&str, &str, &str),
) -> anyhow::Result<()> {
    let waits = |name: &str| -> anyhow::Result<String> {
        let heard = wait_for("a place", || {
            let heard = act(service, agent, "paid", name, None).ok()?;
            (heard.status == 202).then_some(heard)
        })?;
        Ok(text(&heard.json(), "approval").to_owned())
    };
    let decide = |id: &str, word: &str, body: Value| {
        let path = format!("/approvals/{id}/{word}");
        service.ask("POST", &path, &Say::of(approver).body(body))
    };
    let expired = waits("expires")?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let rejected = waits("rejected")?;
    ensure!(decide(&rejected, "reject", json!({"note": "no"}))?.status == 200);
    for (op, word) in [("approve", "approve"), ("reject", "reject")] {
        let note = json!({"note": "no"});
        tried.note(op, &decide("ap_0", word, note.clone())?)?;
        tried.note(op, &decide(&rejected, word, note.clone())?)?;
        tried.note(op, &decide(&expired, word, note)?)?;
        tried.note(op, &decide(&rejected, word, json!({"by": "me"}))?)?;
    }
    for (id, path) in [
        ("listTraces", "/traces?since=soon"),
        ("cost", "/cost?tenant=initech"),
    ] {
        tried.note(id, &service.ask("GET", path, &Say::of(operator))?)?;
    }
    tried.note(
        "showApproval",
        &service.ask("GET", "/approvals/ap_0", &Say::of(approver))?,
    )?;
    tried.note(
        "showParked",
        &service.ask("GET", "/parked/s/1.0", &Say::of(operator))?,
    )?;

    world.far.misbehave("forget_keys", 0, 0)?;
    world.far.misbehave("hang_up_after", 1, 0)?;
    let parked = wait_for("a place", || {
        let heard = act(service, agent, "neither", "p", None).ok()?;
        (heard.status == 202).then_some(heard)
    })?;
    let parked = parked.json();
    let resolve = |id: &str, body: Value| {
        let path = format!("/parked/{id}/resolve");
        service.ask("POST", &path, &Say::of(operator).body(body))
    };
    let id = text(&parked, "parked");
    tried.note(
        "resolveParked",
        &resolve("s/1.0", json!({"as": "not-done"}))?,
    )?;
    tried.note("resolveParked", &resolve(id, json!({"as": "gone"}))?)?;
    tried.note(
        "resolveParked",
        &resolve(id, json!({"as": "done", "output": 1}))?,
    )
}

/// Told to stop, with a call under way: new ones are refused.
fn drained(tried: &mut Tried, world: &World, service: Service, agent: &str) -> anyhow::Result<()> {
    // Connections that are open when it is told to stop: no new one is accepted.
    let mut open: Vec<_> = (0..2)
        .map(|_| service.connect())
        .collect::<anyhow::Result<_>>()?;
    let body = json!({"arguments": {"name": "z"}}).to_string();
    let asks = [
        ("/tools/keyed/call", body),
        ("/agent/run", json!({"task": "x"}).to_string()),
    ];
    for (stream, (path, body)) in open.iter_mut().zip(&asks) {
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {agent}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let _ = world;
    service.terminate()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    for (id, (stream, (_, body))) in ["callTool", "runAgent"]
        .iter()
        .zip(open.iter_mut().zip(&asks))
    {
        stream.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        tried.note(id, &heard(&answer)?)?;
    }
    let (status, _) = service.ended()?;
    ensure!(status.code() == Some(0), "{status:?}");
    Ok(())
}

#[test]
fn mistakes_are_problems_and_readiness_is_told() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let service = Service::start(&world)?;
    let nowhere = service.ask("GET", "/nothing", &Say::default())?;
    ensure!(
        (nowhere.status, nowhere.reason()) == (404, "route_not_found".into()),
        "{nowhere:?}"
    );
    let wrong = service.ask("DELETE", "/health", &Say::default())?;
    ensure!(
        (wrong.status, wrong.reason()) == (405, "method_not_allowed".into()),
        "{wrong:?}"
    );
    let ready = service.ask("GET", "/ready", &Say::default())?;
    ensure!(ready.status == 200, "{ready:?}");
    let told = ready.json();
    let conditions = told["conditions"].as_array().context("conditions")?;
    let names: Vec<&str> = conditions.iter().map(|c| text(c, "name")).collect();
    ensure!(
        names == ["journal", "tools", "model", "accepting"],
        "{names:?}"
    );
    ensure!(conditions.iter().all(|c| c["holds"] == true), "{told}");
    ensure!(
        world.host(&["verify"])?.code == Some(0),
        "asking whether it is ready left something"
    );
    Ok(())
}
