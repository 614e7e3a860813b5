//! Many seeds, and what they came to.

use std::fmt;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::disk::Power;
use crate::world::{self, Setup};

/// Violations told at most: the first few say what is wrong.
const MOST_TOLD: usize = 5;

/// What a run of many seeds came to.
#[derive(Debug)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Hosts that they took together.
    pub hosts: u64,
    /// How long that took.
    pub took: Duration,
    /// What happened how often.
    pub coverage: Coverage,
    /// Seeds that broke a rule, each with its story.
    pub broken: Vec<String>,
}

/// Runs `seeds` seeds from `from` on, or for at most `limit`.
pub fn run(from: u64, seeds: u64, limit: Option<Duration>) -> Report {
    run_each(from, seeds, limit, world::run)
}

/// The same, in a world that has one writing tool alone.
pub fn run_with(tool: &'static str, from: u64, seeds: u64) -> Report {
    let setup = Setup {
        tool: Some(tool),
        ..Setup::default()
    };
    run_each(from, seeds, None, |seed| world::run_with(setup, seed))
}

/// The same, on a disk.
pub fn run_on_a_disk(power: Power, from: u64, seeds: u64, limit: Option<Duration>) -> Report {
    let setup = Setup {
        power,
        ..Setup::default()
    };
    run_each(from, seeds, limit, |seed| world::run_with(setup, seed))
}

fn run_each(
    from: u64,
    seeds: u64,
    limit: Option<Duration>,
    world: impl Fn(u64) -> world::Ran,
) -> Report {
    let began = Instant::now();
    let mut report = Report {
        seeds: 0,
        hosts: 0,
        took: Duration::ZERO,
        coverage: Coverage::default(),
        broken: Vec::new(),
    };
    for seed in from..from.saturating_add(seeds) {
        if limit.is_some_and(|l| began.elapsed() >= l) {
            break;
        }
        // Nobody reads more of them, and who set a limit has no time to lose.
        if limit.is_some() && report.broken.len() >= MOST_TOLD {
            break;
        }
        let ran = world(seed);
        report.seeds += 1;
        report.hosts += u64::from(ran.hosts);
        if !ran.violations.is_empty() {
            report.broken.push(story(&ran));
        }
        report.coverage.add(ran.coverage);
    }
    report.took = began.elapsed();
    report
}

/// Everything that it takes to look into a seed.
pub fn story(ran: &world::Ran) -> String {
    let mut text = format!("seed {} breaks a rule\n", ran.seed);
    for violation in &ran.violations {
        text += &format!("  {}: {}\n", violation.rule, violation.detail);
    }
    for line in &ran.schedule {
        text += &format!("    {line}\n");
    }
    text += &format!(
        "  again: STOPLOG_SIM_SEED={} cargo test -p stoplog-sim --test simulation one_seed\n",
        ran.seed
    );
    text
}

impl Report {
    /// Nothing broken, nothing missing.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.coverage.missing().is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for story in self.broken.iter().take(MOST_TOLD) {
            writeln!(f, "{story}")?;
        }
        for (name, count) in self.coverage.rows() {
            writeln!(f, "{count:>10}  {name}")?;
        }
        for name in self.coverage.missing() {
            writeln!(f, "     never  {name}")?;
        }
        let rate = self.seeds as f64 / self.took.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} schedules with {} hosts in {:.1} s: {rate:.0} a second; {} break a rule, {} kinds \
             never happened",
            self.seeds,
            self.hosts,
            self.took.as_secs_f64(),
            self.broken.len(),
            self.coverage.missing().len()
        )
    }
}
