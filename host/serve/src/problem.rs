//! Errors on the wire: problem details (RFC 9457) with our reason codes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use stoplog_model::outcome::{ErrorCode, ToolError};
use stoplog_model::{Aftermath, Reason};

use crate::seam::Refusal;

/// The media type.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    code: String,
    detail: String,
    hint: Option<String>,
    retry_after_ms: Option<u64>,
    more: Vec<(&'static str, Value)>,
}

/// The status that stands for a reason.
pub(crate) fn status_of(reason: Reason) -> StatusCode {
    use Reason::*;
    match reason {
        RequestInvalid
        | IdempotencyKeyInvalid
        | InputSchema
        | SecretNamed
        | KeyUnfillable
        | QuestionInvalid
        | OutputSchema => StatusCode::BAD_REQUEST,
        Unauthenticated => StatusCode::UNAUTHORIZED,
        Forbidden | HostRefused | PolicyDenied | ApprovalRejected | ApprovalExpired => {
            StatusCode::FORBIDDEN
        }
        RouteNotFound | UnknownTool | SessionNotFound | ApprovalNotFound | ParkNotFound => {
            StatusCode::NOT_FOUND
        }
        MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        KeyInFlight | ApprovalNotPending | SessionLeased | SessionExists | SessionEnded => {
            StatusCode::CONFLICT
        }
        RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        KeyConflict | QuestionTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        HostBusy => StatusCode::TOO_MANY_REQUESTS,
        ShuttingDown | JournalUnwritable | ModelUnavailable | LeaseLost => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a tool's own error.
fn status_of_code(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Permission => StatusCode::FORBIDDEN,
        ErrorCode::Precondition => StatusCode::PRECONDITION_FAILED,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Transient => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Upstream => StatusCode::BAD_GATEWAY,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// In words, whether something changed outside.
pub(crate) fn changed(aftermath: Aftermath) -> &'static str {
    match aftermath {
        Aftermath::Untouched => "nothing",
        Aftermath::Changed => "something",
        Aftermath::Unknown => "nobody knows",
    }
}

impl Problem {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Problem {
        Refusal::new(reason, detail).into()
    }

    /// The error of a call that ended.
    pub(crate) fn of_call(error: &ToolError) -> Problem {
        let (status, code) = match error.reason {
            Some(reason) => (status_of(reason), reason.code().to_owned()),
            None => (status_of_code(error.code), error.code.as_str().to_owned()),
        };
        Problem {
            status,
            code,
            detail: error.message.clone(),
            hint: error.hint.clone(),
            retry_after_ms: error.retry_after_ms,
            more: vec![("changed", json!(changed(error.aftermath)))],
        }
    }

    /// The same, with one more member.
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Problem {
        self.more.push((name, value));
        self
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:stoplog:reason:{}", self.code),
            "title": self.code.replace(['_', '-'], " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "reason": self.code,
        });
        if let Some(hint) = &self.hint {
            body["hint"] = json!(hint);
        }
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = json!(ms);
        }
        for (name, value) in &self.more {
            body[*name] = value.clone();
        }
        body
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let reason = refusal.reason;
        Problem {
            status: reason.map_or(StatusCode::INTERNAL_SERVER_ERROR, status_of),
            code: reason.map_or("internal", |r| r.code()).to_owned(),
            detail: refusal.message,
            hint: reason.map(|r| r.hint().to_owned()),
            retry_after_ms: refusal.retry_after_ms,
            more: Vec::new(),
        }
    }
}

/// The reason code of a problem, among the extensions of its answer: for whoever counts them.
#[derive(Debug, Clone)]
pub(crate) struct Code(pub(crate) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.json().to_string()).into_response();
        response.extensions_mut().insert(Code(self.code));
        let headers = response.headers_mut();
        let media = HeaderValue::from_static(PROBLEM_JSON);
        headers.insert(header::CONTENT_TYPE, media);
        if let Some(ms) = self.retry_after_ms {
            let seconds = ms.div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
