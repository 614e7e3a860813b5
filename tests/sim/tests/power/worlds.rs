//! Whole worlds on a disk that loses power when a host dies: the oracle judges them as it judges
//! plain crashes.

use std::io::Write;

use stoplog_sim::disk::Power;
use stoplog_sim::report;
use stoplog_sim::world::{Setup, run_with};

/// Seeds of the suite: so many, however long they take, or a busy machine would cover less.
const SEEDS: u64 = 300;

#[test]
fn worlds_with_power_cuts_break_no_rule() {
    let report = report::run_on_a_disk(Power::Goes, 0, SEEDS, None);
    let _ = writeln!(
        std::io::stderr(),
        "{} worlds with {} hosts",
        report.seeds,
        report.hosts
    );
    assert!(report.broken.is_empty(), "\n{report}");
    for case in [
        "power/took_nothing",
        "power/lost",
        "power/tore",
        "store/append.before",
        "store/append.after",
        "crash/append.before",
        "crash/append.after",
        "crash/request_under_way",
        "crash/intent_durable.after",
    ] {
        assert!(report.coverage.of(case) > 0, "never {case}\n{report}");
    }
}

/// The test above can fail: were the log not synced, the oracle would find what was lost.
#[test]
fn without_syncs_of_the_log_the_oracle_finds_broken_rules() {
    let report = report::run_on_a_disk(Power::GoesUnsynced, 0, 10, None);
    assert!(!report.broken.is_empty(), "\n{report}");
}

/// A seed decides everything here, too: the calls of the store take no turns.
#[test]
fn a_seed_with_power_cuts_is_the_same_twice() {
    let setup = Setup {
        power: Power::Goes,
        ..Setup::default()
    };
    for seed in 0..3 {
        let (one, two) = (run_with(setup, seed), run_with(setup, seed));
        assert_eq!(one.schedule, two.schedule, "seed {seed}");
        assert_eq!(one.coverage, two.coverage, "seed {seed}");
    }
}
