//! How many calls are under way: a host that shuts down waits for them, and says how many.
//!
//! Invariant: both counts only go up, and a call that began is counted as ended however it ends:
//! observed, waiting, failed, or dropped.

use std::sync::atomic::{AtomicU64, Ordering};

/// Calls of one host since it started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// What the tally shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Calls that began.
    pub begun: u64,
    /// Calls that ended.
    pub ended: u64,
}

impl Calls {
    /// Calls that began and have not ended.
    pub fn under_way(self) -> u64 {
        self.begun.saturating_sub(self.ended)
    }
}

/// One call under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a Tally);

impl Tally {
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }

    pub(crate) fn calls(&self) -> Calls {
        // The ends first: a call that ends in between is then still under way, never minus one.
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        Calls { begun, ended }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_under_way_until_it_is_dropped() {
        let tally = Tally::default();
        let first = tally.begin();
        let second = tally.begin();
        assert_eq!(tally.calls(), Calls { begun: 2, ended: 0 });
        drop(first);
        assert_eq!(tally.calls().under_way(), 1);
        drop(second);
        assert_eq!(tally.calls(), Calls { begun: 2, ended: 2 });
    }
}
