//! Requests, counted and timed; and what is counted, told.
//!
//! A route is a label as the OpenAPI document has it, never as a client wrote it: an address may hold
//! anything, and a series is for ever.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;

use super::App;
use crate::problem::{Code, Problem};
use crate::seam::Answered;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Tells the host of every answer, also of one that a guard or a panic gave.
pub(super) async fn measured(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = route_of(&request).to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    app.host.answered(&Answered {
        route: &route,
        method: method.as_str(),
        status: response.status().as_u16(),
        reason: response.extensions().get::<Code>().map(|c| c.0.as_str()),
        took: began.elapsed(),
    });
    response
}

/// As the document has it; empty for none.
fn route_of(request: &Request) -> &str {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or("", MatchedPath::as_str)
}

/// The golden signals, of all tenants.
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app.host.metrics(&app.places.load()).await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}
