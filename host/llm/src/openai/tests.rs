//! Recorded exchanges against a fake provider: what is asked, what is read, what is asked again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stoplog_egress::Settings;
use stoplog_model::Call;
use stoplog_model::turn::FinishReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Message, ToolDefinition};

const TOOL_CALLS: [&str; 2] = [
    include_str!("golden/tool_calls.request.json"),
    include_str!("golden/tool_calls.response.json"),
];
const ANSWER: [&str; 2] = [
    include_str!("golden/answer.request.json"),
    include_str!("golden/answer.response.json"),
];
const QUOTA: &str = include_str!("golden/insufficient_quota.response.json");
const INVALID_KEY: &str = include_str!("golden/invalid_key.response.json");

struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

/// A provider that answers by a list, one entry a request; the last one stays. Status 0 closes
/// the connection without a word.
struct Fake {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Fake {
    async fn start(answers: &[(u16, &str)]) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = bodies.clone();
        let answers: Vec<(u16, String)> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = read_body(&mut stream).await;
                let number = {
                    let mut kept = kept.lock().expect("lock");
                    kept.push(body);
                    kept.len() - 1
                };
                let (status, body) = &answers[number.min(answers.len() - 1)];
                if *status > 0 {
                    let text = format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(text.as_bytes()).await;
                }
                let _ = stream.shutdown().await;
            }
        });
        Fake { address, bodies }
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().expect("lock").clone()
    }
}

async fn read_body(stream: &mut TcpStream) -> Value {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.expect("read");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
            assert!(head.contains("authorization: Bearer sk-hidden"), "{head}");
            if let Ok(body) = serde_json::from_str(body) {
                return body;
            }
        }
        assert_ne!(count, 0, "the request breaks off: {text}");
    }
}

fn settings(address: SocketAddr) -> OpenAiSettings {
    OpenAiSettings {
        base_url: Url::parse(&format!("http://{address}/v1")).expect("url"),
        model: "gpt-4o-mini".into(),
        key: Some(ApiKey::new("sk-hidden")),
        temperature_milli: 200,
        max_tokens: 1000,
        token_limit_field: TokenLimitField::MaxTokens,
        input_usd_micros_per_million: Some(150_000),
        output_usd_micros_per_million: Some(600_000),
        deadline: Duration::from_secs(5),
        backoff: Backoff {
            base: Duration::from_millis(1),
        },
    }
}

fn request() -> TurnRequest {
    TurnRequest {
        session: stoplog_model::SessionId::new("sess_1").expect("session"),
        iteration: 2,
        system_prompt: "You refund customers of Nimbus Pay.".into(),
        messages: vec![Message::User {
            text: "My order 448100 came late.".into(),
        }],
        tools: [].into(),
        prompt_version_hash: "0123456789ab".into(),
        trace: None,
    }
}

fn request_with_tools() -> TurnRequest {
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

fn egress() -> Egress {
    Egress::new(Settings::default()).expect("egress")
}

async fn ask(fake: &Fake, request: &TurnRequest) -> Result<Turn, ModelError> {
    let model = OpenAi::new(&egress(), settings(fake.address)).expect("model");
    model.turn(request, &Fixed).await
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("golden file")
}

#[tokio::test]
async fn recorded_tool_calls() {
    let fake = Fake::start(&[(200, TOOL_CALLS[1])]).await;
    let turn = ask(&fake, &request_with_tools()).await.expect("turn");
    assert_eq!(fake.bodies(), [json_of(TOOL_CALLS[0])]);
    assert_eq!(turn.finish, FinishReason::ToolCalls);
    assert_eq!(turn.calls.len(), 1);
    assert_eq!(turn.calls[0].arguments, json!({"customer_id": "c_88"}));
    assert_eq!(turn.calls[0].provider_id.as_deref(), Some("call_9pW"));
    assert_eq!(turn.model_id, "gpt-4o-mini");
    assert_eq!(turn.model_version, "gpt-4o-mini-2024-07-18");
    assert_eq!((turn.input_tokens, turn.output_tokens), (1000, 100));
    assert_eq!(turn.cost, UsdMicros(210));
    assert_eq!((turn.iteration, turn.temperature_milli), (2, 200));
    assert_eq!(turn.failed_attempts, []);
}

#[tokio::test]
async fn recorded_answer() {
    let fake = Fake::start(&[(200, ANSWER[1])]).await;
    let turn = ask(&fake, &request()).await.expect("turn");
    assert_eq!(fake.bodies(), [json_of(ANSWER[0])]);
    assert_eq!(
        (turn.finish, turn.finish_raw.as_str()),
        (FinishReason::Stop, "stop")
    );
    assert_eq!(turn.text, "I am sorry to hear that.");
    assert_eq!(turn.cost, UsdMicros(11), "10.2 is rounded up");
}

/// The recorded answers, changed at one place each.
#[tokio::test]
async fn a_finish_reason_is_never_taken_for_another() {
    let tools = TOOL_CALLS[1];
    let arguments = r#""{\"customer_id\":\"c_88\"}""#;
    assert!(tools.contains(arguments));
    for (body, expected, raw) in [
        (
            ANSWER[1].replace("\"stop\"", "\"length\""),
            FinishReason::Length,
            "length",
        ),
        (
            ANSWER[1].replace("\"stop\"", "\"content_filter\""),
            FinishReason::ContentFilter,
            "content_filter",
        ),
        (
            ANSWER[1].replace("\"stop\"", "\"new_word\""),
            FinishReason::Unknown,
            "new_word",
        ),
        (
            ANSWER[1].replace("\"stop\"", "null"),
            FinishReason::Unknown,
            "",
        ),
        (
            ANSWER[1].replace("\"refusal\": null", "\"refusal\": \"No.\""),
            FinishReason::Refusal,
            "stop",
        ),
        (
            tools.replace(arguments, r#""{\"customer_id\":""#),
            FinishReason::MalformedToolCall,
            "tool_calls",
        ),
        (
            tools
                .replace(arguments, r#""{\"customer_id\":""#)
                .replace("\"tool_calls\"\n", "\"length\"\n"),
            FinishReason::Length,
            "length",
        ),
    ] {
        let fake = Fake::start(&[(200, &body)]).await;
        let turn = ask(&fake, &request()).await.expect("turn");
        assert_eq!((turn.finish, turn.finish_raw.as_str()), (expected, raw));
    }
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_written_down() {
    let fake = Fake::start(&[
        (429, "slow down"),
        (0, ""),
        (503, "{}"),
        (502, "<html>"),
        (200, ANSWER[1]),
    ])
    .await;
    let turn = ask(&fake, &request()).await.expect("turn");
    assert_eq!(fake.bodies().len(), 5);
    let classes: Vec<_> = turn.failed_attempts.iter().map(|a| a.failure).collect();
    assert_eq!(
        classes,
        [
            FailureClass::ProviderOverloaded,
            FailureClass::ProviderTransient,
            FailureClass::ProviderOverloaded,
            FailureClass::ProviderTransient,
        ]
    );
    assert!(turn.failed_attempts[0].message.contains("slow down"));
}

#[tokio::test]
async fn five_attempts_and_no_more() {
    let fake = Fake::start(&[(504, "")]).await;
    let error = ask(&fake, &request()).await.expect_err("no turn");
    assert_eq!((fake.bodies().len(), error.attempts.len()), (5, 5));
    assert_eq!(error.failure, FailureClass::ProviderTransient);
    assert!(error.message.starts_with("after 5 attempts: "), "{error}");
}

#[tokio::test]
async fn what_will_not_pass_is_not_asked_again() {
    let context = r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#;
    let no_usage = ANSWER[1].replace("\"usage\"", "\"other\"");
    for (status, body, failure, words) in [
        (400, "{}", FailureClass::Internal, "refused"),
        (400, context, FailureClass::ContextPressure, "too long"),
        (
            401,
            INVALID_KEY,
            FailureClass::Internal,
            "check the variable",
        ),
        (403, "{}", FailureClass::Internal, "check its rights"),
        (404, "", FailureClass::Internal, "check model and base_url"),
        (307, "", FailureClass::Internal, "refused"),
        (
            429,
            QUOTA,
            FailureClass::ProviderQuota,
            "exceeded your current quota",
        ),
        (500, "", FailureClass::ProviderTransient, "failed"),
        (200, "<html>", FailureClass::Internal, "cannot be used"),
        (200, &no_usage, FailureClass::Internal, "`usage`"),
    ] {
        let fake = Fake::start(&[(status, body)]).await;
        let error = ask(&fake, &request()).await.expect_err("no turn");
        assert_eq!(
            (error.failure, fake.bodies().len()),
            (failure, 1),
            "{status}: {error}"
        );
        assert!(error.message.contains(words), "{status}: {error}");
        assert_eq!(error.attempts.len(), 1);
    }
}

#[test]
fn a_price_that_is_not_known_is_an_error() {
    let address = "127.0.0.1:9".parse().expect("address");
    let mut unknown = settings(address);
    unknown.output_usd_micros_per_million = None;
    let error = OpenAi::new(&egress(), unknown).expect_err("no price");
    assert!(
        error.to_string().contains("output_usd_micros_per_million"),
        "{error}"
    );
    let mut free = settings(address);
    free.input_usd_micros_per_million = Some(0);
    assert!(OpenAi::new(&egress(), free).is_ok());
}

#[test]
fn debug_hides_the_key() {
    let settings = settings("127.0.0.1:9".parse().expect("address"));
    assert!(!format!("{settings:?}").contains("sk-hidden"));
    let model = OpenAi::new(&egress(), settings).expect("model");
    assert!(!format!("{model:?}").contains("sk-hidden"));
}
