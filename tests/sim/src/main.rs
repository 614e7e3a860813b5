//! `cargo run --release -p stoplog-sim -- --seeds N --from S [--deep | --tool NAME]`: schedules a
//! second, coverage, violations. Small schedules and a deep one now and then; with `--deep` or
//! `--tool` deep ones alone.

use std::io::Write;
use std::process::ExitCode;

use stoplog_sim::report;
use stoplog_sim::tools::writer;

/// The `stoplog` command's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        let text = at.and_then(|i| arguments.get(i + 1));
        text.map_or(Some(default), |t| t.parse().ok())
    };
    let mut out = std::io::stdout().lock();
    let (Some(seeds), Some(from)) = (number("--seeds", 1000), number("--from", 0)) else {
        let _ = writeln!(
            out,
            "usage: stoplog-sim [--seeds N] [--from S] [--deep | --tool NAME]"
        );
        return ExitCode::from(2);
    };
    let tool = arguments.iter().position(|a| a == "--tool");
    let named = tool.and_then(|i| arguments.get(i + 1));
    let report = match named.and_then(|name| writer(name)) {
        Some(tool) => report::run_with(tool.name, from, seeds),
        None if arguments.iter().any(|a| a == "--deep") => report::run(from, seeds, None),
        None => report::run_small(from, seeds, None),
    };
    let _ = write!(out, "{report}");
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
