//! Run again on the record of its call, the tool does the same: the same requests, and the same end.
//! A host that comes back after a crash does exactly this, as attempt 2.

use std::sync::Arc;

use serde_json::Value;
use stoplog_model::event::CallResult;
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::port::{Entry, Gate, Returned};

use super::ended;
use crate::error::CliError;
use crate::tooltest::again::{self, Record};
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::Case;
use crate::tooltest::report::{Check, Failure};

const TO_DO: &str = "make requests and output from the input and from what was read: no attempt \
                     number, no time of the answer's headers, nothing that is counted outside";

/// None: it never ran.
pub(in crate::tooltest) async fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Option<Check>, CliError> {
    let call = quiet.first()?;
    let Some(observed) = &call.observed else {
        return Ok(None);
    };
    if observed.disposition != Disposition::Executed {
        return Ok(None);
    }
    let check = Check::new(
        &case.name,
        "same-again",
        "run again on its record, it does the same",
    );
    let looking = bench.looking(&quiet.world)?;
    let record = Arc::new(Record::of(
        call,
        observed.key.clone(),
        bench.pin.class.writes(),
        looking,
    ));
    let input = call.call.arguments.to_string();
    let started_at_ms = call.started_at_ms.unwrap_or_default();
    let gate: Arc<dyn Gate> = record.clone();
    let entry = Entry::Call { input };
    let ran = again::run(&bench.runner, &bench.pin, entry, started_at_ms, 2, gate).await?;
    if let Some(strayed) = record.strayed() {
        let failure = Failure::new(strayed.expected, strayed.seen, TO_DO);
        return Ok(Some(check.failed(failure)));
    }
    let failure = match (&observed.result, &ran.result) {
        (CallResult::Ok(first), Ok(Returned::Text(text))) => {
            let second: Value = serde_json::from_str(text).unwrap_or_default();
            (*first != second)
                .then(|| Failure::new(format!("output {first}"), format!("output {second}"), TO_DO))
        }
        // What the host said about the tool, it would say again.
        (CallResult::Err(error), _) if error.reason.is_some() => None,
        (CallResult::Err(first), Ok(Returned::Error(second))) if first.code == second.code => {
            denies(quiet, second.aftermath)
        }
        (_, result) => Some(Failure::new(
            ended(call),
            match result {
                Ok(Returned::Text(text)) => format!("output {text}"),
                Ok(Returned::Error(error)) => {
                    format!("error {}: {}", error.code.as_str(), error.message)
                }
                Ok(Returned::Finding(_)) => "a finding".into(),
                Err(error) => error.to_string(),
            },
            TO_DO,
        )),
    };
    Ok(Some(check.judged(failure)))
}

/// A tool that says that nothing changed, when something did.
fn denies(quiet: &Quiet, aftermath: Aftermath) -> Option<Failure> {
    let in_force = quiet.happened.in_force();
    (aftermath == Aftermath::Untouched && in_force > 0).then(|| {
        Failure::new(
            "aftermath `changed` or `unknown` in the tool's error",
            format!("`untouched`, and the far side did {in_force}"),
            "an error behind an effect must say what the effect came to: .aftermath(...)",
        )
    })
}
