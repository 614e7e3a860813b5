//! Names of things, each its own type, so that a trace id is never taken for a session id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Why a text is not a name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {kind}: {rule}")]
pub struct IdError {
    /// What it should have been.
    pub kind: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The text, as given.
    pub given: String,
}

/// Longest id in characters: it is a column, a file name and a header value.
pub const MAX_ID_CHARS: usize = 128;

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ID_CHARS
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_tool_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && is_lower_hex(text) && text.bytes().any(|b| b != b'0')
}

fn is_span_id(text: &str) -> bool {
    text.len() == 16 && is_lower_hex(text) && text.bytes().any(|b| b != b'0')
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id, if the text keeps the rule of its kind.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                if $check(&text) {
                    Ok(Self(text))
                } else {
                    Err(IdError { kind: $kind, rule: $rule, given: text })
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

id!(
    /// Whose data and budget it is. Never absent, never defaulted (requirement 58).
    Tenant, "tenant", is_plain,
    "1 to 128 of letters, digits, `_`, `-`, `.`, not starting with `.` or `-`"
);
id!(
    /// One conversation, over days if need be; many runs, many traces (requirement 59).
    SessionId, "session id", is_plain,
    "1 to 128 of letters, digits, `_`, `-`, `.`, not starting with `.` or `-`"
);
id!(
    /// One run: new for each run and each resume. A W3C trace id.
    TraceId, "trace id", is_trace_id, "32 lower-case hex digits, not all zero"
);
id!(
    /// One span. A W3C parent id.
    SpanId, "span id", is_span_id, "16 lower-case hex digits, not all zero"
);
id!(
    /// One question to a person.
    ApprovalId, "approval id", is_plain,
    "1 to 128 of letters, digits, `_`, `-`, `.`, not starting with `.` or `-`"
);
id!(
    /// What the model calls a tool.
    ToolName, "tool name", is_tool_name,
    "a lower-case letter, then up to 63 of lower-case letters, digits and `_`"
);

impl SpanId {
    /// The span id that follows from what the span is about: the first 8 bytes of the digest.
    /// The same events give the same span ids, so an exporter that starts anew repeats nothing.
    pub fn derived(parts: &[&str]) -> SpanId {
        let digest = Digest::of_parts("stoplog/span1", parts);
        let hex = &digest.as_str()[..16];
        if is_span_id(hex) {
            SpanId(hex.to_owned())
        } else {
            SpanId("0000000000000001".to_owned())
        }
    }
}

/// What a span is about gives its id: whoever sends something on behalf of a call knows the id of the
/// call's span before there is one.
impl SpanId {
    /// Of the root of a run's trace.
    pub fn of_run(trace: &TraceId) -> SpanId {
        SpanId::derived(&[trace.as_str(), "root"])
    }

    /// Of a step, counted from 0.
    pub fn of_step(trace: &TraceId, step: u32) -> SpanId {
        SpanId::derived(&[trace.as_str(), "agent_step", &step.to_string()])
    }

    /// Of the model's turn in a step: the first, or a further one when it was asked again with a
    /// shorter prompt. Counted from 1.
    pub fn of_turn(trace: &TraceId, step: u32, nth: u32) -> SpanId {
        let (step, further) = (step.to_string(), nth.to_string());
        let parts = [trace.as_str(), "llm_call", &step, &further];
        SpanId::derived(match nth {
            0 | 1 => &parts[..3],
            _ => &parts,
        })
    }

    /// Of a call.
    pub fn of_call(trace: &TraceId, position: crate::Position) -> SpanId {
        SpanId::derived(&[trace.as_str(), "tool_call", &position.to_string()])
    }
}

impl ApprovalId {
    /// The id of the approval that a call at this position asks for: derived, so that asking
    /// again after a crash asks the same question, and not a second one.
    pub fn derived(session: &SessionId, position: crate::Position, args: &Digest) -> ApprovalId {
        let digest = Digest::of_parts(
            "stoplog/approval1",
            &[session.as_str(), &position.to_string(), args.as_str()],
        );
        ApprovalId(format!("ap_{}", &digest.as_str()[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_would_break_a_column_a_file_name_or_a_header() {
        for bad in [
            "",
            "a b",
            "../x",
            "-rf",
            "a/b",
            "a\nb",
            "ü",
            &"x".repeat(129),
        ] {
            assert!(SessionId::new(bad).is_err(), "{bad:?}");
        }
        assert!(SessionId::new("sess_88").is_ok());
        assert!(TraceId::new("0".repeat(32)).is_err());
        assert!(ToolName::new("Issue_refund").is_err());
        assert!(ToolName::new("issue_refund").is_ok());
    }

    #[test]
    fn a_derived_span_id_is_stable() {
        assert_eq!(SpanId::derived(&["a", "b"]), SpanId::derived(&["a", "b"]));
        assert_ne!(SpanId::derived(&["ab"]), SpanId::derived(&["a", "b"]));
    }
}
