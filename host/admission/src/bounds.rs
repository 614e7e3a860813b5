//! How many places there are, how long the line may be, and what a tenant may have of both.
//!
//! Invariant: everybody may have one place at least, or nothing of theirs would ever run.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use stoplog_model::Tenant;

/// What one tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Places at once.
    pub places: NonZeroU32,
    /// In line at once. 0: who does not get a place at once is refused.
    pub waiting: u32,
}

/// The bounds of [`Places`](crate::Places).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Places in all.
    pub places: NonZeroU32,
    /// In line in all: bounds the memory of those who wait.
    pub waiting: u32,
    /// Longest wait in line. Who has waited so long is refused, and may come again: better than a
    /// model that waits for an answer longer than it takes to plan anew.
    pub wait: Duration,
    /// What a tenant may have that is not named below.
    pub each: Share,
    /// What some tenants may have instead.
    pub tenants: BTreeMap<Tenant, Share>,
}

impl Bounds {
    /// Bounds under which any tenant may take all.
    pub fn open(places: NonZeroU32, waiting: u32, wait: Duration) -> Bounds {
        Bounds {
            places,
            waiting,
            wait,
            each: Share { places, waiting },
            tenants: BTreeMap::new(),
        }
    }

    /// What a tenant may have.
    pub fn share(&self, tenant: &Tenant) -> Share {
        *self.tenants.get(tenant).unwrap_or(&self.each)
    }
}
