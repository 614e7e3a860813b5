//! Left alone: does the call end as the case expects, with an output that keeps its schema, and
//! with as many effects as it should have?

use std::collections::BTreeSet;

use stoplog_model::Reason;
use stoplog_model::event::CallResult;
use stoplog_model::outcome::Disposition;

use super::{effects, ended};
use crate::error::CliError;
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::{Case, misfit};
use crate::tooltest::far::Seen;
use crate::tooltest::report::{Check, Failure};

/// The checks of a case that was left alone.
pub(in crate::tooltest) fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Vec<Check>, CliError> {
    let answers = answers(bench, case, quiet);
    if answers.failure.is_some() {
        return Ok(vec![answers]);
    }
    let mut checks = vec![answers, ends(case, quiet)?];
    if bench.pin.class.writes() {
        checks.push(counted(bench, case, quiet)?);
    }
    if !quiet.happened.effects.is_empty() {
        checks.push(keyed(bench, case, quiet)?);
    }
    Ok(checks)
}

/// Every request has a line in the case.
fn answers(bench: &Bench, case: &Case, quiet: &Quiet) -> Check {
    let what = "every request of the tool has an answer in the case";
    let key = quiet.observed().map(|o| o.key.clone());
    let key = key.or_else(|| bench.pin.contract.fill_key(&case.input).ok()?);
    // The line to add catches the key, so that it fits other keys, too.
    let line = |seen: &Seen| {
        let path = match &key {
            Some(key) if !key.is_empty() => seen.path.replace(key.as_str(), "{key}"),
            _ => seen.path.clone(),
        };
        format!("\"{} {path}\"", seen.method)
    };
    let missing = quiet.happened.without_line();
    let lines: BTreeSet<String> = missing.iter().map(|seen| line(seen)).collect();
    let failure = missing.first().map(|seen| {
        let lines: Vec<String> = lines.into_iter().collect();
        Failure::new(
            format!("[[far]] with request = {}", lines.join(", and ")),
            format!("the tool asked {} for it, and no line fits", seen.host),
            "add it to the case, with the answer that the far side really gives",
        )
    });
    Check::new(&case.name, "answers", what).judged(failure)
}

fn ends(case: &Case, quiet: &Quiet) -> Result<Check, CliError> {
    let call = quiet.first()?;
    let expect = &case.expect;
    let what = match (&expect.output, &expect.error) {
        (_, Some(error)) => format!("it ends with the error `{error}`"),
        (Some(_), None) => "the output is as expected, and keeps its schema".into(),
        (None, None) => "it ends with an output that keeps its schema".to_owned(),
    };
    let check = Check::new(&case.name, "outcome", what);
    let fail = |expected: String, to_do: &str| {
        Ok(check
            .clone()
            .failed(Failure::new(expected, ended(call), to_do)))
    };
    let Some(observed) = &call.observed else {
        return fail(
            "the call to end".into(),
            "see the reason's page in docs/reasons",
        );
    };
    if observed.disposition == Disposition::Probed {
        return fail(
            "the tool to return".into(),
            "the tool broke behind its effect, and only its probe knew the output: `tool run` shows \
             its log",
        );
    }
    match (&observed.result, &expect.error) {
        (CallResult::Err(error), Some(expected)) => {
            let reason = error.reason.map(Reason::code);
            if error.code.as_str() == expected || reason == Some(expected) {
                return Ok(check);
            }
            fail(format!("error {expected}"), "correct the tool, or the case")
        }
        (CallResult::Err(error), None) if error.reason == Some(Reason::OutputSchema) => fail(
            "an output that keeps the schema of the contract".into(),
            "correct the output schema, or what the tool returns",
        ),
        (CallResult::Err(error), None) => {
            let to_do = error.hint.as_deref().unwrap_or(
                "correct the tool; or write [expect] error = \"CODE\", if this is what should happen",
            );
            fail("an output".into(), to_do)
        }
        (CallResult::Ok(_), Some(expected)) => {
            fail(format!("error {expected}"), "correct the tool, or the case")
        }
        (CallResult::Ok(output), None) => match &expect.output {
            None => Ok(check),
            Some(expected) => match misfit(expected, output, "") {
                None => Ok(check),
                Some(why) => Ok(check.failed(Failure::new(
                    expected.to_string(),
                    format!("{output}: {why}"),
                    "correct the tool, or [expect] in the case",
                ))),
            },
        },
    }
}

/// The far side counted what was expected of it.
fn counted(bench: &Bench, case: &Case, quiet: &Quiet) -> Result<Check, CliError> {
    let seen = quiet.happened.in_force();
    let succeeded = quiet.output().is_some();
    let name = "effects";
    let check = |n: usize| {
        let what = format!("the far side counts {}", effects(n));
        Check::new(&case.name, name, what)
    };
    if let Some(expected) = case.expect.effects {
        let failure = (expected != seen).then(|| {
            Failure::new(
                effects(expected),
                effects(seen),
                "correct the tool, or `effects` in [expect]",
            )
        });
        return Ok(check(expected).judged(failure));
    }
    let failure = match (succeeded, seen) {
        (true, 0) => Some(Failure::new(
            "an effect: the call succeeded",
            "the far side counts none",
            "is the line of its request marked `effect = false`, or its status no success? Where a \
             call rightly does nothing, write [expect] effects = 0",
        )),
        (false, 1..) => Some(Failure::new(
            "no effect: the call failed",
            format!("{}; {}", effects(seen), ended(quiet.first()?)),
            "a call that did its act must give its output. Where a part may remain, write [expect] \
             effects = N",
        )),
        _ => None,
    };
    let what = match (succeeded, bench.pin.class) {
        (true, _) => check(seen),
        (false, _) => Check::new(&case.name, name, "what failed did nothing"),
    };
    Ok(what.judged(failure))
}

/// The far side gets the key where it looks for it.
fn keyed(bench: &Bench, case: &Case, quiet: &Quiet) -> Result<Check, CliError> {
    let what = "each effect carries the host's key to where the far side looks";
    let check = Check::new(&case.name, "key", what);
    let asks_for_keys = bench.pin.contract.keeps_keys;
    let place = String::from(case.script.key_in.clone());
    let intended: Vec<&str> = quiet
        .first()?
        .effects
        .iter()
        .map(|e| e.intent.key.as_str())
        .collect();
    let stray = quiet.happened.effects.iter().find(|e| {
        let key = e.key.as_deref();
        key.is_none_or(|key| !intended.contains(&key))
    });
    let Some(stray) = stray.filter(|_| asks_for_keys) else {
        return Ok(check);
    };
    let seen = match &stray.key {
        Some(key) => format!("`{key}` in {place}"),
        None => format!("no key in {place}"),
    };
    Ok(check.failed(Failure::new(
        format!("`{}` in {place}", intended.join("` or `")),
        seen,
        "put permit.key() there; the contract says keeps_keys, so the host sends again and relies \
         on it",
    )))
}
