//! A far side for the templates: a collection with idempotency keys that counts what it does.
//!
//! `POST` does it once a key, `GET ?idempotency_key=` finds it, `DELETE ?idempotency_key=` takes it
//! back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What happened there.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Ids in force, by key.
    pub(crate) done: BTreeMap<String, String>,
    /// How many were done in all.
    pub(crate) count: u32,
    /// Method, path and authorization of every request.
    pub(crate) requests: Vec<(String, String, String)>,
}

/// A running far side. It lives as long as the test's process.
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl Far {
    pub(crate) fn start() -> anyhow::Result<Far> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let shared = ledger.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &shared);
            }
        });
        Ok(Far { address, ledger })
    }

    /// Looks at what happened.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(stream: TcpStream, ledger: &Mutex<Ledger>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    ledger
        .requests
        .push((method.clone(), path.clone(), authorization));
    let in_query = path
        .split_once("idempotency_key=")
        .map(|(_, key)| key.to_owned());
    let (status, body) = match (method.as_str(), in_query) {
        ("POST", _) => {
            let key = headers.get("idempotency-key").cloned().unwrap_or_default();
            if !ledger.done.contains_key(&key) {
                ledger.count += 1;
                let id = format!("id_{}", ledger.count);
                ledger.done.insert(key.clone(), id);
            }
            (
                "201 Created",
                format!(r#"{{"id":"{}"}}"#, ledger.done[&key]),
            )
        }
        ("DELETE", Some(key)) => {
            ledger.done.remove(&key);
            ("200 OK", "{}".to_owned())
        }
        ("GET", Some(key)) => {
            let found = ledger.done.get(&key);
            let one = found
                .map(|id| format!(r#"{{"id":"{id}"}}"#))
                .unwrap_or_default();
            ("200 OK", format!(r#"{{"data":[{one}]}}"#))
        }
        _ => ("404 Not Found", "{}".to_owned()),
    };
    drop(ledger);
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}
