//! The far side: a process of its own on the loopback, so that neither product nor floor shares
//! its threads. It answers `POST /acts` and `GET /acts/by-key/{key}`, and keeps keys in memory.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::tools::SLOW;

/// The hidden subcommand that is the far side.
pub(crate) const SUBCOMMAND: &str = "far-side";

/// How long it thinks about a name that it is to think about: by the name, between
/// these milliseconds, so that a crowd does not come back all at once.
const THINKS_MS: std::ops::Range<u64> = 500..1500;

type Acts = Arc<Mutex<HashMap<String, u64>>>;

/// A running far side. Ends when it is dropped.
pub(crate) struct FarSide {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl FarSide {
    /// Starts this program again as the far side.
    pub(crate) fn start() -> anyhow::Result<FarSide> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the far side's output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("the far side's address")?;
        Ok(FarSide { child, address })
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until its standard input closes, which it does when the benchmark dies.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    drop(stdout);
    std::thread::spawn(|| {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        std::process::exit(0);
    });
    let app = Router::new()
        .route("/acts", post(act))
        .route("/acts/by-key/{key}", get(by_key))
        .with_state(Acts::default());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}

async fn act(State(acts): State<Acts>, headers: HeaderMap, Json(_): Json<Value>) -> Json<Value> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut acts = acts.lock().unwrap_or_else(PoisonError::into_inner);
    let next = acts.len() as u64 + 1;
    let id = *acts.entry(key.to_owned()).or_insert(next);
    Json(json!({ "act_id": format!("act_{id}") }))
}

async fn by_key(State(acts): State<Acts>, Path(key): Path<String>) -> Json<Value> {
    if key.contains(SLOW) {
        let of_name: u64 = key.bytes().map(u64::from).sum();
        let thinks_ms = THINKS_MS.start + of_name * 37 % (THINKS_MS.end - THINKS_MS.start);
        tokio::time::sleep(Duration::from_millis(thinks_ms)).await;
    }
    let acts = acts.lock().unwrap_or_else(PoisonError::into_inner);
    let found: Vec<Value> = acts
        .get(&key)
        .map(|id| json!({ "act_id": format!("act_{id}") }))
        .into_iter()
        .collect();
    Json(json!({ "acts": found }))
}
