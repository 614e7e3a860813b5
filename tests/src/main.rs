//! `soak`: kills a host under many sessions, and counts what was done twice or lost.
//!
//! ```text
//! cargo build --release -p stoplog-tests
//! cargo run --release -p stoplog-tests -- soak --kills 10000 --seed 1 --sessions 8
//! ```
//!
//! The host and the far side are the binaries beside this one. Exit code 1: something was done
//! twice or lost, and standard error says what, with the seed.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stoplog_tests::soak::{self, Plan, Report};

/// Kills between two lines of progress.
const KILLS_A_LINE: u32 = 500;

#[derive(Debug, Parser)]
#[command(about = "Long tests of stoplog.")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill a host under many sessions at random, and count.
    Soak {
        /// How often.
        #[arg(long, default_value_t = 1000)]
        kills: u32,
        /// Decides when, and what else goes wrong.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Sessions at work at once.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        sessions: u16,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let Command::Soak {
        kills,
        seed,
        sessions,
    } = Args::parse().command;
    let plan = Plan {
        bins: soak::bins_beside_this()?,
        kills,
        seed,
        sessions,
        all_forget: false,
    };
    let mut next_line = KILLS_A_LINE;
    let report = soak::run(plan, &mut |so_far| {
        if so_far.kills >= next_line {
            next_line += KILLS_A_LINE;
            let _ = writeln!(std::io::stderr(), "{}", line(so_far));
        }
    })?;
    writeln!(std::io::stdout(), "{}", line(&report))?;
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut stderr = std::io::stderr().lock();
    for what in &report.duplicates {
        writeln!(stderr, "duplicate: {what}")?;
    }
    for what in &report.losses {
        writeln!(stderr, "loss: {what}")?;
    }
    if let Some(path) = &report.left_in {
        writeln!(stderr, "journal and ledgers: {path}")?;
    }
    writeln!(
        stderr,
        "the same plan again: soak --kills {kills} --seed {seed} --sessions {sessions}"
    )?;
    Ok(ExitCode::FAILURE)
}

fn line(report: &Report) -> String {
    format!(
        "{} kills (and {} of pruners), {} hosts ended by themselves, {} sessions, {} effects, \
         {} refused, {} duplicates, {} losses, {} parked and resolved, {} s",
        report.kills,
        report.pruners_killed,
        report.ended,
        report.sessions,
        report.effects,
        report.refused,
        report.duplicates.len(),
        report.losses.len(),
        report.parked,
        report.took.as_secs()
    )
}
