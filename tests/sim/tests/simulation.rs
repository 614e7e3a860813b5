//! The simulation as a test: as many seeds as fit into its time, with everything covered.

use std::time::Duration;

use stoplog_sim::world::Setup;
use stoplog_sim::{report, world};

/// Seeds of the suite. About twenty seconds in the profile of the tests.
const SEEDS: u64 = 900;

/// The suite stops here, whatever it has done: a slow machine must still say what it found.
const LIMIT: Duration = Duration::from_secs(120);

/// Seeds of [`small_seeds_break_no_rule`].
const SMALL_SEEDS: u64 = 1500;

/// Seeds of [`the_first_seeds_break_no_rule`]: enough to break each rule when the host is broken.
const FIRST_SEEDS: u64 = 300;

#[test]
fn many_seeds_break_no_rule_and_leave_nothing_out() {
    let report = report::run(0, SEEDS, Some(LIMIT));
    assert!(report.is_good(), "\n{report}");
}

/// What [`many_seeds_break_no_rule_and_leave_nothing_out`] counts needs deep worlds.
#[test]
fn small_seeds_break_no_rule() {
    let report = report::run_small(0, SMALL_SEEDS, Some(LIMIT));
    assert!(report.broken.is_empty(), "\n{report}");
    let reached = [
        "crash/request_under_way",
        "zombie/froze_in_append",
        "far/did",
    ];
    for name in reached {
        assert!(report.coverage.of(name) > 0, "never {name}\n{report}");
    }
}

/// The rules alone. Whatever is sabotaged in the host, a rule has to break: that something did not
/// happen any more is not enough.
#[test]
#[ignore = "for tests/mutants; the seeds are among those of the suite"]
fn the_first_seeds_break_no_rule() {
    let report = report::run(0, FIRST_SEEDS, Some(LIMIT));
    assert!(report.broken.is_empty(), "\n{report}");
}

/// The seed of `STOPLOG_SIM_SEED`, with its story; seed 0 without one.
#[test]
fn one_seed() {
    let text = std::env::var("STOPLOG_SIM_SEED").unwrap_or_default();
    let seed = text.parse().unwrap_or(0);
    let ran = world::run(seed);
    let journal = ran.journal.join("\n");
    let story = report::story(&ran);
    assert!(ran.violations.is_empty(), "\n{journal}\n\n{story}");
}

/// A seed decides everything: otherwise a failing one could not be looked into.
#[test]
fn a_seed_is_the_same_twice() {
    for seed in 0..20 {
        let (one, two) = (world::run(seed), world::run(seed));
        assert_eq!(one.schedule, two.schedule, "seed {seed}");
        assert_eq!(one.coverage, two.coverage, "seed {seed}");
        let small = || world::run_with(Setup::small(), seed);
        let (one, two) = (small(), small());
        assert_eq!(one.schedule, two.schedule, "small seed {seed}");
        assert_eq!(one.coverage, two.coverage, "small seed {seed}");
    }
}
