//! What a request gets back.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::JoinError;

/// When to ask again while the first request with a key is being done.
const RETRY_AFTER_S: &str = "1";

/// A status and a JSON body, as sent and as kept for a key.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    pub(super) kind: Kind,
}

/// Which headers an [`Answer`] carries beside its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None.
    Plain,
    /// `idempotent-replayed: true`.
    Replayed,
    /// `Retry-After`.
    AskAgain,
}

impl Answer {
    pub(super) fn ok(body: &Value) -> Self {
        Self::new(StatusCode::OK, body.to_string())
    }

    pub(super) fn created(body: &Value) -> Self {
        Self::new(StatusCode::CREATED, body.to_string())
    }

    /// The answer that was kept for a key.
    pub(super) fn replayed(status: StatusCode, body: String) -> Self {
        Self {
            kind: Kind::Replayed,
            ..Self::new(status, body)
        }
    }

    /// 409: the first request with this key is being done.
    pub(super) fn in_flight(key: &str) -> Self {
        let message = format!("the first request with key {key} is being done; ask again later");
        let refusal = Refusal::new(StatusCode::CONFLICT, "idempotency_in_flight", message);
        Self {
            kind: Kind::AskAgain,
            ..refusal.into()
        }
    }

    /// 500: what a fault answers in place of the truth.
    pub(super) fn failed(message: &str) -> Self {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into()
    }

    fn new(status: StatusCode, body: String) -> Self {
        Self {
            status,
            body,
            kind: Kind::Plain,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        match self.kind {
            Kind::Plain => None,
            Kind::Replayed => {
                headers.insert("idempotent-replayed", HeaderValue::from_static("true"))
            }
            Kind::AskAgain => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S))
            }
        };
        response
    }
}

/// A request that is not done, and why. Nothing has changed.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let body = json!({ "error": { "code": refusal.code, "message": refusal.message } });
        Self::new(refusal.status, body.to_string())
    }
}

/// Why a step gave no answer of its own.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is wrong.
    Refused(Refusal),
    /// SQLite failed; the transaction is rolled back.
    Db(rusqlite::Error),
    /// The thread that did the step panicked or was stopped.
    Lost(JoinError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error)
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Db(error) => Self::failed(&format!("the database failed: {error}")),
            Failure::Lost(error) => Self::failed(&format!("the backend failed: {error}")),
        }
    }
}
