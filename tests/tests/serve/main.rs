//! `stoplog serve` as its clients meet it: real processes, a far side that counts, and kills.

mod auth;
mod calls;
mod end;
mod limits;
mod people;
mod runs;

use serde_json::{Value, json};
use stoplog_tests::service::{Heard, Say, Service};
use stoplog_tests::{World, bins};

/// A world with these tools whose class 4 needs nobody, unless a rule says so.
fn world(tools: &[&str]) -> anyhow::Result<World> {
    World::new(bins!(), tools)
}

/// Has a tool act under a name, with a client's key or without.
fn act(
    service: &Service,
    agent: &str,
    tool: &str,
    name: &str,
    key: Option<&str>,
) -> anyhow::Result<Heard> {
    let mut say = Say::of(agent).body(json!({"arguments": {"name": name}}));
    if let Some(key) = key {
        say = say.with("idempotency-key", key);
    }
    service.ask("POST", &format!("/tools/{tool}/call"), &say)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
