//! Trace context (W3C Trace Context, section 3.2): which span of which trace something belongs to.
//!
//! A run has a trace of its own, always. If somebody else began it, their span is its parent where
//! traces of many services come together: there, and in what goes out, their trace id stands for
//! ours, and our span ids stay. Ours are derived from our own trace id, so two runs in one trace of
//! theirs never share one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call::Position;
use crate::event::RunStarted;
use crate::id::{IdError, SessionId, SpanId, TraceId};

/// The header, lower case.
pub const TRACEPARENT: &str = "traceparent";
/// What belongs to a trace, in headers, lower case: a guest's own would speak of another.
pub const TRACE_HEADERS: [&str; 3] = [TRACEPARENT, "tracestate", BAGGAGE];
/// What goes along with a trace (W3C Baggage): the session, so that a line of any service's log can be
/// found by it (requirement 90).
const BAGGAGE: &str = "baggage";

/// A span, as others refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

impl fmt::Display for TraceContext {
    /// As in the header: version 00, sampled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace_id, self.span_id)
    }
}

impl FromStr for TraceContext {
    type Err = IdError;

    /// Takes version 00, and later ones by their first four fields, as the specification says.
    fn from_str(text: &str) -> Result<TraceContext, IdError> {
        let wrong = || IdError {
            kind: "traceparent",
            rule: "VERSION-TRACE-SPAN-FLAGS in lower-case hex, such as \
                   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            given: text.chars().take(64).collect(),
        };
        let mut fields = text.split('-');
        let mut next = || fields.next().ok_or_else(wrong);
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let is_byte = |field: &str| {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            field.len() == 2 && field.bytes().all(hex)
        };
        let more = fields.next().is_some();
        if !is_byte(version) || !is_byte(flags) || version == "ff" || (version == "00" && more) {
            return Err(wrong());
        }
        Ok(TraceContext {
            trace_id: TraceId::new(trace).map_err(|_| wrong())?,
            span_id: SpanId::new(span).map_err(|_| wrong())?,
        })
    }
}

impl TryFrom<String> for TraceContext {
    type Error = IdError;
    fn try_from(text: String) -> Result<TraceContext, IdError> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> String {
        context.to_string()
    }
}

impl TraceContext {
    /// The headers of a request on behalf of a session.
    pub fn headers(&self, session: &SessionId) -> Vec<(String, String)> {
        vec![
            (TRACEPARENT.to_owned(), self.to_string()),
            (BAGGAGE.to_owned(), format!("session.id={session}")),
        ]
    }
}

impl RunStarted {
    /// The trace in which others see the run: that of who began it, else its own.
    pub fn seen_trace(&self) -> &TraceId {
        match &self.remote {
            Some(remote) => &remote.trace_id,
            None => &self.trace_id,
        }
    }

    /// What goes out with the requests of a call.
    pub fn context_of_call(&self, position: Position) -> TraceContext {
        TraceContext {
            trace_id: self.seen_trace().clone(),
            span_id: SpanId::of_call(&self.trace_id, position),
        }
    }

    /// What goes out with the request for a turn.
    pub fn context_of_turn(&self, iteration: u32) -> TraceContext {
        TraceContext {
            trace_id: self.seen_trace().clone(),
            span_id: SpanId::of_turn(&self.trace_id, iteration.saturating_sub(1), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_others_write_is_read_and_written_again() {
        let read: TraceContext = GIVEN.parse().expect("a context");
        assert_eq!(read.to_string(), GIVEN);
        // Not sampled, and of a later version with more fields.
        let other = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes";
        assert_eq!(other.parse(), Ok(read));
    }

    #[test]
    fn what_is_none_is_refused() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &GIVEN[3..],
            &GIVEN.to_uppercase(),
            &format!("{GIVEN}-00"),
            &GIVEN.replacen("00-", "ff-", 1),
            &GIVEN.replacen("0af7651916cd43dd8448eb211c80319c", &zeros, 1),
            &GIVEN.replacen("b7ad6b7169203331", "0000000000000000", 1),
            &GIVEN.replacen("-01", "-1", 1),
        ] {
            assert!(bad.parse::<TraceContext>().is_err(), "{bad}");
        }
    }
}
