//! A host that is killed at a point: a process of its own, which kills itself there.
//!
//! Nothing of it is shared with the test but the directory, the compiled code and the far side; so
//! what the test finds afterwards is what a crash leaves.

use std::process::Stdio;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stoplog_sandbox::{Sandbox, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::trap::{Point, Trap};
use super::trial::{self, Trial};
use crate::error::CliError;

/// What the process is told on standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Doom {
    trial: Trial,
    point: Point,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It died at its point.
    Killed,
    /// It did not get there, and ended in order.
    Survived,
}

fn failed(e: impl std::fmt::Display) -> CliError {
    CliError::internal(format!("the host that was to be killed: {e}"))
}

/// Runs a trial in a process of its own until it dies.
pub(super) async fn run(trial: &Trial, point: Point) -> Result<End, CliError> {
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg(crate::args::DOOMED_HOST)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let doom = Doom {
        trial: trial.clone(),
        point,
    };
    let text = serde_json::to_vec(&doom).map_err(failed)?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| failed("no standard input"))?;
    stdin.write_all(&text).await.map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(failed)?;
    match output.status.code() {
        None => Ok(End::Killed),
        Some(0) => Ok(End::Survived),
        Some(code) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(format!("it ended with {code}: {}", said.trim())))
        }
    }
}

/// The process itself.
pub(crate) async fn main() -> Result<(), CliError> {
    let mut text = Vec::new();
    let read = tokio::io::stdin().read_to_end(&mut text).await;
    read.map_err(failed)?;
    let doom: Doom = serde_json::from_slice(&text).map_err(failed)?;
    let sandbox = Sandbox::new(Settings {
        cache_dir: Some(doom.trial.cache.clone()),
    })
    .map_err(failed)?;
    let bytes = std::fs::read(&doom.trial.component).map_err(failed)?;
    sandbox.load(&bytes)?;
    let watch = Arc::new(Trap::new(doom.point));
    trial::run(&doom.trial, Arc::new(sandbox), watch).await?;
    Ok(())
}
