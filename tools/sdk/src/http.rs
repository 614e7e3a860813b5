//! Requests and responses.
//!
//! To look: [`get`], [`get_with`] and [`send`], in one line each. To change something: build a
//! [`Request`] and spend a permit on it, `permit.perform(request)?`.

mod send;
#[cfg(test)]
mod tests;
mod url;

use crate::error::{Aftermath, ErrorCode, ToolError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;

pub use send::send;
pub use url::{encode, with_query};

/// Looks something up: `http::get("https://api.example.com/orders/4711")?`.
///
/// # Errors
///
/// `permission` when the host did not let it out, `transient` when no answer came. An answer with
/// a bad status is not an error here: see [`Response::success`].
pub fn get(url: impl Into<String>) -> Result<Response, ToolError> {
    send(Request::get(url))
}

/// [`get`] with query parameters, which are percent-encoded:
/// `http::get_with(url, &[("email", &input.email), ("limit", &20)])?`.
///
/// # Errors
///
/// Those of [`get`].
pub fn get_with(url: &str, query: &[(&str, &dyn Display)]) -> Result<Response, ToolError> {
    send(Request::get(with_query(url, query)))
}

/// The placeholder that the host replaces by the secret's value on the way out. It works in
/// headers: `Request::get(url).header("authorization", format!("Bearer {}", secret("TOKEN")))`.
pub fn secret(name: &str) -> String {
    format!("{{{{secret:{name}}}}}")
}

/// A request. The host adds the idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    parts: Parts,
    /// Why the request cannot be sent, if it cannot.
    fault: Option<String>,
}

/// A request that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            parts: Parts {
                method: method.into(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
            },
            fault: None,
        }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// `PATCH`.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new("PATCH", url)
    }

    /// `DELETE`.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header. `host`, `idempotency-key`, `content-length` and hop-by-hop headers are the
    /// host's: it refuses a request that sets them.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parts.headers.push((name.into(), value.into()));
        self
    }

    /// Adds query parameters, percent-encoded.
    #[must_use]
    pub fn query(mut self, query: &[(&str, &dyn Display)]) -> Self {
        self.parts.url = with_query(&self.parts.url, query);
        self
    }

    /// Sets the body to `value` as JSON, and the content type.
    #[must_use]
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body(body).header("content-type", "application/json"),
            Err(error) => {
                self.fault = Some(format!("the body is not JSON: {error}"));
                self
            }
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.parts.body = body.into();
        self
    }

    /// Method and URL for messages. Without the query, which may hold personal data.
    pub(crate) fn line(&self) -> String {
        let end = self.parts.url.find(['?', '#']);
        let url = &self.parts.url[..end.unwrap_or(self.parts.url.len())];
        format!("{} {url}", self.parts.method)
    }

    pub(crate) fn into_parts(self) -> Result<Parts, String> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.parts),
        }
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The request, for messages.
    pub(crate) line: String,
    /// True for the answer to an effect: a failure may then have changed something.
    pub(crate) from_effect: bool,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Check the status first: `response.success()?.json()?`.
    ///
    /// # Errors
    ///
    /// `upstream` when the body does not fit; aftermath `unknown` for the answer to an effect.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Not serde's message, which quotes the body: it may hold personal data.
            let (line, column) = (error.line(), error.column());
            let message = format!(
                "{} answered {} with a body that cannot be used (line {line}, column {column})",
                self.line, self.status
            );
            ToolError::upstream(message).aftermath(self.doubt())
        })
    }

    /// The response itself when the status is 2xx.
    ///
    /// # Errors
    ///
    /// | status | code |
    /// |---|---|
    /// | 400, 422 | `invalid-input` |
    /// | 401, 403 | `permission` |
    /// | 404, 410 | `not-found` |
    /// | 409, 423 | `conflict` |
    /// | 412, 428 | `precondition` |
    /// | 408, 425 | `transient` |
    /// | 429 | `rate-limited` |
    /// | all others | `upstream` |
    ///
    /// `Retry-After` in seconds is kept; as a date it is not. The aftermath is `untouched`, but
    /// `unknown` for the answer to an effect with 408 or a status outside 4xx.
    pub fn success(self) -> Result<Self, ToolError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let code = match self.status {
            400 | 422 => ErrorCode::InvalidInput,
            401 | 403 => ErrorCode::Permission,
            404 | 410 => ErrorCode::NotFound,
            409 | 423 => ErrorCode::Conflict,
            412 | 428 => ErrorCode::Precondition,
            408 | 425 => ErrorCode::Transient,
            429 => ErrorCode::RateLimited,
            _ => ErrorCode::Upstream,
        };
        let refused = (400..500).contains(&self.status) && self.status != 408;
        let aftermath = if refused {
            Aftermath::Untouched
        } else {
            self.doubt()
        };
        let message = format!("{} answered {}", self.line, self.status);
        let mut error = ToolError::new(code, message).aftermath(aftermath);
        error.retry_after_ms = self.retry_after_ms();
        Err(error)
    }

    /// `Retry-After: 7` as 7,000 (RFC 9110, 10.2.3).
    fn retry_after_ms(&self) -> Option<u64> {
        let seconds: u64 = self.header("retry-after")?.trim().parse().ok()?;
        seconds.checked_mul(1_000)
    }

    /// What a failure after this answer leaves behind.
    fn doubt(&self) -> Aftermath {
        if self.from_effect {
            Aftermath::Unknown
        } else {
            Aftermath::Untouched
        }
    }
}
