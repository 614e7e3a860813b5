//! Tools, and calls of them.
//!
//! A call goes on whether or not its client waits for it: it runs on a task of its own.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stoplog_model::Reason;
use stoplog_model::event::CallResult;

use super::{App, body};
use crate::caller::Caller;
use crate::limits::CONVERSATION_CHARS;
use crate::problem::Problem;
use crate::seam::{Answer, Ask, Came, Refusal, Waiting};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCall {
    arguments: Map<String, Value>,
    #[serde(default)]
    conversation: String,
}

pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let tools: Value = app
        .host
        .tools()
        .iter()
        .map(|t| t.definition.clone())
        .collect();
    Json(json!({"tools": tools}))
}

pub(super) async fn call(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = body::idempotency_key(&headers)?;
    let asked: ToolCall = body::read(&app, body).await?;
    check_conversation(&asked.conversation)?;
    let agent = headers.get(header::USER_AGENT);
    let ask = Ask {
        tool: name,
        arguments: Value::Object(asked.arguments),
        key,
        conversation: asked.conversation,
        program: agent
            .and_then(|a| a.to_str().ok())
            .unwrap_or("http")
            .to_owned(),
    };
    let answer = app.call(caller, ask).await?;
    Ok(told(answer))
}

/// A conversation's name is part of a scope.
pub(crate) fn check_conversation(name: &str) -> Result<(), Refusal> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.len() <= CONVERSATION_CHARS && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!(
        "a conversation's name has up to {CONVERSATION_CHARS} of letters, digits, `_`, `-` and `.`"
    );
    Err(Refusal::new(Reason::RequestInvalid, message))
}

impl App {
    /// Has a call done. It is not dropped with the request that asked for it.
    pub(crate) async fn call(&self, caller: Caller, ask: Ask) -> Result<Answer, Refusal> {
        if self.end.is_cancelled() {
            let message = "the host was told to stop: ask again when it is back";
            return Err(Refusal::new(Reason::ShuttingDown, message).retry_after(1000));
        }
        if !self.host.tools().iter().any(|t| t.name == ask.tool) {
            let message = format!("there is no tool `{}`", ask.tool);
            return Err(Refusal::new(Reason::UnknownTool, message));
        }
        let place = self.places.acquire(&caller.tenant).await.map_err(|busy| {
            let message = format!("the host is busy: {busy}");
            Refusal::new(Reason::HostBusy, message).retry_after(busy.retry_after_ms)
        })?;
        let host = self.host.clone();
        let doing = tokio::spawn(async move {
            let _place = place;
            host.call(&caller, ask).await
        });
        match doing.await {
            Ok(answer) => answer,
            Err(error) => Err(panicked(&error)),
        }
    }
}

/// What the panic said is for the log: it may hold anything.
fn panicked(error: &tokio::task::JoinError) -> Refusal {
    tracing::error!(%error, "a call panicked");
    let message = "the call met a defect of the host; the journal says how far it came";
    Refusal::new(Reason::HandlerPanicked, message)
}

/// What to do about a call that waits, for the client's people.
pub(crate) fn to_do(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Approval { id, .. } => format!(
            "an approver decides: `stoplog approvals show {id}`, then `stoplog approvals approve {id} --by NAME`; \
             then make the same call again"
        ),
        Waiting::Parked { id, .. } => format!(
            "an operator looks: `stoplog parked show {id}`, then `stoplog parked resolve {id} --as done|not-done|abandon --by NAME`; \
             then make the same call again"
        ),
    }
}

fn told(answer: Answer) -> Response {
    match &answer.came {
        Came::Observed { observed, replayed } => {
            let disposition = match replayed {
                true => "replayed",
                false => observed.disposition.as_str(),
            };
            let mut response = match &observed.result {
                CallResult::Ok(output) => {
                    let told = json!({
                        "output": output, "disposition": disposition,
                        "session": answer.session, "position": answer.position,
                        "call_id": observed.key, "trace_id": answer.trace_id,
                    });
                    body::json(StatusCode::OK, &told)
                }
                CallResult::Err(error) => Problem::of_call(error)
                    .with("disposition", json!(disposition))
                    .with("session", json!(answer.session))
                    .with("position", json!(answer.position))
                    .with("call_id", json!(observed.key))
                    .with("trace_id", json!(answer.trace_id))
                    .into_response(),
            };
            if *replayed {
                replayed_header(&mut response);
            }
            response
        }
        Came::Waits(waiting) => {
            let mut told = json!({
                "session": answer.session, "position": answer.position,
                "trace_id": answer.trace_id, "to_do": to_do(waiting),
            });
            match waiting {
                Waiting::Approval {
                    id,
                    preview,
                    expires_at_ms,
                } => {
                    told["status"] = json!("waiting_approval");
                    told["approval"] = json!(id);
                    told["preview"] = json!(preview);
                    told["expires_at_ms"] = json!(expires_at_ms);
                }
                Waiting::Parked { id, reason } => {
                    told["status"] = json!("parked");
                    told["parked"] = json!(id);
                    told["reason"] = json!(reason.code());
                }
            }
            body::json(StatusCode::ACCEPTED, &told)
        }
    }
}

/// Says that nothing was done for this request: its result is that of an earlier one.
pub(super) fn replayed_header(response: &mut Response) {
    let yes = HeaderValue::from_static("true");
    response.headers_mut().insert("idempotent-replayed", yes);
}
