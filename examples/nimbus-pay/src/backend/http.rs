//! The routes, and how a request is read.

use std::convert::Infallible;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Failure, Refusal};
use super::deeds::{self, Kind, Post};
use super::faults::{self, Fault};
use super::ledger::{self, Line};
use super::pipeline::{App, Work};
use super::reads;
use super::wire::Cut;

/// All routes of the backend.
pub(super) fn routes(app: App) -> Router {
    Router::new()
        .route(
            "/health",
            get(async || Answer::ok(&json!({ "status": "ok" }))),
        )
        .route("/customers", get(customer))
        .route("/customers/{id}/orders", get(orders))
        .route("/policies/{topic}", get(policy))
        .route(
            "/refunds",
            post(async |call: Call, body: Bytes| call.post(Kind::Refund, body).await),
        )
        .route(
            "/mails",
            post(async |call: Call, body: Bytes| call.post(Kind::Mail, body).await),
        )
        .route(
            "/acts",
            post(async |call: Call, body: Bytes| call.post(Kind::Act, body).await),
        )
        .route("/refunds/by-key/{key}", get(refunds_by_key))
        .route("/mails/by-key/{key}", get(mails_by_key))
        .route("/acts/by-key/{key}", get(acts_by_key).delete(undo_acts))
        .route("/admin/counts", get(counts))
        .route("/admin/requests", get(requests))
        .route(
            "/admin/misbehave",
            post(misbehave).get(misbehaviours).delete(behave),
        )
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_method)
        .with_state(app)
}

/// A request, apart from what it wants.
struct Call {
    app: App,
    cut: Cut,
    line: Line,
}

impl FromRequestParts<App> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let path = parts.uri.path();
        let route = parts
            .extensions
            .get::<MatchedPath>()
            .map_or(path, MatchedPath::as_str);
        let line = Line {
            method: parts.method.to_string(),
            route: route.to_owned(),
            path: path.to_owned(),
            key: header(&parts.headers, "idempotency-key"),
            tenant: header(&parts.headers, "x-tenant"),
        };
        let cut = parts
            .extensions
            .get::<ConnectInfo<Cut>>()
            .map(|ConnectInfo(cut)| cut.clone());
        Ok(Self {
            app: app.clone(),
            cut: cut.unwrap_or_default(),
            line,
        })
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl Call {
    async fn read(
        self,
        step: impl FnOnce(&mut Connection) -> Result<Answer, Failure> + Send + 'static,
    ) -> Response {
        self.app
            .run(self.cut, self.line, Work::Read(Box::new(step)))
            .await
    }

    async fn post(self, kind: Kind, body: Bytes) -> Response {
        let post = Post {
            kind,
            key: self.line.key.clone(),
            body,
        };
        self.app.run(self.cut, self.line, Work::Post(post)).await
    }

    async fn undo_acts(self, key: String) -> Response {
        let line = Line {
            key: Some(key.clone()),
            ..self.line
        };
        self.app.run(self.cut, line, Work::UndoActs(key)).await
    }
}

#[derive(Deserialize)]
struct CustomerQuery {
    #[serde(default)]
    email: String,
}

async fn customer(call: Call, Query(query): Query<CustomerQuery>) -> Response {
    call.read(move |db| reads::customer(db, &query.email)).await
}

async fn orders(call: Call, Path(customer_id): Path<String>) -> Response {
    call.read(move |db| reads::orders(db, &customer_id)).await
}

async fn policy(call: Call, Path(topic): Path<String>) -> Response {
    call.read(move |db| reads::policy(db, &topic)).await
}

async fn refunds_by_key(call: Call, Path(key): Path<String>) -> Response {
    call.read(move |db| deeds::by_key(db, Kind::Refund, &key))
        .await
}

async fn mails_by_key(call: Call, Path(key): Path<String>) -> Response {
    call.read(move |db| deeds::by_key(db, Kind::Mail, &key))
        .await
}

async fn acts_by_key(call: Call, Path(key): Path<String>) -> Response {
    call.read(move |db| deeds::by_key(db, Kind::Act, &key))
        .await
}

async fn undo_acts(call: Call, Path(key): Path<String>) -> Response {
    call.undo_acts(key).await
}

async fn counts(State(app): State<App>) -> Response {
    app.admin(Box::new(|db| ledger::counts(db))).await
}

async fn requests(State(app): State<App>) -> Response {
    app.admin(Box::new(|db| ledger::requests(db))).await
}

async fn misbehave(State(app): State<App>, body: Bytes) -> Response {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => app.admin(Box::new(move |db| faults::add(db, &fault))).await,
        Err(error) => {
            let refusal = Refusal::unprocessable("fields_invalid", error.to_string());
            Answer::from(refusal).into_response()
        }
    }
}

async fn misbehaviours(State(app): State<App>) -> Response {
    app.admin(Box::new(|db| faults::list(db))).await
}

async fn behave(State(app): State<App>) -> Response {
    app.admin(Box::new(|db| faults::clear(db))).await
}

async fn nothing_here() -> Answer {
    Refusal::not_found("route_not_found", "the backend has no such path").into()
}

async fn not_this_method() -> Answer {
    let message = "the path is there, but not with this method";
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
    .into()
}
