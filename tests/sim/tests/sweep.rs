//! Not by chance: one call of a tool, and a host that dies at the first point that it passes, at
//! the second, and so on to the last.

use stoplog_sim::life::Plan;
use stoplog_sim::report::story;
use stoplog_sim::tools::HOWS;
use stoplog_sim::world::{Setup, run_with};

/// Points that no host passes in one call: the sweep ends before, or it does not end.
const MOST_POINTS: u32 = 200;

/// Every point of one call of a tool, whatever it does behind its effect. How many there were.
fn sweep(tool: &'static str) -> u32 {
    let mut points = 0;
    for how in HOWS {
        for nth in 1..=MOST_POINTS {
            let setup = Setup {
                tool: Some(tool),
                how: Some(how),
                plan: Some(Plan::DieAtNth(nth)),
                ..Setup::default()
            };
            let ran = run_with(setup, 0);
            let context = format!("{tool} that goes about it `{how}`, point {nth}");
            assert!(ran.violations.is_empty(), "{context}\n{}", story(&ran));
            if ran.first_fell_at.is_none() {
                break;
            }
            points += 1;
            assert!(nth < MOST_POINTS, "{context}: there is no end");
        }
    }
    points
}

/// A tool that can be undone: also between the answer to the undo and its record.
#[test]
fn killed_at_every_point_of_an_undo() {
    let points = sweep("undoable");
    assert!(points > 100, "{points} points");
}

#[test]
fn killed_at_every_point_of_two_effects() {
    let points = sweep("pair_shown");
    assert!(points > 100, "{points} points");
}
