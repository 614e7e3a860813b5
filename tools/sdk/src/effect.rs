//! The way to change the outside world: a permit, spent on one request.
//!
//! Only the host makes a [`Permit`], and only write tools get one. [`Permit::perform`] takes it,
//! so one permit is one request; a tool that must send two gets the second right from
//! [`Permit::split`] before it spends the first. A probe answers with a [`Finding`].

use std::fmt;

use crate::bindings::effects;
pub use crate::bindings::effects::Permit;
use crate::error::{Aftermath, ToolError};
use crate::http::{Request, Response};

/// Why a request got no answer. `?` turns it into a [`ToolError`] with the right aftermath.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EffectError {
    /// The request could not be built; it was never handed over. Becomes `internal`, untouched.
    Malformed(String),
    /// The host did not let it out. Becomes `permission`, untouched.
    Denied(String),
    /// It did not leave. Becomes `transient`, untouched.
    NotSent(String),
    /// It left, or may have left, and no answer came. Becomes `transient`, unknown: the host
    /// finds out by the tool's probe.
    Unanswered(String),
}

impl fmt::Display for EffectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the request could not be built: {why}"),
            Self::Denied(why) => write!(f, "the host did not let the request out: {why}"),
            Self::NotSent(why) => write!(f, "the request did not leave: {why}"),
            Self::Unanswered(why) => write!(f, "the request got no answer: {why}"),
        }
    }
}

impl std::error::Error for EffectError {}

impl From<effects::EffectError> for EffectError {
    fn from(error: effects::EffectError) -> Self {
        match error {
            effects::EffectError::Denied(why) => Self::Denied(why),
            effects::EffectError::NotSent(why) => Self::NotSent(why),
            effects::EffectError::Unanswered(why) => Self::Unanswered(why),
        }
    }
}

impl From<EffectError> for ToolError {
    fn from(error: EffectError) -> Self {
        let message = error.to_string();
        match error {
            EffectError::Malformed(_) => Self::internal(message),
            EffectError::Denied(_) => Self::permission(message),
            EffectError::NotSent(_) => Self::transient(message),
            EffectError::Unanswered(_) => Self::transient(message).aftermath(Aftermath::Unknown),
        }
    }
}

/// What a look at the far side found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding<T> {
    /// It was not done. The host believes it only after `settles_within_ms`.
    Absent,
    /// It was done once. The payload is the output that the call would have given.
    Once(T),
    /// It was done so many times: something is wrong, a person must look.
    Several(u32),
    /// The far side cannot be asked, or gave no usable answer.
    Unknown,
}

impl Permit {
    /// Sends the request: the host checks it, records it, adds the idempotency key, sends it and
    /// records the outcome. An answer comes back whatever its status; see [`Response::success`].
    ///
    /// # Errors
    ///
    /// [`EffectError`], when no answer came.
    pub fn perform(self, request: Request) -> Result<Response, EffectError> {
        let line = request.line();
        let request = request.into_parts().map_err(EffectError::Malformed)?;
        let response = effects::perform(
            self,
            &effects::Request {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: request.body,
            },
        )?;
        Ok(Response {
            status: response.status,
            headers: response.headers,
            body: response.body,
            line,
            from_effect: true,
        })
    }
}
