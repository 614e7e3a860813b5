//! A provider on loopback that answers by a list, and a desk that writes down what it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stoplog_egress::{ApiKey, Egress, Patience, Settings};
use stoplog_model::event::ModelAsked;
use stoplog_model::port::Clock;
use stoplog_model::{Call, UsdMicros};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::{
    Backoff, Budget, Chain, Course, Desk, Kind, Message, Price, Priced, Remote, RemoteSettings,
    TokenLimitField, ToolDefinition, TurnRequest, Window,
};

/// One answer of the provider.
#[derive(Clone)]
pub(crate) enum Say {
    /// A whole body with this status.
    Whole(u16, String),
    /// The same, and one more header line.
    With(u16, &'static str, String),
    /// An event stream, closed in order.
    Stream(String),
    /// The same, and then the connection is cut: fewer bytes come than were promised.
    Cut(String),
    /// The connection is closed without a word.
    Nothing,
    /// The head, and then nothing.
    Silence,
}

pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// A provider that answers by a list, one entry a request; the last one stays.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub(crate) async fn start(answers: Vec<Say>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                let number = {
                    let mut kept = kept.lock().expect("lock");
                    kept.push(request);
                    kept.len() - 1
                };
                let say = answers[number.min(answers.len() - 1)].clone();
                tokio::spawn(answer(stream, say));
            }
        });
        Fake { address, seen }
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        let seen = self.seen.lock().expect("lock");
        seen.iter().map(|s| s.body.clone()).collect()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("lock");
        seen.iter().map(|s| s.head.clone()).collect()
    }
}

async fn answer(mut stream: TcpStream, say: Say) {
    let head = |status: u16, kind: &str, more: &str, length: usize| {
        format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: {kind}\r\n{more}content-length: {length}\r\n\r\n"
        )
    };
    let text = match say {
        Say::Whole(status, body) => head(status, "application/json", "", body.len()) + &body,
        Say::With(status, header, body) => {
            let more = format!("{header}\r\n");
            head(status, "application/json", &more, body.len()) + &body
        }
        Say::Stream(body) => head(200, "text/event-stream; charset=utf-8", "", body.len()) + &body,
        Say::Cut(body) => head(200, "text/event-stream", "", body.len() + 10) + &body,
        Say::Nothing => String::new(),
        Say::Silence => {
            let _ = stream
                .write_all(head(200, "text/event-stream", "", 9).as_bytes())
                .await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> Seen {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.expect("read");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return Seen {
                head: head.to_owned(),
                body,
            };
        }
        assert_ne!(count, 0, "the request breaks off: {text}");
    }
}

pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

/// Writes down what it is told: `asked 1 m`, `heard 1 text`, `retracted 1`.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) asked: Mutex<Vec<ModelAsked>>,
}

impl Told {
    fn add(&self, line: String) {
        self.lines.lock().expect("lock").push(line);
    }
}

impl Desk for Told {
    fn clock(&self) -> &dyn Clock {
        &Fixed
    }
    fn asked(&self, asked: ModelAsked) {
        self.add(format!("asked {} {}", asked.attempt, asked.model_id));
        self.asked.lock().expect("lock").push(asked);
    }
    fn heard(&self, attempt: u32, text: &str) {
        self.add(format!("heard {attempt} {text}"));
    }
    fn retracted(&self, attempt: u32) {
        self.add(format!("retracted {attempt}"));
    }
}

pub(crate) const PRICE: Price = Price {
    input: UsdMicros(150_000),
    output: UsdMicros(600_000),
    cache_read: UsdMicros(75_000),
    cache_write: UsdMicros(300_000),
};

pub(crate) fn settings(kind: Kind, address: SocketAddr, model: &str) -> RemoteSettings {
    RemoteSettings {
        kind,
        base_url: Url::parse(&format!("http://{address}/v1")).expect("url"),
        model: model.into(),
        key: Some(ApiKey::new("sk-hidden")),
        temperature_milli: Some(200),
        max_tokens: 1000,
        token_limit_field: TokenLimitField::MaxTokens,
        stream: false,
        context_window_tokens: 128_000,
        price: Some(Priced {
            price: PRICE,
            version: "t1".into(),
        }),
        patience: Patience {
            whole: Duration::from_secs(5),
            idle: Duration::from_millis(400),
        },
    }
}

pub(crate) fn remote(settings: RemoteSettings) -> Remote {
    let egress = Egress::new(Settings::default()).expect("egress");
    Remote::new(&egress, settings).expect("a remote")
}

pub(crate) fn chain(first: Remote, budget: Budget) -> Chain {
    let backoff = Backoff {
        base: Duration::from_millis(1),
    };
    let window = Window {
        tokens: 0,
        trim_at_percent: 80,
        keep_turns: 2,
        keep_output_bytes: 100,
    };
    Chain::new(first, backoff, budget, window)
}

pub(crate) fn request() -> TurnRequest {
    TurnRequest {
        session: stoplog_model::SessionId::new("sess_1").expect("session"),
        iteration: 2,
        system_prompt: "You refund customers of Nimbus Pay.".into(),
        messages: vec![Message::User {
            text: "My order 448100 came late.".into(),
        }],
        tools: [].into(),
        prompt_version_hash: "0123456789ab".into(),
        course: Course::default(),
    }
}

/// A conversation with calls of another provider in it: one without an id, one whose arguments are
/// no JSON and whose result is an error.
pub(crate) fn request_with_tools() -> TurnRequest {
    let mut request = request();
    let call = |ordinal, tool: &str, arguments, id: Option<&str>| Call {
        ordinal,
        tool: tool.into(),
        arguments,
        provider_id: id.map(str::to_owned),
    };
    request.messages.push(Message::Assistant {
        text: String::new(),
        calls: vec![
            call(
                0,
                "find_customer",
                json!({"email": "suresh@example.com"}),
                None,
            ),
            call(1, "list_orders", json!("{\"cut"), Some("call_abc")),
        ],
    });
    request.messages.push(Message::ToolResult {
        provider_id: None,
        ordinal: 0,
        tool: "find_customer".into(),
        content: json!({"customer_id": "c_88"}),
        is_error: false,
        code: None,
    });
    request.messages.push(Message::ToolResult {
        provider_id: Some("call_abc".into()),
        ordinal: 1,
        tool: "list_orders".into(),
        content: json!("the arguments are not JSON"),
        is_error: true,
        code: Some("input_schema".into()),
    });
    request.tools = [ToolDefinition {
        name: "list_orders".into(),
        description: "Orders of a customer.".into(),
        input_schema: json!({"type": "object", "properties": {"customer_id": {"type": "string"}}}),
    }]
    .into();
    request
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("golden file")
}
