//! `probe` agrees with what happened: absent before the call, once after it, with the output that
//! the call gave. And `preview` says something.

use std::sync::Arc;

use serde_json::Value;
use stoplog_model::Class;
use stoplog_model::outcome::Finding;
use stoplog_model::port::{Entry, Gate, Ran, Returned};

use crate::error::CliError;
use crate::tooltest::again;
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::Case;
use crate::tooltest::far::World;
use crate::tooltest::report::{Check, Failure};

/// Longest part of a preview that is shown.
const SHOWN_CHARS: usize = 70;

/// Runs an export that only looks.
async fn look(bench: &Bench, world: &World, entry: Entry) -> Result<Ran, CliError> {
    let gate: Arc<dyn Gate> = Arc::new(bench.looking(world)?);
    again::run(&bench.runner, &bench.pin, entry, 1, 1, gate).await
}

/// What it found; `unknown` for everything that the host takes as that.
async fn ask(
    bench: &Bench,
    case: &Case,
    world: &World,
    key: &str,
) -> Result<Result<Finding, String>, CliError> {
    let entry = Entry::Probe {
        input: case.input.to_string(),
        key: key.to_owned(),
    };
    Ok(match look(bench, world, entry).await?.result {
        Ok(Returned::Finding(finding)) => Ok(finding),
        Ok(Returned::Error(error)) => {
            Err(format!("error {}: {}", error.code.as_str(), error.message))
        }
        Ok(Returned::Text(_)) => Err("a text".into()),
        Err(error) => Err(error.to_string()),
    })
}

fn word(found: &Result<Finding, String>) -> String {
    match found {
        Ok(Finding::Once { output }) => format!("once, with output {output}"),
        Ok(Finding::Several { times }) => format!("several: {times}"),
        Ok(other) => other.word().to_owned(),
        Err(why) => why.clone(),
    }
}

/// None: the call had no effect to ask about.
pub(in crate::tooltest) async fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Option<Check>, CliError> {
    let (Some(output), effects) = (quiet.output(), &quiet.first()?.effects) else {
        return Ok(None);
    };
    let keys: Vec<&str> = effects.iter().map(|e| e.intent.key.as_str()).collect();
    if keys.is_empty() || quiet.happened.in_force() == 0 {
        return Ok(None);
    }
    let check = Check::new(&case.name, "probe", "probe: absent before, once after");
    let fresh = bench.far.open(case.script.clone()).await?;
    let mut unknown = 0;
    for key in &keys {
        let before = ask(bench, case, &fresh, key).await?;
        let after = ask(bench, case, &quiet.world, key).await?;
        match (&before, &after) {
            (Ok(Finding::Unknown { .. }), Ok(Finding::Unknown { .. })) => unknown += 1,
            (Ok(Finding::Absent), Ok(Finding::Once { output: found })) => {
                let found: Value = serde_json::from_str(found).unwrap_or_default();
                if keys.len() == 1 && *output != found {
                    return Ok(Some(check.failed(Failure::new(
                        format!("the output of the call: {output}"),
                        format!("once, with output {found}"),
                        "probe must give the output that call would have given: it stands for it",
                    ))));
                }
            }
            _ => {
                let no_line = fresh.look().await?.without_line().first().map(|seen| {
                    format!(
                        "add [[far]] request = \"{} {}\" to the case",
                        seen.method, seen.path
                    )
                });
                let to_do = no_line.unwrap_or_else(|| {
                    "look up by the key that probe is given, and tell an empty answer from none"
                        .into()
                });
                return Ok(Some(check.failed(Failure::new(
                    format!("absent before the call and once after it, under {key}"),
                    format!("before: {}; after: {}", word(&before), word(&after)),
                    to_do,
                ))));
            }
        }
    }
    fresh.close().await?;
    let note = match unknown {
        0 => "",
        _ if bench.pin.contract.keeps_keys => "it cannot ask; the key is relied on",
        _ if bench.pin.class == Class::Reversible => "it cannot ask; a doubt is undone",
        _ => "it cannot ask: a doubt goes to a person",
    };
    Ok(Some(check.with_note(note)))
}

/// Class 4: what a person reads before they approve.
pub(in crate::tooltest) async fn preview(
    bench: &Bench,
    case: &Case,
) -> Result<Option<Check>, CliError> {
    if case.expect.error.is_some() {
        return Ok(None);
    }
    let world = bench.far.open(case.script.clone()).await?;
    let input = case.input.to_string();
    let ran = look(bench, &world, Entry::Preview { input }).await?;
    let happened = world.close().await?;
    let check = Check::new(&case.name, "preview", "preview says what would be done");
    let fail = |seen: String| {
        let to_do = "give a text for the person who approves: what, to whom, how much";
        Failure::new("a text", seen, to_do)
    };
    let failure = match ran.result {
        _ if !happened.effects.is_empty() => Some(fail("it did something".into())),
        Ok(Returned::Text(text)) if !text.trim().is_empty() => {
            let shown: String = text.chars().take(SHOWN_CHARS).collect();
            let dots = if shown.len() < text.len() { " ..." } else { "" };
            let shown = format!("{}{dots}", shown.replace('\n', " ").trim_end());
            return Ok(Some(check.with_note(shown)));
        }
        Ok(Returned::Text(_)) => Some(fail("an empty one".into())),
        Ok(Returned::Error(error)) => Some(fail(format!("error: {}", error.message))),
        Ok(Returned::Finding(_)) => Some(fail("a finding".into())),
        Err(error) => Some(fail(error.to_string())),
    };
    Ok(Some(check.judged(failure)))
}
