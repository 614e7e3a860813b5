//! What waits for a person: listed, shown, decided.
//!
//! Who decides is whose key it is: nothing in a body says who.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use stoplog_model::event::Verdict;
use stoplog_model::{ApprovalId, Reason};

use super::{App, body};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::seam::{Decision, Settle};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    #[serde(rename = "as")]
    what: String,
    output: Option<Value>,
    #[serde(default)]
    note: String,
}

pub(super) async fn approvals(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let all = query.is_some_and(|q| q.split('&').any(|part| part == "all" || part == "all=true"));
    let approvals = app.host.approvals(&caller, all).await?;
    Ok(Json(json!({"approvals": approvals})))
}

pub(super) async fn approval(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let all = app.host.approvals(&caller, true).await?;
    let found = all.into_iter().find(|a| a["id"] == id.as_str());
    found.map(Json).ok_or_else(|| no_approval(&id))
}

fn no_approval(id: &str) -> Problem {
    Problem::new(
        Reason::ApprovalNotFound,
        format!("there is no approval {id}"),
    )
}

pub(super) async fn approve(
    app: State<App>,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    decide(app, caller, id, body, Verdict::Approved).await
}

pub(super) async fn reject(
    app: State<App>,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    decide(app, caller, id, body, Verdict::Rejected).await
}

async fn decide(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
    verdict: Verdict,
) -> Result<Json<Value>, Problem> {
    let Note { note } = body::read(&app, body).await?;
    if verdict == Verdict::Rejected && note.trim().is_empty() {
        let detail = "a rejection says why, in `note`: the agent reads it and plans again";
        return Err(Problem::new(Reason::RequestInvalid, detail));
    }
    let id = ApprovalId::new(&*id).map_err(|_| no_approval(&id))?;
    let decision = Decision { verdict, note };
    Ok(Json(app.host.decide(&caller, &id, decision).await?))
}

pub(super) async fn parked(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let parked = app.host.parked(&caller).await?;
    Ok(Json(json!({"parked": parked})))
}

pub(super) async fn parked_one(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((session, position)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let id = format!("{session}/{position}");
    let all = app.host.parked(&caller).await?;
    let found = all.into_iter().find(|p| p["id"] == id.as_str());
    found.map(Json).ok_or_else(|| {
        let detail = format!("there is no parked call {id}");
        Problem::new(Reason::ParkNotFound, detail)
    })
}

pub(super) async fn resolve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((session, position)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let Resolution { what, output, note } = body::read(&app, body).await?;
    let settle = match (what.as_str(), output) {
        ("done", output) => Settle::Done(output),
        ("not-done", None) => Settle::NotDone,
        ("abandon", None) => Settle::Abandon,
        _ => {
            let detail = "`as` is done, not-done or abandon, and `output` goes with done";
            return Err(Problem::new(Reason::RequestInvalid, detail));
        }
    };
    let id = format!("{session}/{position}");
    Ok(Json(app.host.settle(&caller, &id, settle, note).await?))
}
