//! A host that is killed: a process of its own, which kills itself at a point, or is killed while a
//! request of it is under way.
//!
//! Nothing of it is shared with the test but the directory, the compiled code and the far side; so
//! what the test finds afterwards is what a crash leaves.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stoplog_model::port::{Unwatched, Watch};
use stoplog_sandbox::{Sandbox, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::far::World;
use super::trap::{Point, Trap};
use super::trial::{self, Trial};
use crate::error::CliError;

/// How often the far side is looked at, while it has not got the request yet.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the process is told on standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Doom {
    trial: Trial,
    /// None: it is killed from outside.
    point: Option<Point>,
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

/// Starts a trial in a process of its own.
async fn start(trial: &Trial, point: Option<Point>) -> Result<Child, CliError> {
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
    let stdin = child.stdin.take();
    let mut stdin = stdin.ok_or_else(|| failed("no standard input"))?;
    stdin.write_all(&text).await.map_err(failed)?;
    Ok(child)
}

async fn ended(child: Child) -> Result<End, CliError> {
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

/// Runs a trial in a process of its own until it dies at a point.
pub(super) async fn run(trial: &Trial, point: Point) -> Result<End, CliError> {
    ended(start(trial, Some(point)).await?).await
}

/// Runs a trial in a process of its own, and kills it while its first effect is under way: the far
/// side has done it, and holds the answer.
pub(super) async fn run_into(trial: &Trial, world: &World) -> Result<End, CliError> {
    let mut child = start(trial, None).await?;
    while world.look().await?.effects.is_empty() {
        if child.try_wait().map_err(failed)?.is_some() {
            return ended(child).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    child.kill().await.map_err(failed)?;
    Ok(End::Killed)
}

/// The process itself.
pub(crate) async fn main() -> Result<(), CliError> {
    let mut text = Vec::new();
    let read = tokio::io::stdin().read_to_end(&mut text).await;
    read.map_err(failed)?;
    let doom: Doom = serde_json::from_slice(&text).map_err(failed)?;
    let sandbox = Sandbox::new(Settings {
        cache_dir: Some(doom.trial.cache.clone()),
        also: None,
    })
    .map_err(failed)?;
    let bytes = std::fs::read(&doom.trial.component).map_err(failed)?;
    sandbox.load(&bytes)?;
    let watch: Arc<dyn Watch> = match doom.point {
        Some(point) => Arc::new(Trap::new(point)),
        None => Arc::new(Unwatched),
    };
    trial::run(&doom.trial, Arc::new(sandbox), watch).await?;
    Ok(())
}
