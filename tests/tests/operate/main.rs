//! What it takes to operate a host: its golden signals, the alerts and the dashboard over them, and
//! what it is packed in.
//!
//! The tools that judge our files are those of others: `promtool` is in Debian's package `prometheus`.
//! Where one is missing, its test says so and is passed over; with `CI` set, it fails.

mod dashboards;
mod metrics;
mod packaging;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};

/// Whether a tool is here. Says what is not tested without it.
fn has(tool: &str, how: &str) -> anyhow::Result<bool> {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok() {
        return Ok(true);
    }
    ensure!(std::env::var_os("CI").is_none(), "{tool} is missing: {how}");
    // Past what the harness keeps of a test that passes.
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {tool} is missing: {how}");
    Ok(false)
}

fn has_promtool() -> anyhow::Result<bool> {
    has("promtool", "apt-get install prometheus")
}

/// What a command prints, if it succeeds.
fn passes(command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let output = run(command, input)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{said}{complained}",
        output.status
    );
    Ok(said + &complained)
}

fn run(command: &mut Command, input: Option<&str>) -> anyhow::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(match input {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    });
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes())?;
    }
    Ok(child.wait_with_output()?)
}
