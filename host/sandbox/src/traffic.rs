//! What a run sends and gets, counted over both ways out: `effects` and `wasi:http`.
//!
//! Invariant: whatever of bodies the host holds for a run was counted here before, but for the
//! answers that are just coming in; and of those there are [`limits::REQUESTS_AT_ONCE`] at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// The requests of a run and the bytes of their bodies. Clones count together.
#[derive(Clone)]
pub(crate) struct Traffic(Arc<Counted>);

struct Counted {
    requests: AtomicU32,
    bytes: AtomicUsize,
    under_way: Arc<Semaphore>,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic(Arc::new(Counted {
            requests: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            under_way: Arc::new(Semaphore::new(limits::REQUESTS_AT_ONCE)),
        }))
    }
}

impl Traffic {
    /// Takes a request, or says why there is none.
    pub(crate) fn take(&self) -> Result<(), String> {
        if self.0.requests.fetch_add(1, Ordering::Relaxed) < limits::REQUESTS {
            Ok(())
        } else {
            Err(format!(
                "request_limit: more than {} requests in one call",
                limits::REQUESTS
            ))
        }
    }

    /// Counts bytes of a body, or says that there were too many.
    pub(crate) fn pass(&self, bytes: usize) -> Result<(), String> {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= limits::TRAFFIC_BYTES {
            Ok(())
        } else {
            Err(format!(
                "request_limit: more than {} MiB of bodies in one call",
                limits::TRAFFIC_BYTES >> 20
            ))
        }
    }

    /// Waits until one more request may be under way; none if that never comes.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.under_way).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_counted_together() {
        let traffic = Traffic::default();
        let half = limits::TRAFFIC_BYTES / 2;
        assert_eq!(traffic.pass(half), Ok(()));
        assert_eq!(traffic.clone().pass(half), Ok(()));
        let refused = traffic.pass(1).expect_err("too many");
        assert!(refused.starts_with("request_limit: "), "{refused}");
    }

    #[tokio::test]
    async fn a_turn_comes_back() {
        let traffic = Traffic::default();
        let mut turns = Vec::new();
        for _ in 0..limits::REQUESTS_AT_ONCE {
            turns.push(traffic.turn().await.expect("a turn"));
        }
        assert_eq!(traffic.0.under_way.available_permits(), 0);
        turns.pop();
        assert!(traffic.turn().await.is_some());
    }
}
