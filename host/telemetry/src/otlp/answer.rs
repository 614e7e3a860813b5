//! What a collector's answer means (OTLP specification 1.x, "Full Success", "Partial Success",
//! "Failures", "Throttling").

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

/// Longest wait that a collector may ask for: a mistake there must not stop telemetry for a day.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// How long to wait behind an answer that an operator has to cure: a key, a path, a right.
const CURE_WAIT: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer over plain HTTP.
    Http {
        /// Its status.
        status: u16,
        /// The `Retry-After` header.
        retry_after: Option<String>,
        /// The message.
        body: Vec<u8>,
    },
    /// The outcome of a call over gRPC.
    Grpc {
        /// Its code; none when the answer had none.
        code: Option<u32>,
        /// What was said with it.
        message: String,
        /// When to come again, milliseconds; less than zero: not at all.
        pushback_ms: Option<i64>,
        /// The `retry-after` header, as some proxies put it there.
        retry_after: Option<String>,
        /// The message.
        body: Vec<u8>,
    },
    /// No answer came.
    Nothing(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken, but for so many spans, for this reason: they are not sent again.
    Taken {
        /// How many were not.
        rejected: u64,
        /// Why.
        why: String,
    },
    /// Send it again: after so long, or by the sender's own pauses.
    Again {
        /// As the collector wished.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// It is too large: send less at once.
    Smaller(String),
    /// It will never be taken: leave it.
    Never(String),
}

impl Said {
    /// What to do.
    pub fn verdict(&self) -> Verdict {
        match self {
            Said::Nothing(why) => Verdict::Again {
                after: None,
                why: why.clone(),
            },
            Said::Http {
                status,
                retry_after,
                body,
            } => of_http(*status, retry_after.as_deref(), body),
            Said::Grpc {
                code,
                message,
                pushback_ms,
                retry_after,
                body,
            } => {
                let wait = match pushback_ms {
                    Some(ms) => Wait::Pushback(*ms),
                    None => Wait::Header(seconds(retry_after.as_deref())),
                };
                of_grpc(*code, message, wait, body)
            }
        }
    }
}

/// When a gRPC collector wants to see the call again.
enum Wait {
    Pushback(i64),
    Header(Option<Duration>),
}

fn taken(body: &[u8]) -> Verdict {
    // An answer that cannot be read still says that it was taken.
    let partial = ExportTraceServiceResponse::decode(body).ok();
    let partial = partial.and_then(|answer| answer.partial_success);
    Verdict::Taken {
        rejected: partial
            .as_ref()
            .and_then(|p| u64::try_from(p.rejected_spans).ok())
            .unwrap_or(0),
        why: partial.map(|p| short(&p.error_message)).unwrap_or_default(),
    }
}

fn of_http(status: u16, retry_after: Option<&str>, body: &[u8]) -> Verdict {
    let why = format!("the collector answered {status}");
    match status {
        200..=299 => taken(body),
        413 => Verdict::Smaller(why),
        408 | 429 | 500 | 502..=504 => Verdict::Again {
            after: seconds(retry_after),
            why,
        },
        // Not for the client to cure, and not to lose spans for.
        401 | 403 | 404 | 405 | 300..=399 => Verdict::Again {
            after: Some(CURE_WAIT),
            why,
        },
        _ => Verdict::Never(why),
    }
}

/// Codes of gRPC, by number.
mod code {
    pub(super) const OK: u32 = 0;
    pub(super) const CANCELLED: u32 = 1;
    pub(super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const ABORTED: u32 = 10;
    pub(super) const OUT_OF_RANGE: u32 = 11;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const DATA_LOSS: u32 = 15;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

fn of_grpc(code: Option<u32>, message: &str, wait: Wait, body: &[u8]) -> Verdict {
    let Some(code) = code else {
        // Not gRPC at all: a proxy, or another server.
        return Verdict::Again {
            after: Some(CURE_WAIT),
            why: "the collector's answer is none of gRPC".to_owned(),
        };
    };
    let why = format!("the collector answered code {code}: {}", short(message));
    let (is_told, after) = match wait {
        Wait::Pushback(ms) => {
            let Ok(ms) = u64::try_from(ms) else {
                return Verdict::Never(why);
            };
            (true, Some(Duration::from_millis(ms).min(MAX_WAIT)))
        }
        Wait::Header(after) => (after.is_some(), after),
    };
    match code {
        code::OK => taken(body),
        code::RESOURCE_EXHAUSTED if message.contains("larger than max") => Verdict::Smaller(why),
        // Without a word when to come again it may mean: never. Waiting loses nothing.
        code::RESOURCE_EXHAUSTED => Verdict::Again {
            after: if is_told { after } else { Some(CURE_WAIT) },
            why,
        },
        code::CANCELLED
        | code::DEADLINE_EXCEEDED
        | code::ABORTED
        | code::OUT_OF_RANGE
        | code::UNAVAILABLE
        | code::DATA_LOSS => Verdict::Again { after, why },
        code::PERMISSION_DENIED | code::UNIMPLEMENTED | code::UNAUTHENTICATED => Verdict::Again {
            after: Some(CURE_WAIT),
            why,
        },
        _ => Verdict::Never(why),
    }
}

/// Seconds of a `Retry-After`; a date is not read, and the sender's own pauses serve.
fn seconds(header: Option<&str>) -> Option<Duration> {
    let seconds: u64 = header?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// A collector's words, for a line of a log.
fn short(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, retry_after: Option<&str>) -> Verdict {
        let retry_after = retry_after.map(str::to_owned);
        let body = Vec::new();
        Said::Http {
            status,
            retry_after,
            body,
        }
        .verdict()
    }

    fn grpc(code: u32, pushback_ms: Option<i64>) -> Verdict {
        Said::Grpc {
            code: Some(code),
            message: "m".into(),
            pushback_ms,
            retry_after: None,
            body: Vec::new(),
        }
        .verdict()
    }

    fn again_after(verdict: &Verdict) -> Option<Option<u64>> {
        match verdict {
            Verdict::Again { after, .. } => Some(after.map(|d| d.as_secs())),
            _ => None,
        }
    }

    #[test]
    fn http_answers_mean_what_the_specification_says() {
        assert!(matches!(
            http(200, None),
            Verdict::Taken { rejected: 0, .. }
        ));
        for status in [429, 502, 503, 504] {
            assert_eq!(again_after(&http(status, None)), Some(None), "{status}");
            assert_eq!(again_after(&http(status, Some("7"))), Some(Some(7)));
        }
        assert_eq!(again_after(&http(503, Some("999999"))), Some(Some(600)));
        assert_eq!(
            again_after(&http(503, Some("Wed, 21 Oct 2026"))),
            Some(None)
        );
        assert_eq!(again_after(&http(401, None)), Some(Some(60)));
        assert!(matches!(http(400, None), Verdict::Never(_)));
        assert!(matches!(http(413, None), Verdict::Smaller(_)));
    }

    #[test]
    fn grpc_answers_too() {
        assert!(matches!(grpc(0, None), Verdict::Taken { .. }));
        for code in [1, 4, 10, 11, 14, 15] {
            assert_eq!(again_after(&grpc(code, None)), Some(None), "{code}");
            assert_eq!(again_after(&grpc(code, Some(3000))), Some(Some(3)));
        }
        assert_eq!(again_after(&grpc(8, Some(2000))), Some(Some(2)));
        assert_eq!(again_after(&grpc(16, None)), Some(Some(60)));
        for code in [2, 3, 5, 6, 9, 13] {
            assert!(matches!(grpc(code, None), Verdict::Never(_)), "{code}");
        }
        assert!(
            matches!(grpc(14, Some(-1)), Verdict::Never(_)),
            "told not to"
        );
    }

    #[test]
    fn a_part_that_was_not_taken_is_counted() {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
        let body = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too\u{1b}[2J old".into(),
            }),
        };
        let said = Said::Http {
            status: 200,
            retry_after: None,
            body: body.encode_to_vec(),
        };
        let why = "too[2J old".to_owned();
        assert_eq!(said.verdict(), Verdict::Taken { rejected: 3, why });
    }
}
