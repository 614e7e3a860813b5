//! How long to wait before asking a provider again (requirement 95): five attempts at most,
//! exponential with multiplier 1, at least 1 s, at most 30 s, with jitter. Pure.
//!
//! Jitter takes up to half of a wait away, never below the first one, so that a thousand sessions
//! that failed together do not come back together. It is made from the session, the iteration and
//! the attempt: no random number, so the same history waits the same.

use std::time::Duration;

use stoplog_model::{Digest, SessionId};

/// Attempts at one provider for one turn, the first included. More would hold a person longer than
/// an honest error does.
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

/// Which wait it is: what its jitter is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) iteration: u32,
    pub(crate) attempt: u32,
}

impl Place<'_> {
    /// 0 to 255, of 512.
    fn share(&self) -> u32 {
        let iteration = self.iteration.to_string();
        let attempt = self.attempt.to_string();
        let parts = [self.session.as_str(), &iteration, &attempt];
        let digest = Digest::of_parts("stoplog/jitter1", &parts);
        u32::from_str_radix(&digest.as_str()[..2], 16).unwrap_or(0)
    }
}

impl Backoff {
    /// The wait after this many failed attempts, at least as long as the provider asked for.
    pub(crate) fn wait(&self, failed: u32, asked: Option<Duration>, place: Place<'_>) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let whole = self.base.saturating_mul(doubled.min(MAX_MULTIPLE));
        let own = whole - whole * place.share() / 512;
        let own = own.max(self.base);
        own.max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(session: &str, failed: u32, asked: Option<u64>) -> Duration {
        let session = SessionId::new(session).expect("id");
        let place = Place {
            session: &session,
            iteration: 1,
            attempt: failed,
        };
        Backoff::default().wait(failed, asked.map(Duration::from_secs), place)
    }

    #[test]
    fn waits_double_from_one_second_to_thirty_and_lose_half_at_most() {
        let mut waits = std::collections::BTreeSet::new();
        for n in 0..200 {
            let session = format!("s{n}");
            for (failed, whole) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (99, 30)] {
                let wait = wait(&session, failed, None);
                let whole = Duration::from_secs(whole);
                let least = (whole / 2).max(Duration::from_secs(1));
                assert!(
                    (least..=whole).contains(&wait),
                    "{session} {failed}: {wait:?}"
                );
                waits.insert(wait);
            }
        }
        assert!(waits.len() > 300, "sessions wait apart: {}", waits.len());
        assert_eq!(
            wait("s", 3, None),
            wait("s", 3, None),
            "and the same history the same"
        );
    }

    #[test]
    fn the_provider_may_ask_for_more_but_not_for_an_hour() {
        assert_eq!(wait("s", 2, Some(7)).as_secs(), 7);
        assert!(wait("s", 2, Some(1)) <= Duration::from_secs(2));
        assert_eq!(wait("s", 2, Some(3600)).as_secs(), 30);
    }
}
