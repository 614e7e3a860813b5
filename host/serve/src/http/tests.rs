//! A host that panics and one that is slow: faults that no real one shows on demand.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;
use stoplog_admission::Load;
use stoplog_model::{ApprovalId, Class, SessionId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::caller::Caller;
use crate::seam::{
    Admitted, Answer, Answered, Ask, Condition, Decision, Found, Heard, Question, Refusal, RunAsk,
    Settle, StreamEnd, Tool,
};

/// Panics wherever it is asked.
struct Panics {
    tools: Vec<Tool>,
    commits: broadcast::Sender<SessionId>,
    answered: Arc<Mutex<Vec<(String, u16)>>>,
}

#[async_trait]
impl Host for Panics {
    fn tools(&self) -> &[Tool] {
        &self.tools
    }
    async fn call(&self, _: &Caller, _: Ask) -> Result<Answer, Refusal> {
        panic!("a secret of the caller")
    }
    async fn admit(&self, _: &Caller, _: RunAsk) -> Result<Admitted, Refusal> {
        panic!("admit")
    }
    async fn find(&self, _: &Caller, _: &SessionId) -> Result<Found, Refusal> {
        panic!("find")
    }
    fn commits(&self) -> broadcast::Receiver<SessionId> {
        self.commits.subscribe()
    }
    fn hearing(&self) -> broadcast::Receiver<Heard> {
        broadcast::channel(1).1
    }
    async fn approvals(&self, _: &Caller, _: bool) -> Result<Vec<Value>, Refusal> {
        panic!("approvals")
    }
    async fn decide(&self, _: &Caller, _: &ApprovalId, _: Decision) -> Result<Value, Refusal> {
        panic!("decide")
    }
    async fn parked(&self, _: &Caller) -> Result<Vec<Value>, Refusal> {
        panic!("parked")
    }
    async fn settle(&self, _: &Caller, _: &str, _: Settle, _: String) -> Result<Value, Refusal> {
        panic!("settle")
    }
    async fn trace(&self, _: &Caller, _: &str) -> Result<Vec<Value>, Refusal> {
        panic!("trace")
    }
    async fn ask(&self, _: &Caller, _: Question, _: &[(String, String)]) -> Result<Value, Refusal> {
        panic!("ask")
    }
    async fn ready(&self) -> Vec<Condition> {
        panic!("ready")
    }
    fn answered(&self, answered: &Answered<'_>) {
        let told = (answered.route.to_owned(), answered.status);
        self.answered.lock().expect("no panic").push(told);
    }
    fn streamed(&self, _: StreamEnd) {}
    async fn metrics(&self, _: &Load) -> Result<String, Refusal> {
        panic!("metrics")
    }
}

fn app() -> Router {
    counted(&Arc::default())
}

/// The same, with what it is told of answers.
fn counted(answered: &Arc<Mutex<Vec<(String, u16)>>>) -> Router {
    let host = Panics {
        tools: vec![Tool {
            name: "t".into(),
            class: Class::Pure,
            definition: Value::Null,
        }],
        commits: broadcast::channel(1).0,
        answered: answered.clone(),
    };
    let mut app = App::alone(Arc::new(host), CancellationToken::new());
    app.settings = Arc::new(Settings {
        hosts: vec!["localhost".into()],
        ..(*app.settings).clone()
    });
    router(app)
}

async fn ask(app: &Router, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("stoplog-tenant", "acme")
        .body(Body::from(body.to_owned()))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let text = bytes.expect("a body");
    (status, serde_json::from_slice(&text).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_next_request_is_served() {
    let app = app();
    for (method, path, body) in [
        ("GET", "/ready", ""),
        ("POST", "/tools/t/call", "{\"arguments\": {}}"),
        ("POST", "/agent/run", "{\"task\": \"x\"}"),
        ("GET", "/agent/runs/s", ""),
    ] {
        let (status, told) = ask(&app, method, path, body).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {told}");
        assert_eq!(told["reason"], "handler_panicked", "{path}: {told}");
        assert!(!told.to_string().contains("a secret"), "{path}: {told}");
        let (status, _) = ask(&app, "GET", "/health", "").await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn every_answer_is_told_by_its_route_and_never_by_what_was_asked_for() {
    let answered = Arc::default();
    let app = counted(&answered);
    for (method, path) in [
        ("GET", "/health"),
        ("GET", "/agent/runs/a-secret-of-the-caller"),
        ("GET", "/nothing/of/ours"),
        ("DELETE", "/health"),
    ] {
        ask(&app, method, path, "").await;
    }
    let told = answered.lock().expect("no panic").clone();
    let expected = [
        ("/health", 200),
        ("/agent/runs/{id}", 500),
        ("", 404),
        ("/health", 405),
    ];
    assert_eq!(
        told,
        expected.map(|(route, status)| (route.to_owned(), status))
    );
}

/// Every reference of the document leads to a shape, and every operation has a name of its own.
#[test]
fn the_document_holds_together() {
    let document = openapi();
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#/components/schemas/").skip(1);
    for reference in references {
        let name = reference.split('"').next().unwrap_or_default();
        let shape = &document["components"]["schemas"][name];
        assert!(shape.is_object(), "there is no shape `{name}`");
    }
    let mut ids: Vec<&str> = routes().iter().map(|r| r.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "two operations have one name");
}
