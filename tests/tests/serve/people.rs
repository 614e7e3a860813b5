//! Approvals and parked calls over HTTP: who may decide, and what a repeat is told then.

use anyhow::{Context, ensure};
use serde_json::json;
use stoplog_tests::service::{Heard, Say, Service};
use stoplog_tests::{World, wait_for};

use super::{act, text, world};

struct Desk {
    world: World,
    service: Service,
    agent: String,
    approver: String,
    viewer: String,
}

fn desk(tools: &[&str]) -> anyhow::Result<Desk> {
    let world = world(tools)?;
    Ok(Desk {
        agent: world.key("acme", "agent", "bot")?,
        approver: world.key("acme", "approver", "Meera")?,
        viewer: world.key("acme", "viewer", "wall")?,
        service: Service::start(&world)?,
        world,
    })
}

fn waits(heard: &Heard) -> anyhow::Result<String> {
    ensure!(heard.status == 202, "{heard:?}");
    let told = heard.json();
    ensure!(text(&told, "status") == "waiting_approval", "{heard:?}");
    ensure!(text(&told, "preview").contains("Do the act"), "{heard:?}");
    ensure!(
        text(&told, "to_do").contains("stoplog approvals approve"),
        "{heard:?}"
    );
    Ok(told["approval"].as_str().context("an approval")?.to_owned())
}

#[test]
fn an_approved_call_goes_through_once() -> anyhow::Result<()> {
    for key in [Some("k"), None] {
        let desk = desk(&["paid"])?;
        let ask = |as_: &str, method: &str, path: &str, body| {
            desk.service.ask(method, path, &Say::of(as_).body(body))
        };
        let id = waits(&act(&desk.service, &desk.agent, "paid", "x", key)?)?;
        // The same call again asks nobody anew.
        let again = waits(&act(&desk.service, &desk.agent, "paid", "x", key)?)?;
        ensure!(again == id, "{again} is not {id}");

        let approve = format!("/approvals/{id}/approve");
        for nobody in [&desk.agent, &desk.viewer] {
            let refused = ask(nobody, "POST", &approve, json!({}))?;
            ensure!(
                (refused.status, refused.reason()) == (403, "forbidden".into()),
                "{refused:?}"
            );
        }
        let listed = ask(&desk.viewer, "GET", "/approvals", json!({}))?;
        ensure!(
            listed.json()["approvals"][0]["id"] == id.as_str(),
            "{listed:?}"
        );
        ensure!(desk.world.far.acts_done()? == 0, "nothing is done before");

        let approved = ask(&desk.approver, "POST", &approve, json!({"note": "fine"}))?;
        ensure!(approved.status == 200, "{approved:?}");
        ensure!(
            text(&approved.json(), "by") == "Meera",
            "the record is the key's owner"
        );
        let done = act(&desk.service, &desk.agent, "paid", "x", key)?;
        ensure!(done.status == 200, "{done:?}");
        let twice = ask(&desk.approver, "POST", &approve, json!({}))?;
        ensure!(
            (twice.status, twice.reason()) == (409, "approval_not_pending".into()),
            "{twice:?}"
        );
        let again = act(&desk.service, &desk.agent, "paid", "x", key)?;
        ensure!(again.json()["output"] == done.json()["output"], "{again:?}");
        ensure!(desk.world.far.acts_done()? == 1);
        let shown = ask(&desk.viewer, "GET", &format!("/approvals/{id}"), json!({}))?;
        ensure!(text(&shown.json(), "decided_by") == "Meera", "{shown:?}");
    }
    Ok(())
}

/// Also when a command beside the host wrote the decision.
#[test]
fn an_approval_by_command_counts_beside_the_host() -> anyhow::Result<()> {
    let desk = desk(&["paid"])?;
    let id = waits(&act(&desk.service, &desk.agent, "paid", "x", None)?)?;
    let approved = desk
        .world
        .host(&["approvals", "approve", &id, "--by", "Meera"])?;
    ensure!(approved.code == Some(0), "{approved:?}");
    let done = wait_for("the call", || {
        let heard = act(&desk.service, &desk.agent, "paid", "x", None).ok()?;
        (heard.status == 200).then_some(heard)
    })?;
    ensure!(
        !text(&done.json()["output"], "act_id").is_empty(),
        "{done:?}"
    );
    ensure!(desk.world.far.acts_done()? == 1);
    Ok(())
}

#[test]
fn a_rejected_call_is_told_so() -> anyhow::Result<()> {
    for key in [Some("k"), None] {
        let desk = desk(&["paid"])?;
        let id = waits(&act(&desk.service, &desk.agent, "paid", "x", key)?)?;
        let reject = format!("/approvals/{id}/reject");
        let mute = Say::of(&desk.approver).body(json!({}));
        let mute = desk.service.ask("POST", &reject, &mute)?;
        ensure!(
            (mute.status, mute.reason()) == (400, "request_invalid".into()),
            "{mute:?}"
        );
        let why = Say::of(&desk.approver).body(json!({"note": "too much"}));
        let rejected = desk.service.ask("POST", &reject, &why)?;
        ensure!(rejected.status == 200, "{rejected:?}");
        let told = act(&desk.service, &desk.agent, "paid", "x", key)?;
        ensure!(
            (told.status, told.reason()) == (403, "approval_rejected".into()),
            "{told:?}"
        );
        ensure!(
            text(&told.json(), "detail").contains("too much"),
            "{told:?}"
        );
        ensure!(desk.world.far.acts_done()? == 0);
    }
    Ok(())
}

/// A waiting call outlives its host, and nobody of another tenant sees it.
#[test]
fn what_waits_is_its_tenants_and_outlives_the_host() -> anyhow::Result<()> {
    let desk = desk(&["paid"])?;
    let id = waits(&act(&desk.service, &desk.agent, "paid", "x", None)?)?;
    let Desk {
        world,
        service,
        agent,
        approver,
        ..
    } = desk;
    service.kill()?;
    let stranger = world.key("initech", "approver", "Bill")?;
    let service = Service::start(&world)?;
    let listed = service.ask("GET", "/approvals?all=true", &Say::of(&stranger))?;
    ensure!(listed.json()["approvals"] == json!([]), "{listed:?}");
    let approve = format!("/approvals/{id}/approve");
    let refused = service.ask("POST", &approve, &Say::of(&stranger).body(json!({})))?;
    ensure!(
        (refused.status, refused.reason()) == (404, "approval_not_found".into()),
        "{refused:?}"
    );
    ensure!(
        waits(&act(&service, &agent, "paid", "x", None)?)? == id,
        "it asked anew"
    );
    let approved = service.ask("POST", &approve, &Say::of(&approver).body(json!({})))?;
    ensure!(approved.status == 200, "{approved:?}");
    let done = act(&service, &agent, "paid", "x", None)?;
    ensure!(done.status == 200, "{done:?}");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

#[test]
fn a_parked_call_is_resolved_by_an_operator() -> anyhow::Result<()> {
    let world = world(&["neither"])?;
    world.far.misbehave("forget_keys", 0, 0)?;
    let agent = world.key("acme", "agent", "bot")?;
    let operator = world.key("acme", "operator", "Otto")?;
    let service = Service::start(&world)?;
    world.far.misbehave("hold_answer", 1, 60_000)?;
    let say = Say::of(&agent)
        .with("idempotency-key", "k")
        .body(json!({"arguments": {"name": "x"}}));
    let _asked = service.send("POST", "/tools/neither/call", &say)?;
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    service.kill()?;
    let service = Service::start(&world)?;
    let parked = act(&service, &agent, "neither", "x", Some("k"))?;
    ensure!(
        (parked.status, text(&parked.json(), "status")) == (202, "parked"),
        "{parked:?}"
    );
    let told = parked.json();
    let id = text(&told, "parked");
    let listed = service.ask("GET", "/parked", &Say::of(&operator))?;
    ensure!(listed.json()["parked"][0]["id"] == id, "{listed:?}");
    let shown = service.ask("GET", &format!("/parked/{id}"), &Say::of(&operator))?;
    ensure!(shown.status == 200, "{shown:?}");
    let resolve = format!("/parked/{id}/resolve");
    let done = json!({"as": "done", "output": {"act_id": "7"}, "note": "it is there"});
    let refused = service.ask("POST", &resolve, &Say::of(&agent).body(done.clone()))?;
    ensure!(refused.status == 403, "{refused:?}");
    let wrong = json!({"as": "done", "output": {"other": 1}});
    let wrong = service.ask("POST", &resolve, &Say::of(&operator).body(wrong))?;
    ensure!(
        (wrong.status, wrong.reason()) == (400, "output_schema".into()),
        "{wrong:?}"
    );
    let resolved = service.ask("POST", &resolve, &Say::of(&operator).body(done))?;
    ensure!(resolved.status == 200, "{resolved:?}");
    let told = act(&service, &agent, "neither", "x", Some("k"))?;
    ensure!(told.json()["output"] == json!({"act_id": "7"}), "{told:?}");
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}
