//! Many seeds, and what they came to.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::disk::Power;
use crate::world::{self, Setup};

/// Violations told at most: the first few say what is wrong.
const MOST_TOLD: usize = 5;

/// Of so many small worlds one is a deep one: some things happen only where much goes on.
const DEEP_EVERY: u64 = 64;

/// What a run of many seeds came to.
#[derive(Debug)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Threads that ran them beside each other.
    pub threads: usize,
    /// Hosts that they took together.
    pub hosts: u64,
    /// How long that took.
    pub took: Duration,
    /// What happened how often.
    pub coverage: Coverage,
    /// Seeds that broke a rule, each with its story, in their order.
    pub broken: Vec<(u64, String)>,
}

/// Runs `seeds` deep seeds from `from` on, or for at most `limit`.
pub fn run(from: u64, seeds: u64, limit: Option<Duration>) -> Report {
    run_each(from, seeds, limit, cores(), world::run)
}

/// The same with small worlds, and a deep one now and then.
pub fn run_small(from: u64, seeds: u64, limit: Option<Duration>) -> Report {
    run_each(from, seeds, limit, cores(), |seed| {
        match seed % DEEP_EVERY {
            0 => world::run(seed),
            _ => world::run_with(Setup::small(), seed),
        }
    })
}

/// Deep worlds that have one writing tool alone.
pub fn run_with(tool: &'static str, from: u64, seeds: u64) -> Report {
    let setup = Setup {
        tool: Some(tool),
        ..Setup::default()
    };
    run_each(from, seeds, None, cores(), |seed| {
        world::run_with(setup, seed)
    })
}

/// Deep worlds on a disk.
pub fn run_on_a_disk(power: Power, from: u64, seeds: u64, limit: Option<Duration>) -> Report {
    let setup = Setup {
        power,
        ..Setup::default()
    };
    run_each(from, seeds, limit, 1, |seed| world::run_with(setup, seed))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Each seed is a world of its own, so any thread may run any of them.
fn run_each(
    from: u64,
    seeds: u64,
    limit: Option<Duration>,
    threads: usize,
    world: impl Fn(u64) -> world::Ran + Sync,
) -> Report {
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let run_some = || {
        let mut report = Report::empty();
        loop {
            if limit.is_some_and(|l| began.elapsed() >= l) {
                break;
            }
            // Nobody reads more of them, and who set a limit has no time to lose.
            if limit.is_some() && report.broken.len() >= MOST_TOLD {
                break;
            }
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from.saturating_add(seeds) {
                break;
            }
            let ran = world(seed);
            report.seeds += 1;
            report.hosts += u64::from(ran.hosts);
            if !ran.violations.is_empty() {
                report.broken.push((seed, story(&ran)));
            }
            report.coverage.add(ran.coverage);
        }
        report
    };
    let mut report = Report::empty();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        for thread in all {
            match thread.join() {
                Ok(part) => report.add(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    report.broken.sort_unstable();
    report.threads = threads;
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
    fn empty() -> Report {
        Report {
            seeds: 0,
            threads: 0,
            hosts: 0,
            took: Duration::ZERO,
            coverage: Coverage::default(),
            broken: Vec::new(),
        }
    }

    fn add(&mut self, other: Report) {
        self.seeds += other.seeds;
        self.hosts += other.hosts;
        self.coverage.add(other.coverage);
        self.broken.extend(other.broken);
    }

    /// Nothing broken, nothing missing.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.coverage.missing().is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, story) in self.broken.iter().take(MOST_TOLD) {
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
            "{} schedules with {} hosts in {:.1} s on {} threads: {rate:.0} a second; {} break a \
             rule, {} kinds never happened",
            self.seeds,
            self.hosts,
            self.took.as_secs_f64(),
            self.threads,
            self.broken.len(),
            self.coverage.missing().len()
        )
    }
}
