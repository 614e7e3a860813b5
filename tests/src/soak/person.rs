//! The person on call: looks at the far side's ledger, and says what became of a parked call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::ledger::Ledgers;
use crate::World;

/// How long a person waits before looking: longer than any request may still be on its way.
const WAIT: Duration = Duration::from_millis(1000);

/// Remembers since when a call is known to wait.
#[derive(Default)]
pub(super) struct Person {
    since: BTreeMap<String, Instant>,
}

impl Person {
    /// Resolves what has waited long enough. How many calls.
    pub(super) fn resolve(
        &mut self,
        world: &World,
        ledgers: &Ledgers,
        parked: &[String],
    ) -> anyhow::Result<u64> {
        self.since.retain(|session, _| parked.contains(session));
        for session in parked {
            self.since
                .entry(session.clone())
                .or_insert_with(Instant::now);
        }
        if !self.since.values().any(|since| since.elapsed() > WAIT) {
            return Ok(0);
        }
        let listed = world.host(&["parked", "list"])?;
        let listed = listed.json.as_array().context("a list of parked calls")?;
        let mut resolved = 0;
        for call in listed {
            let id = call["id"].as_str().context("an id")?;
            let (session, _) = id.split_once('/').context("SESSION/CALL")?;
            if self.since.get(session).is_some_and(|s| s.elapsed() > WAIT) {
                decide(world, ledgers, session, id, call)?;
                self.since.remove(session);
                resolved += 1;
            }
        }
        Ok(resolved)
    }
}

/// All effects are in force: done. Otherwise not done; where one of several is in force, its far
/// side keeps keys, and takes the second sending for the first.
fn decide(
    world: &World,
    ledgers: &Ledgers,
    session: &str,
    id: &str,
    call: &Value,
) -> anyhow::Result<()> {
    let tool = call["tool"].as_str().context("a tool")?;
    let mut output = None;
    let mut all = true;
    for key in Ledgers::keys(session, tool)? {
        output = ledgers.act_id(tool, &key)?;
        all &= output.is_some();
    }
    let output = json!({"act_id": output}).to_string();
    let mut args = vec!["parked", "resolve", id, "--by", "Meera", "--as"];
    match all {
        true => args.extend(["done", "--output", &output]),
        false => args.push("not-done"),
    }
    let said = world.host(&args)?;
    ensure!(said.code == Some(0), "resolving {call}: {said:?}");
    Ok(())
}
