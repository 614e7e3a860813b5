//! The far side's process, from the side of the test.
//!
//! Orders go one after the other over its standard input, so this needs no way to the network.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::ledger::{Did, Effect, Seen};
use super::script::Script;
use super::server::{Order, Told};
use crate::error::CliError;

struct Pipes {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

/// The process. Clones share it; it ends with the last one.
#[derive(Clone)]
pub(crate) struct FarSide(Arc<Mutex<Pipes>>);

/// One far side in it.
pub(crate) struct World {
    far: FarSide,
    id: u64,
    pub(crate) address: SocketAddr,
}

/// What happened in a world.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) effects: Vec<Effect>,
    pub(crate) seen: Vec<Seen>,
}

impl Happened {
    /// Effects in force.
    pub(crate) fn in_force(&self) -> usize {
        self.effects.iter().filter(|e| e.in_force).count()
    }

    /// Requests that no line fits.
    pub(crate) fn without_line(&self) -> Vec<&Seen> {
        self.seen.iter().filter(|s| s.did == Did::NoLine).collect()
    }
}

impl FarSide {
    /// Starts it.
    pub(crate) fn start() -> Result<FarSide, CliError> {
        let failed = |e: std::io::Error| CliError::internal(format!("the far side: {e}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg(crate::args::FAR_SIDE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) =
            pipes.ok_or_else(|| CliError::internal("the far side has no pipes"))?;
        Ok(FarSide(Arc::new(Mutex::new(Pipes {
            _child: child,
            stdin,
            stdout: BufReader::new(stdout).lines(),
        }))))
    }

    async fn order(&self, order: &Order) -> Result<Told, CliError> {
        let failed = |e: String| CliError::internal(format!("the far side: {e}"));
        let mut text = serde_json::to_string(order).map_err(|e| failed(e.to_string()))?;
        text.push('\n');
        let mut pipes = self.0.lock().await;
        let sent = pipes.stdin.write_all(text.as_bytes()).await;
        sent.map_err(|e| failed(e.to_string()))?;
        let line = pipes.stdout.next_line().await;
        let line = line.map_err(|e| failed(e.to_string()))?;
        let line = line.ok_or_else(|| failed("it has ended".into()))?;
        match serde_json::from_str(&line).map_err(|e| failed(e.to_string()))? {
            Told::Refused(why) => Err(failed(why)),
            told => Ok(told),
        }
    }

    /// A world with this script.
    pub(crate) async fn open(&self, script: Script) -> Result<World, CliError> {
        match self.order(&Order::Open(Box::new(script))).await? {
            Told::Opened { world, address } => Ok(World {
                far: self.clone(),
                id: world,
                address,
            }),
            other => Err(CliError::internal(format!("the far side said {other:?}"))),
        }
    }
}

impl World {
    /// What happened so far.
    pub(crate) async fn look(&self) -> Result<Happened, CliError> {
        match self.far.order(&Order::Look(self.id)).await? {
            Told::Looked { effects, seen } => Ok(Happened { effects, seen }),
            other => Err(CliError::internal(format!("the far side said {other:?}"))),
        }
    }

    /// What happened, and the end of it.
    pub(crate) async fn close(self) -> Result<Happened, CliError> {
        let happened = self.look().await?;
        self.far.order(&Order::Close(self.id)).await?;
        Ok(happened)
    }
}
