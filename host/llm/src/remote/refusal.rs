//! What a provider's refusal means: its failure class, what to do, and whether to ask again. Pure.
//!
//! Invariants (requirement 95): asked again is what may pass, 429, 502, 503, 504, 529 and 408; not
//! what will not: 400, 401, 403, 404, an exhausted quota. The provider's words are kept, cut.

use std::time::Duration;

use serde_json::Value;
use stoplog_model::turn::FailureClass;

use super::Failure;

/// Characters of a provider's error that are kept: enough for its first lines, not for the page
/// of a proxy.
const MAX_ERROR_CHARS: usize = 300;

/// How a provider says that the prompt is too long, where it has no code for it.
const TOO_LONG: [&str; 5] = [
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "exceeds the maximum number of tokens",
    "context window",
];

/// How a provider says that nobody pays any more, where it has no code for it.
const NO_CREDIT: [&str; 2] = ["credit balance is too low", "exceeded your current quota"];

/// What a provider said of an error, and with which status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    status: u16,
    /// Its codes and types: every protocol has another place for them.
    codes: Vec<String>,
    message: String,
    /// How long it asks to be left alone, if its body says so.
    delay: Option<Duration>,
}

impl Words {
    /// Reads `{"error": {"code" | "type" | "status", "message"}}`, or takes the body as it is.
    pub(crate) fn read(status: u16, body: &str) -> Words {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        // Google wraps errors of streams into a list.
        let error = match &parsed {
            Value::Array(items) => items.first().map(|i| &i["error"]),
            other => Some(&other["error"]),
        };
        let error = error.unwrap_or(&Value::Null);
        Words::of(status, error, body)
    }

    /// The same, from the error itself; `body` stands for a message that it does not have.
    pub(crate) fn of(status: u16, error: &Value, body: &str) -> Words {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let codes = ["code", "type", "status"].map(text);
        let details = error["details"].as_array();
        let delay = details.into_iter().flatten().find_map(|d| {
            let seconds = d["retryDelay"].as_str()?.strip_suffix('s')?;
            Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
        });
        Words {
            status,
            codes: codes.into_iter().filter(|c| !c.is_empty()).collect(),
            message: match text("message") {
                message if message.is_empty() => body.to_owned(),
                message => message,
            },
            delay,
        }
    }

    fn is_about(&self, words: &[&str]) -> bool {
        self.codes.iter().any(|code| words.contains(&code.as_str()))
    }

    fn says(&self, parts: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        parts.iter().any(|part| message.contains(part))
    }

    /// Its message, on one line.
    fn words(&self) -> String {
        let line: Vec<&str> = self.message.split_whitespace().collect();
        let line = line.join(" ");
        if line.is_empty() {
            "no more was said".to_owned()
        } else {
            line.chars().take(MAX_ERROR_CHARS).collect()
        }
    }

    /// What it means. `asked`: how long the provider's headers ask to be left alone.
    pub(crate) fn failure(&self, at: &str, model: &str, asked: Option<Duration>) -> Failure {
        let (class, advice, may_pass) = self.meaning();
        let again = may_pass.then(|| asked.or(self.delay));
        let message = format!(
            "{at} answered {} to {model}: {advice} ({})",
            self.status,
            self.words()
        );
        Failure::free(class, message, again)
    }

    /// Class, advice, and whether it may pass.
    fn meaning(&self) -> (FailureClass, &'static str, bool) {
        use FailureClass::*;
        let is_quota =
            self.is_about(&["insufficient_quota", "billing_error"]) || self.says(&NO_CREDIT);
        let is_long = self.is_about(&["context_length_exceeded"]) || self.says(&TOO_LONG);
        let no_credit = "the quota is used up: add credit, or name another model";
        match self.status {
            402 => (ProviderQuota, no_credit, false),
            400 | 403 | 429 if is_quota => (ProviderQuota, no_credit, false),
            429 => (ProviderOverloaded, "too many requests for now", true),
            503 | 529 => (ProviderOverloaded, "the provider is overloaded", true),
            408 | 502 | 504 => (ProviderTransient, "the provider failed for now", true),
            400 | 413 | 422 if is_long => (
                ContextPressure,
                "the conversation does not fit the model any more",
                false,
            ),
            400 if self.is_about(&["content_filter", "content_policy_violation"]) => (
                ContentFiltered,
                "the provider's filter refused the conversation",
                false,
            ),
            401 => (
                Internal,
                "the key was refused: check the variable or file that holds it",
                false,
            ),
            403 => (
                Internal,
                "the key may not use this model: check its rights",
                false,
            ),
            404 => (
                Internal,
                "there is no such model or endpoint: check model and base_url",
                false,
            ),
            413 => (Internal, "the request is too large", false),
            500..=599 => (ProviderTransient, "the provider failed", false),
            _ => (
                Internal,
                "the request was refused: see the provider's words",
                false,
            ),
        }
    }
}

/// How long the headers ask to be left alone: `retry-after-ms`, or `Retry-After` in seconds, or as a
/// date beside the answer's own `Date`, so that nobody's clock matters.
pub(crate) fn retry_after(
    ms: Option<&str>,
    after: Option<&str>,
    date: Option<&str>,
) -> Option<Duration> {
    if let Some(ms) = ms.and_then(|v| v.trim().parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let after = after?.trim();
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let second = |text: &str| {
        let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(zoned.timestamp().as_second())
    };
    let wait = second(after)?.checked_sub(second(date?.trim())?)?;
    Some(Duration::from_secs(u64::try_from(wait).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_retry_after_is_read() {
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        for (ms, after, expected) in [
            (None, Some("7"), Some(7000)),
            (None, Some(" 1.5 "), Some(1500)),
            (Some("250"), Some("7"), Some(250)),
            (None, Some("Wed, 21 Oct 2026 07:28:09 GMT"), Some(9000)),
            (None, Some("Wed, 21 Oct 2026 07:27:00 GMT"), None),
            (None, Some("-1"), None),
            (None, Some("soon"), None),
            (None, None, None),
        ] {
            let wait = retry_after(ms, after, Some(date));
            assert_eq!(
                wait,
                expected.map(Duration::from_millis),
                "{ms:?} {after:?}"
            );
        }
        assert_eq!(retry_after(None, Some(date), None), None);
    }

    #[test]
    fn a_refusal_has_its_class_and_is_repeated_only_when_it_may_pass() {
        use FailureClass::*;
        let error = |kind: &str, message: &str| {
            serde_json::json!({"error": {"type": kind, "message": message}}).to_string()
        };
        let google = r#"[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow",
            "details": [{"@type": "x"}, {"retryDelay": "34.5s"}]}}]"#;
        for (status, body, class, again) in [
            (
                429,
                error("rate_limit_error", "slow"),
                ProviderOverloaded,
                true,
            ),
            (429, google.to_owned(), ProviderOverloaded, true),
            (
                429,
                error("insufficient_quota", "pay"),
                ProviderQuota,
                false,
            ),
            (
                529,
                error("overloaded_error", "Overloaded"),
                ProviderOverloaded,
                true,
            ),
            (502, "<html>".to_owned(), ProviderTransient, true),
            (504, String::new(), ProviderTransient, true),
            (500, error("api_error", "oh"), ProviderTransient, false),
            (
                400,
                error("invalid_request_error", "prompt is too long: 2 > 1"),
                ContextPressure,
                false,
            ),
            (
                400,
                error("invalid_request_error", "Your credit balance is too low"),
                ProviderQuota,
                false,
            ),
            (
                400,
                error("invalid_request_error", "no such field"),
                Internal,
                false,
            ),
            (401, error("authentication_error", "no"), Internal, false),
            (418, String::new(), Internal, false),
        ] {
            let failure = Words::read(status, &body).failure("at", "m", None);
            assert_eq!(
                (failure.class, failure.again.is_some()),
                (class, again),
                "{status} {body}"
            );
            assert_eq!(failure.cost.0, 0);
        }
        let failure = Words::read(429, google).failure("at", "m", None);
        assert_eq!(failure.again, Some(Some(Duration::from_millis(34_500))));
    }
}
