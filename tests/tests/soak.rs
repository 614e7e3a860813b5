//! A short soak: a hundred kills with the binaries of this build. The long one is the command
//! `soak` of this package.

use anyhow::ensure;
use stoplog_tests::bins;
use stoplog_tests::soak::{self, Plan};

fn plan(kills: u32, all_forget: bool) -> Plan {
    Plan {
        bins: bins!(),
        kills,
        seed: 7,
        sessions: 8,
        all_forget,
    }
}

#[test]
fn a_hundred_kills_do_nothing_twice_and_lose_nothing() -> anyhow::Result<()> {
    let report = soak::run(plan(100, false), &mut |_| {})?;
    eprintln!("{report:?}");
    ensure!(report.is_clean(), "{report:#?}");
    ensure!(report.kills == 100, "{report:?}");
    // It would prove nothing if no session got to its end.
    ensure!(report.sessions >= 16, "{report:?}");
    ensure!(
        report.effects >= 8 * report.sessions - report.refused,
        "{report:?}"
    );
    Ok(())
}

/// The soak can fail: a tool says that its far side keeps keys, and it does not.
#[test]
fn a_far_side_that_forgets_is_found_out() -> anyhow::Result<()> {
    let report = soak::run(plan(1000, true), &mut |_| {})?;
    ensure!(!report.duplicates.is_empty(), "{report:#?}");
    Ok(())
}
