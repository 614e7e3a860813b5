//! The host is killed at every point of the call and started again: the far side did it once, or the
//! call lies on a person's desk.
//!
//! The host that dies is a process of its own; the one that goes on runs here, on the same
//! directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};
use stoplog_model::Reason;
use stoplog_model::event::CallResult;
use stoplog_model::port::{Moment, Stage, Unwatched};
use stoplog_model::session::CallState;

use super::{effects, ended};
use crate::error::CliError;
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::Case;
use crate::tooltest::doomed::{self, End};
use crate::tooltest::far::{Happened, Script, World};
use crate::tooltest::points;
use crate::tooltest::report::{Check, Failure};
use crate::tooltest::trap::Point;
use crate::tooltest::trial::{self, Trial};

/// Hosts that are killed at once: they mostly wait for the disk.
const AT_ONCE: usize = 2;

/// What a kill came to.
enum Came {
    /// As without a kill.
    Once,
    /// A person is asked.
    Parked(Reason),
    Wrong(Box<Failure>),
}

/// One check for all points together, and one for each that went wrong.
pub(in crate::tooltest) async fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
    everywhere: bool,
) -> Result<Vec<Check>, CliError> {
    let (points, wanted) = match everywhere || bench.every_point {
        true => points::all(&quiet.passed),
        false => {
            let worst = points::worst(&quiet.passed);
            let wanted = worst.len();
            (worst, wanted)
        }
    };
    let id = |point: &Point| format!("{}/killed@{point}", case.name);
    let chosen = |point: &Point| match bench.only.as_deref() {
        Some(only) if only.contains('@') => id(point) == *only,
        _ => true,
    };
    let all = if bench.only.as_deref().is_some_and(|o| o.contains('@')) {
        points::all(&quiet.passed).0
    } else {
        points
    };
    let points: Vec<Point> = all.into_iter().filter(chosen).collect();
    let came: Vec<(Point, Result<Came, CliError>)> = stream::iter(points.clone())
        .map(|point| async move { (point, kill(bench, case, quiet, point).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut parked = Vec::new();
    let mut wrong = Vec::new();
    for (point, result) in came {
        match result {
            Ok(Came::Once) => {}
            Ok(Came::Parked(reason)) => parked.push(reason),
            Ok(Came::Wrong(failure)) => wrong.push((point, *failure)),
            Err(error) => {
                let to_do =
                    "this is the host's fault, or the machine's: run it again, and report it";
                wrong.push((
                    point,
                    Failure::new("a host that goes on", error.message, to_do),
                ));
            }
        }
    }
    Ok(told(case, bench, &points, wanted, parked, wrong, id))
}

fn told(
    case: &Case,
    bench: &Bench,
    points: &[Point],
    wanted: usize,
    parked: Vec<Reason>,
    mut wrong: Vec<(Point, Failure)>,
    id: impl Fn(&Point) -> String,
) -> Vec<Check> {
    let result = match bench.pin.class.writes() {
        true => "done once",
        false => "answered",
    };
    if !wrong.is_empty() {
        wrong.sort_by_key(|(point, _)| points.iter().position(|p| p == point));
        let checks = wrong.into_iter().map(|(point, failure)| Check {
            id: id(&point),
            what: format!("killed at {point} and started again, it is {result}"),
            note: String::new(),
            failure: Some(Failure {
                killed: Some(point.in_words()),
                ..failure
            }),
        });
        return checks.collect();
    }
    let mut notes = Vec::new();
    if wanted > points.len() && points.len() > 1 {
        notes.push(format!("of {wanted} points"));
    }
    if let Some(reason) = parked.first() {
        notes.push(format!(
            "{} times a person is asked, {}",
            parked.len(),
            asked(*reason)
        ));
    }
    let what = format!(
        "killed at {} points and started again, it is {result}",
        points.len()
    );
    vec![Check::new(&case.name, "killed", what).with_note(notes.join("; "))]
}

async fn kill(bench: &Bench, case: &Case, quiet: &Quiet, point: Point) -> Result<Came, CliError> {
    let world = bench.far.open(case.script.clone()).await?;
    let trial = bench.trial(case, &world, 1);
    if doomed::run(&trial, point).await? == End::Killed {
        bench.kills.fetch_add(1, Ordering::Relaxed);
    }
    // In front of the intent nothing was fixed: a second start may give another output.
    let fixed = !matches!(
        (point.at.stage, point.at.moment),
        (Stage::TurnTaken, _) | (Stage::IntentDurable, Moment::Before)
    );
    resumed(bench, quiet, &trial, world, fixed).await
}

/// The answer is lost on the way, and the host lives: it finds out by itself.
pub(in crate::tooltest) async fn lost_answer(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Check, CliError> {
    let what = "the far side does it, and its answer is lost: it is done once";
    let check = Check::new(&case.name, "lost-answer", what);
    let script = Script {
        loses_answers: 1,
        ..case.script.clone()
    };
    let lost = bench.quiet(case, script, 1).await?;
    let happened = lost.world.close().await?;
    let call = lost.calls.first();
    let call = call.ok_or_else(|| CliError::internal("the call was never made"))?;
    Ok(match judge(bench, quiet, call, &happened, false) {
        Came::Once => check,
        Came::Parked(reason) => check.with_note(format!("a person is asked, {}", asked(reason))),
        Came::Wrong(failure) => check.failed(*failure),
    })
}

/// The host is killed from outside while its first effect is under way: the far side has done it,
/// and no host is there for the answer.
pub(in crate::tooltest) async fn under_way(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Check, CliError> {
    let what = "killed while the request is under way and started again, it is done once";
    let check = Check::new(&case.name, "killed-under-way", what);
    let script = Script {
        holds_answers: 1,
        ..case.script.clone()
    };
    let world = bench.far.open(script).await?;
    let trial = bench.trial(case, &world, 1);
    if doomed::run_into(&trial, &world).await? == End::Killed {
        bench.kills.fetch_add(1, Ordering::Relaxed);
    }
    Ok(match resumed(bench, quiet, &trial, world, true).await? {
        Came::Once => check,
        Came::Parked(reason) => check.with_note(format!("a person is asked, {}", asked(reason))),
        Came::Wrong(failure) => check.failed(Failure {
            killed: Some("the far side has done it; its answer never came".into()),
            ..*failure
        }),
    })
}

/// A second host goes on where one was killed.
async fn resumed(
    bench: &Bench,
    quiet: &Quiet,
    trial: &Trial,
    world: World,
    fixed: bool,
) -> Result<Came, CliError> {
    let calls = trial::run(trial, bench.runner.clone(), Arc::new(Unwatched)).await?;
    let happened = world.close().await?;
    let _ = std::fs::remove_dir_all(&trial.dir);
    let call = calls.first();
    let call = call.ok_or_else(|| CliError::internal("the call is gone from the session"))?;
    Ok(judge(bench, quiet, call, &happened, fixed))
}

/// Compared with the call that was left alone.
fn judge(bench: &Bench, quiet: &Quiet, call: &CallState, happened: &Happened, fixed: bool) -> Came {
    let once = quiet.happened.in_force();
    let seen = happened.in_force();
    let wrong = |expected: String, seen: String, to_do: &str| {
        Came::Wrong(Box::new(Failure::new(expected, seen, to_do)))
    };
    if let Some(parked) = &call.parked {
        let blame = match parked.reason {
            Reason::DoubtUnresolvable | Reason::ResendExhausted if seen <= once => {
                return Came::Parked(parked.reason);
            }
            Reason::Nondeterministic => {
                "run again, the tool asked for something else: make requests from the input and \
                 from what was read, without attempt numbers"
            }
            Reason::LedgerMismatch => {
                "probe says absent, and the far side has it: look it up by the key that probe is \
                 given"
            }
            Reason::FoundSeveral => "probe says several, or it was done several times",
            _ => MORE,
        };
        return wrong(
            effects(once),
            format!("{}; {}", effects(seen), ended(call)),
            blame,
        );
    }
    let same_end = match (call.observed.as_ref().map(|o| &o.result), quiet.output()) {
        (Some(CallResult::Ok(output)), Some(first)) => {
            let undone = call.undone > 0;
            !bench.pin.class.writes() || !fixed || undone || output == first
        }
        (Some(CallResult::Err(_)), None) => true,
        _ => false,
    };
    if seen != once {
        let keys: Vec<&str> = happened
            .effects
            .iter()
            .map(|e| e.key.as_deref().unwrap_or("no key"))
            .collect();
        return wrong(
            effects(once),
            format!("{} ({}); {}", effects(seen), keys.join(", "), ended(call)),
            if seen > once { MORE } else { FEWER },
        );
    }
    if !same_end {
        let first = quiet.calls.first().map_or_else(String::new, ended);
        return wrong(
            first,
            ended(call),
            "what is found out after a crash must be what the call would have given: look at probe",
        );
    }
    Came::Once
}

/// Why a person is asked, and what the author can do about that.
fn asked(reason: Reason) -> String {
    let why = match reason {
        Reason::ResendExhausted => {
            "with settles_within_ms, the host could believe an `absent` from probe"
        }
        _ => "the far side keeps no keys, or cannot be asked",
    };
    format!("{reason}: {why}")
}

const MORE: &str = "it was done more than once. Does the far side really keep keys, where the tool \
                    puts them (keeps_keys)? Does probe find what was done?";
const FEWER: &str = "it was told as done, and is not there. Does probe say `once` only for what is \
                     there?";
