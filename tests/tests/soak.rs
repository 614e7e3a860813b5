//! A short soak: a hundred kills with the binaries of this build. The long one is the command
//! `soak` of this package.

use anyhow::ensure;
use stoplog_tests::bins;
use stoplog_tests::soak::{self, Plan};

#[test]
fn a_hundred_kills_do_nothing_twice_and_lose_nothing() -> anyhow::Result<()> {
    let plan = Plan {
        bins: bins!(),
        kills: 100,
        seed: 7,
        sessions: 8,
    };
    let report = soak::run(plan, &mut |_| {})?;
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
