//! Whether the process lives, and whether it takes work.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{App, body};
use crate::seam::Condition;

/// The process answers.
pub(super) async fn live() -> Response {
    body::json(StatusCode::OK, &json!({"status": "live"}))
}

/// Each condition, and whether it holds.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let conditions = app.host.ready().await;
    let ready = conditions.iter().all(|c| c.holds);
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let told = |c: &Condition| json!({"name": c.name, "holds": c.holds, "said": c.said});
    let conditions: Value = conditions.iter().map(told).collect();
    body::json(status, &json!({"ready": ready, "conditions": conditions}))
}
