//! A tiny HTTP/1.1 server on loopback that writes down each request that it read to its end,
//! and answers by script: whole, in part, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::secret::find;

/// A request as the far side saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Request line and headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came twice");
        value
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Writes this and waits for more.
    Keep(String),
    /// Writes this and closes.
    Close(String),
    /// Writes this, lets so many other tasks go first, and closes.
    CloseLater(String, usize),
    /// Writes nothing, and holds the connection.
    Hang,
    /// Writes the first text, and then the second again and again, until nobody takes it.
    Endless(String, String),
    /// Writes this a byte at a time, with a pause behind each.
    Drip(String, Duration),
    /// Writes these bytes.
    Bytes(Vec<u8>),
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves until the test ends; `reply` gets each request and its number, counted from 0.
    pub(crate) async fn start(
        reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, reply) = (seen.clone(), Arc::new(reply));
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, connection, kept.clone(), reply.clone()));
                connection += 1;
            }
        });
        Server { address, seen }
    }

    /// Answers every request with this.
    pub(crate) async fn always(answer: String) -> Server {
        Server::start(move |_, _| Reply::Keep(answer.clone())).await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }
}

async fn serve<F: Fn(&Seen, usize) -> Reply>(
    mut stream: TcpStream,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    reply: Arc<F>,
) {
    let mut bytes = Vec::new();
    loop {
        let Some(request) = next_request(&mut stream, &mut bytes, connection).await else {
            return;
        };
        let number = {
            let mut seen = seen.lock().expect("lock");
            seen.push(request.clone());
            seen.len() - 1
        };
        match reply(&request, number) {
            Reply::Keep(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
            }
            Reply::Close(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::CloseLater(text, turns) => {
                let _ = stream.write_all(text.as_bytes()).await;
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                let _ = stream.shutdown().await;
                return;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Endless(text, again) => {
                let _ = stream.write_all(text.as_bytes()).await;
                while stream.write_all(again.as_bytes()).await.is_ok() {}
                return;
            }
            Reply::Drip(text, pause) => {
                for byte in text.bytes() {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Reply::Bytes(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
        }
    }
}

async fn next_request(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    loop {
        if let Some(end) = find(bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let seen = Seen {
                head,
                body: String::new(),
                connection,
            };
            let length: usize = seen
                .header("content-length")
                .map_or(0, |l| l.parse().expect("length"));
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
                *bytes = rest;
                return Some(Seen { body, ..seen });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
