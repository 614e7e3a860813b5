//! Just enough HTTP to ask the backend: one request a connection, JSON both ways.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The backend answers these questions at once; a hung one must not hang the demo.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends one request, and gives the JSON of an answer whose status is 2xx.
///
/// # Errors
/// When nothing answers within ten seconds, or the answer has another status or is not JSON.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    exchange(address, method, path, body)
        .with_context(|| format!("asking the backend: {method} {path}"))
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?;
    ensure!(status.starts_with('2'), "it answered {status}: {body}");
    serde_json::from_str(body).context("its answer is not JSON")
}
