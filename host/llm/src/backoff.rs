//! How long to wait before asking a provider again (requirement 95): five attempts at most,
//! exponential with multiplier 1, at least 1 s, at most 30 s.

use std::time::Duration;

/// Attempts for one turn, the first included. More would hold a person longer than an honest
/// error does.
pub const MAX_ATTEMPTS: u32 = 5;

/// Longest `Retry-After` that is respected; what asks for more is waited for so long, then asked
/// again. A provider that says an hour must not hold the session for an hour.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Longest wait, as a multiple of the base.
const MAX_MULTIPLE: u32 = 30;

/// Waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, and the shortest; each later one is twice the one before, up to 30 times
    /// this. One second, but for tests.
    pub base: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            base: Duration::from_secs(1),
        }
    }
}

impl Backoff {
    /// The wait after this many failed attempts, at least as long as the provider asked for.
    pub fn wait(&self, failed: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let own = self.base.saturating_mul(doubled.min(MAX_MULTIPLE));
        own.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// A `Retry-After` in seconds. The form with a date is not read: the exponential wait stands.
pub(crate) fn retry_after(value: Option<&str>) -> Option<Duration> {
    value?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_thirty() {
        let waits: Vec<u64> = (1..=8)
            .map(|n| Backoff::default().wait(n, None).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn the_provider_may_ask_for_more_but_not_for_an_hour() {
        let wait = |value| Backoff::default().wait(2, retry_after(value)).as_secs();
        assert_eq!(wait(Some("7")), 7);
        assert_eq!(wait(Some("1")), 2);
        assert_eq!(wait(Some("3600")), 30);
        assert_eq!(wait(Some("Wed, 21 Oct 2026 07:28:00 GMT")), 2);
    }
}
