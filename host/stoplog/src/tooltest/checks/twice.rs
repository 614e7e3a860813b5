//! The model decides on the same thing twice: the same call in the next turn. It is done once.

use stoplog_model::event::CallResult;

use super::{effects, ended};
use crate::error::CliError;
use crate::tooltest::bench::{Bench, Quiet};
use crate::tooltest::case::Case;
use crate::tooltest::report::{Check, Failure};

pub(in crate::tooltest) async fn check(
    bench: &Bench,
    case: &Case,
    quiet: &Quiet,
) -> Result<Check, CliError> {
    let check = Check::new(&case.name, "twice", "asked for twice, it is done once");
    let once = quiet.happened.in_force();
    let twice = bench.quiet(case, case.script.clone(), 2).await?;
    let seen = twice.happened.in_force();
    let second = twice.calls.get(1);
    let how = second.map_or_else(|| "the second call was never made".into(), ended);
    let same = second.and_then(|c| c.observed.as_ref()).is_some_and(|o| {
        match (&o.result, quiet.output()) {
            (CallResult::Ok(second), Some(first)) => second == first,
            (CallResult::Err(_), None) => true,
            _ => false,
        }
    });
    let failure = (seen != once || !same).then(|| {
        Failure::new(
            format!("{}, and the first output again", effects(once)),
            format!("{}; the second call: {how}", effects(seen)),
            "the key template must name what is done, from the input alone",
        )
    });
    twice.world.close().await?;
    Ok(check.judged(failure))
}
