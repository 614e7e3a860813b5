//! A refusal for want of room, and when to come again.

use std::fmt;
use std::num::NonZeroU32;

use stoplog_model::Tenant;

/// Shortest wait that anybody is told, milliseconds: a line that was full moves on, and a client
/// that asks faster only makes it longer.
pub const RETRY_AFTER_MIN_MS: u64 = 100;

/// Longest wait that anybody is told, milliseconds: what is known about the line says nothing
/// about times further away.
pub const RETRY_AFTER_MAX_MS: u64 = 60_000;

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The tenant has as many in line as it may have.
    TenantLine,
    /// The line of all tenants together is as long as it may be.
    Line,
    /// There was room in line, and no place within the longest wait.
    Wait,
}

/// There is no place, and no room to wait for one. Nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{full}; try again in {retry_after_ms} ms")]
pub struct Busy {
    /// Who asked.
    pub tenant: Tenant,
    /// What is full.
    pub full: Full,
    /// In line: of the tenant, or of all for [`Full::Line`].
    pub waiting: u32,
    /// When it makes sense to ask again, by how fast places came back lately. Milliseconds.
    pub retry_after_ms: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::TenantLine => "as many of this tenant are in line as may be",
            Full::Line => "as many are in line as may be",
            Full::Wait => "no place became free in the time that one may wait",
        })
    }
}

/// How long until so many in line are served by so many places, if one has its place for `held_ms`.
pub(crate) fn retry_after_ms(held_ms: u64, ahead: u32, places: NonZeroU32) -> u64 {
    let rounds = u64::from(ahead).div_ceil(u64::from(places.get()));
    let estimate = held_ms.saturating_mul(rounds.max(1));
    estimate.clamp(RETRY_AFTER_MIN_MS, RETRY_AFTER_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_with_the_line_and_stays_in_bounds() {
        let after = |held_ms, ahead, places: u32| {
            retry_after_ms(held_ms, ahead, places.try_into().expect("some"))
        };
        assert_eq!(after(200, 0, 4), 200);
        assert_eq!(after(200, 9, 4), 600);
        assert_eq!(after(1, 1, 64), RETRY_AFTER_MIN_MS);
        assert_eq!(after(u64::MAX, u32::MAX, 1), RETRY_AFTER_MAX_MS);
    }
}
