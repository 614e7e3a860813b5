//! The far side as a process: any number of worlds, each on a port of its own.
//!
//! It is told what to do on standard input, one JSON value a line, and answers each on standard
//! output. When standard input ends, so does it: nobody is left behind when the test is killed.
//! It listens on loopback only.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;

use super::ledger::{Effect, Ledger, Reply, Seen, Way};
use super::script::{Asked, Script};

/// Longest body of a request: what egress lets out, and no more.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Begin a world.
    Open(Box<Script>),
    /// What happened in it.
    Look(u64),
    /// It is over.
    Close(u64),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    Opened {
        world: u64,
        address: SocketAddr,
    },
    Looked {
        effects: Vec<Effect>,
        seen: Vec<Seen>,
    },
    Closed,
    Refused(String),
}

type Shared = Arc<Mutex<Ledger>>;

/// Runs until standard input ends.
pub(crate) async fn serve() -> std::io::Result<()> {
    let mut worlds: HashMap<u64, (Shared, JoinHandle<()>)> = HashMap::new();
    let mut next = 0;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(line) = lines.next_line().await? {
        let told = match serde_json::from_str::<Order>(&line) {
            Err(e) => Told::Refused(e.to_string()),
            Ok(Order::Open(script)) => {
                next += 1;
                let ledger: Shared = Arc::new(Mutex::new(Ledger::new(*script)));
                let (address, task) = listen(ledger.clone()).await?;
                worlds.insert(next, (ledger, task));
                Told::Opened {
                    world: next,
                    address,
                }
            }
            Ok(Order::Look(world)) => match worlds.get(&world) {
                None => Told::Refused(format!("no world {world}")),
                Some((ledger, _)) => {
                    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    Told::Looked {
                        effects: ledger.effects.clone(),
                        seen: ledger.seen.clone(),
                    }
                }
            },
            Ok(Order::Close(world)) => {
                if let Some((_, task)) = worlds.remove(&world) {
                    task.abort();
                }
                Told::Closed
            }
        };
        let mut text = serde_json::to_string(&told)?;
        text.push('\n');
        out.write_all(text.as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

async fn listen(ledger: Shared) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().fallback(take).with_state(ledger);
    let task = tokio::spawn(async move {
        // It ends when it is aborted.
        let _ = axum::serve(listener, app).await;
    });
    Ok((address, task))
}

async fn take(State(ledger): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let query = parts.uri.query().unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        host: headers.get("host").cloned().unwrap_or_default(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        body: body_of(&headers, &bytes),
        headers,
    };
    let reply = ledger
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(&asked);
    if reply.way == Way::Held {
        // Whoever waits for it is killed meanwhile.
        std::future::pending::<()>().await;
    }
    respond(reply)
}

/// A body as JSON; a form as an object of texts.
fn body_of(headers: &BTreeMap<String, String>, bytes: &Bytes) -> Value {
    let kind = headers.get("content-type").map_or("", String::as_str);
    if kind.starts_with("application/x-www-form-urlencoded") {
        let pairs = url::form_urlencoded::parse(bytes).into_owned();
        return Value::Object(pairs.map(|(n, v)| (n, v.into())).collect());
    }
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

fn respond(reply: Reply) -> Response {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let body = if reply.way == Way::Lost {
        // The status may come, the body never does whole: the connection is cut.
        response = response.header("content-length", reply.body.len() + 1);
        let cut = std::io::Error::other("the answer is lost");
        Body::from_stream(stream::iter([Err::<Bytes, _>(cut)]))
    } else {
        Body::from(reply.body)
    };
    response.body(body).unwrap_or_else(|e| {
        let mut response = Response::new(Body::from(format!("the case's answer: {e}")));
        *response.status_mut() = axum::http::StatusCode::NOT_IMPLEMENTED;
        response
    })
}
