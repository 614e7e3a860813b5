//! `undo` leaves the far side as it was. The host undoes a call of class 2 when nobody knows whether
//! it was done: so the answer is lost, the probe is not asked, and the real recovery takes it back
//! and does it again.

use super::{effects, ended};
use crate::error::CliError;
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::Case;
use crate::tooltest::far::{Did, Happened};
use crate::tooltest::report::{Check, Failure};

/// None: the call has nothing to take back.
pub(in crate::tooltest) async fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Option<Check>, CliError> {
    let once = quiet.happened.in_force();
    if once == 0 || quiet.output().is_none() {
        return Ok(None);
    }
    let check = Check::new(
        &case.name,
        "undo",
        "undo takes it back: the far side is as it was",
    );
    let (call, happened) = bench.undone(case).await?;
    let to_do = match happened.without_line().first() {
        Some(seen) => format!(
            "add [[far]] request = \"{} {}\", undoes = true to the case",
            seen.method, seen.path
        ),
        None => "undo is given the input and the key of the call, and mostly no output: take back \
                 what was done under that key, and succeed where nothing was"
            .to_owned(),
    };
    let failure = match left_behind(&happened) {
        // The recovery went on: done again, and once.
        Some(0) if happened.in_force() == once => None,
        Some(left) => Some(Failure::new(
            format!(
                "0 effects behind the undo, and {} at the end",
                effects(once)
            ),
            format!(
                "{} behind the undo, and {} at the end; {}",
                effects(left),
                effects(happened.in_force()),
                ended(&call)
            ),
            to_do,
        )),
        None => Some(Failure::new(
            "a request that takes it back",
            format!("none came; {}", ended(&call)),
            to_do,
        )),
    };
    Ok(Some(check.judged(failure)))
}

/// Effects in force behind the first request that is none of the call's own. None: there is no such
/// request.
fn left_behind(happened: &Happened) -> Option<usize> {
    let done = happened.seen.iter().position(|s| s.did == Did::Effect)?;
    let mut later = happened.seen.iter().skip(done + 1);
    let undo = later.find(|s| s.did != Did::Effect && s.method != "GET" && s.method != "HEAD");
    undo.map(|seen| seen.in_force)
}
