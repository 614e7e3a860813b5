//! Runs of the agent: begun durably, followed, and told.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::{Extension, Json};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::event::RunOutcome;
use stoplog_model::session::Status;
use stoplog_model::trace_context::TRACEPARENT;
use stoplog_model::{Reason, SessionId};
use tokio::time::Instant;

use super::calls::replayed_header;
use super::{App, body};
use crate::caller::Caller;
use crate::limits::STREAM_LOOK_EVERY;
use crate::problem::Problem;
use crate::seam::{Found, Progress, Question, Refusal, RunAsk};

/// What a client that repeats a run under way is told to wait, milliseconds.
const UNDER_WAY_RETRY_MS: u64 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunRequest {
    task: String,
    feature: Option<String>,
    user: Option<String>,
}

pub(super) async fn begin(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = body::idempotency_key(&headers)?;
    let asked: RunRequest = body::read(&app, body).await?;
    if asked.task.trim().is_empty() {
        return Err(Problem::new(
            Reason::RequestInvalid,
            "the task says nothing",
        ));
    }
    if app.end.is_cancelled() {
        let message = "the host was told to stop: ask again when it is back";
        return Err(Refusal::new(Reason::ShuttingDown, message)
            .retry_after(1000)
            .into());
    }
    let ask = RunAsk {
        task: asked.task,
        feature: asked.feature,
        user: asked.user,
        key,
        // One that cannot be read is none (W3C Trace Context, 4.3).
        trace: headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok()?.parse().ok()),
    };
    // Subscribed before it is begun: no commit of it is missed.
    let mut commits = app.host.commits();
    let admitted = app.host.admit(&caller, ask).await?;
    let id = admitted.session;
    let wants_async = headers
        .get_all("prefer")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|p| p.trim().eq_ignore_ascii_case("respond-async"));
    let mut found = app.host.find(&caller, &id).await?;
    if admitted.before {
        if found.progress == Progress::AtWork {
            let message = format!("session {id} is under way");
            let refusal = Refusal::new(Reason::KeyInFlight, message);
            let problem: Problem = refusal.retry_after(UNDER_WAY_RETRY_MS).into();
            return Err(problem.with("session", json!(id)));
        }
    } else if !wants_async {
        let until = Instant::now() + app.settings.limits.run_patience;
        while found.progress == Progress::AtWork && Instant::now() < until {
            let changed =
                async { while commits.recv().await.is_ok_and(|changed| changed != id) {} };
            let look = tokio::time::timeout(STREAM_LOOK_EVERY.min(Duration::from_secs(1)), changed);
            if app.end.run_until_cancelled(look).await.is_none() {
                break;
            }
            found = app.host.find(&caller, &id).await?;
        }
    }
    let mut response = body::json(status_of(&found), &told(&found));
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::from_str(&format!("/agent/runs/{id}")) {
        headers.insert(header::LOCATION, place);
    }
    if admitted.before {
        replayed_header(&mut response);
    } else if wants_async {
        let applied = HeaderValue::from_static("respond-async");
        headers.insert("preference-applied", applied);
    }
    Ok(response)
}

/// 200 for what is over, 202 for what goes on or waits.
fn status_of(found: &Found) -> StatusCode {
    match (found.progress, found.session.status()) {
        (Progress::AtRest, Status::Ended | Status::Failed) => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    }
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.host.find(&caller, &session_id(&id)?).await?;
    Ok(Json(told(&found)))
}

pub(super) async fn trace(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(what): Path<String>,
) -> Result<Json<Value>, Problem> {
    let spans = app.host.trace(&caller, &what).await?;
    Ok(Json(json!({"spans": spans})))
}

pub(super) async fn traces(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(words): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.host.ask(&caller, Question::Traces, &words).await?))
}

pub(super) async fn cost(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(words): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.host.ask(&caller, Question::Cost, &words).await?))
}

/// The id of a session. A text that is none is that of no session.
pub(super) fn session_id(text: &str) -> Result<SessionId, Refusal> {
    SessionId::new(text).map_err(|e| Refusal::new(Reason::SessionNotFound, e.to_string()))
}

/// A session as its tenant follows it.
pub(crate) fn told(found: &Found) -> Value {
    let session = &found.session;
    let run = session.last_run();
    let ended = run.and_then(|r| r.ended.as_ref());
    let answer = ended.filter(|e| e.outcome == RunOutcome::Success);
    let mut waits = session.calls().filter_map(|(_, c)| {
        let undecided = c.approval.as_ref().filter(|a| a.decision.is_none());
        undecided.filter(|_| c.observed.is_none())
    });
    let cost: u64 = session.runs.iter().map(|r| r.cost.0).sum();
    json!({
        "session": session.started.session,
        "tenant": session.started.tenant,
        "status": session.status().as_str(),
        "outcome": ended.map(|e| e.outcome),
        "answer": answer.map(|e| &e.answer),
        "reason": ended.and_then(|e| e.reason).map(|r| r.code()),
        "message": ended.filter(|e| e.outcome != RunOutcome::Success).map(|e| &e.message),
        "trace_id": run.map(|r| &r.started.trace_id),
        "iterations": session.iterations(),
        "cost_usd": stoplog_model::UsdMicros(cost).to_string(),
        "approval": waits.next().map(|a| &a.approval.id),
        "events": format!("/agent/runs/{}/events", session.started.session),
    })
}
