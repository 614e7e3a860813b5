//! The far side: a weather service, and a payment service that keeps keys and counts. It lives in
//! the test's process, so it outlives every host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// Where tools think that it is.
pub(crate) const ORIGIN: &str = "http://api.internal/";

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) target: String,
    /// Its idempotency key; empty if it had none.
    pub(crate) key: String,
}

#[derive(Default)]
struct Ledger {
    requests: Vec<Request>,
    /// Keys of what was done, in order.
    done: Vec<String>,
}

pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl Far {
    pub(crate) fn start() -> anyhow::Result<Far> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let kept = ledger.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ledger = kept.clone();
                thread::spawn(move || serve(stream, &ledger));
            }
        });
        Ok(Far { address, ledger })
    }

    fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many payments it made.
    pub(crate) fn done(&self) -> usize {
        self.read(|l| l.done.len())
    }

    /// The requests that would change something, in the order in which they arrived.
    pub(crate) fn posts(&self) -> Vec<Request> {
        self.read(|l| l.requests.clone())
            .into_iter()
            .filter(|r| r.method != "GET")
            .collect()
    }

    /// The keys of those.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.posts().into_iter().map(|r| r.key).collect()
    }

    /// How many requests it got for a path.
    pub(crate) fn asked_for(&self, path: &str) -> usize {
        self.read(|l| l.requests.iter().filter(|r| r.target == path).count())
    }
}

fn serve(stream: TcpStream, ledger: &Mutex<Ledger>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        lines.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let request = Request {
        method,
        target,
        key,
    };
    let (status, answer) = {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.requests.push(request.clone());
        answer(&request, &mut ledger)
    };
    let text = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{text}",
        text.len()
    )
    .ok()
}

fn answer(request: &Request, ledger: &mut Ledger) -> (u16, Value) {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let id = |at: usize| format!("ch_{}", at + 1);
    match (request.method.as_str(), path) {
        ("GET", "/v1/forecast") if query.starts_with("latitude=19.08&longitude=72.88&") => {
            let now = json!({"temperature_2m": 31.5, "wind_speed_10m": 12.5});
            (200, json!({ "current": now }))
        }
        ("POST", "/v1/charges") => {
            let known = ledger.done.iter().position(|k| *k == request.key);
            let at = known.unwrap_or_else(|| {
                ledger.done.push(request.key.clone());
                ledger.done.len() - 1
            });
            (201, json!({ "id": id(at) }))
        }
        ("GET", "/v1/charges") => {
            let of = query.strip_prefix("idempotency_key=").unwrap_or("");
            let found = ledger.done.iter().enumerate().filter(|(_, k)| *k == of);
            let data: Vec<Value> = found.map(|(at, _)| json!({ "id": id(at) })).collect();
            (200, json!({ "data": data }))
        }
        _ => (404, json!({})),
    }
}
