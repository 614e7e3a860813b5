//! A call that comes through a door: the host is killed at every stage of it, started again, and
//! the client asks again under its key. It is told one result, and the far side did one thing.
//!
//! The client of a call without a key is told by the act's key; that is a case of its own, in the
//! tests of the service.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Heard, Say, Service};
use stoplog_tests::{World, bins, wait_for};

use super::cell::{FarSide, TOOLS, Tool, check_effects};

/// Cells at once.
const AT_ONCE: usize = 4;

/// Where the host dies. `{}` stands for the moment.
const POINTS: [&str; 13] = [
    "lease_taken:{}:1",
    "turn_taken:{}:1",
    "intent_durable:{}:1",
    "batch_appended:{}:1/intent_durable:before:1",
    "transaction_committed:{}:1/intent_durable:before:1",
    "request_sent:{}:1",
    "answer_received:{}:1",
    "outcome_settled:{}:1",
    "batch_appended:{}:1/answer_received:after:1",
    "transaction_committed:{}:1/answer_received:after:1",
    "observation_durable:{}:1",
    "approval_consumed:{}:1",
    // Behind the answer, when the lane of the client is closed.
    "lease_released:{}:1",
];

/// The point at which only a call that a person approved passes.
const APPROVED: &str = "approval_consumed";

struct Cell {
    tool: Tool,
    at: String,
}

fn all() -> Vec<Cell> {
    let points = POINTS
        .iter()
        .flat_map(|p| ["before", "after"].map(|moment| p.replace("{}", moment)));
    let mut cells = Vec::new();
    for (i, at) in points.enumerate() {
        for (j, tool) in TOOLS.into_iter().enumerate() {
            let of_sample = (i + j).is_multiple_of(TOOLS.len());
            if of_sample || std::env::var("STOPLOG_SWEEP").is_err() {
                let at = at.clone();
                cells.push(Cell { tool, at });
            }
        }
    }
    cells
}

struct Client {
    agent: String,
    approver: String,
    operator: String,
}

fn ask(service: &Service, client: &Client, tool: Tool) -> anyhow::Result<Heard> {
    let say = Say::of(&client.agent)
        .with("idempotency-key", "k-1")
        .body(json!({"arguments": {"name": "x"}}));
    service.ask("POST", &format!("/tools/{}/call", tool.name), &say)
}

/// Asks until the answer says more than "under way".
fn asks_again(service: &Service, client: &Client, tool: Tool) -> anyhow::Result<Heard> {
    wait_for("an answer", || {
        let heard = ask(service, client, tool).ok()?;
        (heard.status != 409).then_some(heard)
    })
}

fn approve(service: &Service, client: &Client, waits: &Heard) -> anyhow::Result<()> {
    let told = waits.json();
    let id = told["approval"]
        .as_str()
        .with_context(|| format!("{waits:?}"))?;
    let say = Say::of(&client.approver).body(json!({}));
    let path = format!("/approvals/{id}/approve");
    // The host may die before it has answered: it goes on with the call at once.
    let _ = service.ask("POST", &path, &say);
    Ok(())
}

fn check(tool: Tool, at: &str) -> anyhow::Result<()> {
    let is_approved = at.starts_with(APPROVED);
    let world = World::new(bins!(), &[tool.name])?;
    let rule = match (is_approved, tool.class) {
        (true, 4) => String::new(),
        (true, _) => format!("[tools.{}]\nhold_when = [\"true\"]\n", tool.name),
        (false, 4) => format!("[tools.{}]\nclear_when = [\"true\"]\n", tool.name),
        (false, _) => String::new(),
    };
    world.write_config(&rule)?;
    if tool.far != FarSide::KeepsKeys {
        world.far.misbehave("forget_keys", 0, 0)?;
    }
    let client = Client {
        agent: world.key("acme", "agent", "bot")?,
        approver: world.key("acme", "approver", "Meera")?,
        operator: world.key("acme", "operator", "Otto")?,
    };
    let service = Service::start_with(&world, &[("STOPLOG_DIE_AT", at)])?;
    let first = ask(&service, &client, tool);
    if is_approved {
        approve(
            &service,
            &client,
            first.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?,
        )?;
    }
    let (status, _) = service.ended()?;
    ensure!(status.code().is_none(), "it did not die: {status:?}");
    let in_doubt = world.sql("SELECT count(*) FROM open_intents")?[0][0] != "0";

    let service = Service::start(&world)?;
    let mut told = asks_again(&service, &client, tool)?;
    if told.json()["status"] == "parked" {
        let may = matches!(tool.far, FarSide::Neither) && in_doubt;
        ensure!(may, "it is parked: {told:?}");
        resolve(&world, &service, &client, tool, &told)?;
        told = asks_again(&service, &client, tool)?;
    }
    ensure!(told.status == 200, "{told:?}");
    let output = told.json()["output"].clone();
    ensure!(output["act_id"].is_string(), "{told:?}");
    if let Ok(first) = first.as_ref()
        && first.status == 200
    {
        ensure!(
            first.json()["output"] == output,
            "{first:?} became {told:?}"
        );
    }
    let again = ask(&service, &client, tool)?;
    ensure!(again.json()["output"] == output, "{again:?}");
    check_effects(&world, tool, &["x"])?;
    let verified = world.host(&["verify"])?;
    ensure!(verified.code == Some(0), "{verified:?}");
    Ok(())
}

/// An operator looks at the far side, and decides.
fn resolve(
    world: &World,
    service: &Service,
    client: &Client,
    tool: Tool,
    parked: &Heard,
) -> anyhow::Result<()> {
    let told = parked.json();
    let id = told["parked"].as_str().context("an id")?;
    let ledger = world
        .far
        .ask("GET", &format!("/acts/by-key/{}", tool.key("x")), None)?;
    let decision: Value = match ledger["acts"].get(0) {
        Some(act) => json!({"as": "done", "output": {"act_id": act["act_id"]}}),
        None => json!({"as": "not-done"}),
    };
    let say = Say::of(&client.operator).body(decision);
    let resolved = service.ask("POST", &format!("/parked/{id}/resolve"), &say)?;
    ensure!(resolved.status == 200, "{resolved:?}");
    Ok(())
}

#[test]
fn a_call_through_a_door_killed_anywhere_is_done_once() {
    let cells = all();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(e) = check(cell.tool, &cell.at) {
                        let failure = format!("{} killed at {}: {e:#}", cell.tool.name, cell.at);
                        failures.lock().expect("no thread panics").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cells.len(),
        failures.join("\n")
    );
}
