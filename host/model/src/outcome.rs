//! How a call ended: the tool's own words, and the host's.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The kind of a failed call (`types.error-code` of the contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The input fits the schema and is wrong all the same.
    InvalidInput,
    /// What the input names does not exist.
    NotFound,
    /// Not allowed.
    Permission,
    /// Not in this state.
    Precondition,
    /// Something else happened first.
    Conflict,
    /// Too much for now.
    RateLimited,
    /// Trying again later may help.
    Transient,
    /// The far side answered something unusable.
    Upstream,
    /// The tool itself failed.
    Internal,
}

impl ErrorCode {
    /// The code as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::InvalidInput => "invalid-input",
            ErrorCode::NotFound => "not-found",
            ErrorCode::Permission => "permission",
            ErrorCode::Precondition => "precondition",
            ErrorCode::Conflict => "conflict",
            ErrorCode::RateLimited => "rate-limited",
            ErrorCode::Transient => "transient",
            ErrorCode::Upstream => "upstream",
            ErrorCode::Internal => "internal",
        }
    }
}

/// Did something outside change although the call failed?
///
/// Ordered by how bad it is: the host believes the worse of what the tool says and what its own
/// gate saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aftermath {
    /// Nothing changed.
    Untouched,
    /// Something changed.
    Changed,
    /// Nobody can tell yet.
    Unknown,
}

/// A failed call, as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolError {
    /// The kind.
    pub code: ErrorCode,
    /// Set when the host, and not the tool, said no: which rule, or which limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What happened, to what.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Milliseconds to wait before another try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether something changed outside.
    pub aftermath: Aftermath,
}

impl ToolError {
    /// An error of the host, for a call of which nothing left.
    pub fn of_host(code: ErrorCode, reason: Reason, message: impl Into<String>) -> ToolError {
        ToolError {
            code,
            reason: Some(reason),
            message: message.into(),
            hint: Some(reason.hint().to_owned()),
            retry_after_ms: None,
            aftermath: Aftermath::Untouched,
        }
    }

    /// The same, with a wait.
    pub fn retry_after(mut self, ms: u64) -> ToolError {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same, with another aftermath.
    pub fn with_aftermath(mut self, aftermath: Aftermath) -> ToolError {
        self.aftermath = aftermath;
        self
    }
}

/// What a look at the far side found under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Finding {
    /// Not done.
    Absent,
    /// Done once, with the output that `call` would have given.
    Once {
        /// JSON text.
        output: String,
    },
    /// Done several times.
    Several {
        /// How often.
        times: u32,
    },
    /// Cannot be asked.
    Unknown {
        /// Why not, for people.
        why: String,
    },
}

impl Finding {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Finding::Absent => "absent",
            Finding::Once { .. } => "once",
            Finding::Several { .. } => "several",
            Finding::Unknown { .. } => "unknown",
        }
    }
}

/// How an observation came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The tool ran, now.
    Executed,
    /// It ran in an earlier run; this run only remembers it.
    Replayed,
    /// The same act with the same arguments was done before: the stored result.
    Deduplicated,
    /// The host did not see the answer; the far side was asked, and had done it.
    Probed,
    /// The host said no: nothing ran.
    Refused,
    /// A person decided what became of it.
    Parked,
}

impl Disposition {
    /// The word in spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Disposition::Executed => "executed",
            Disposition::Replayed => "replayed",
            Disposition::Deduplicated => "deduplicated",
            Disposition::Probed => "probed",
            Disposition::Refused => "refused",
            Disposition::Parked => "parked",
        }
    }
}
