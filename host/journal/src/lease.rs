//! Keeping a lease while a session is worked on, in a task of its own: however long a tool takes,
//! the lease is renewed. Time alone is no fence, so each append checks the epoch as well.

use std::time::Duration;

use stoplog_model::port::{Moment, Stage};
use tokio::task::JoinHandle;

use crate::opening::Opening;
use crate::store::{Lease, StoreError};

/// How long a lease is good without renewal, milliseconds. Thirty seconds: longer than a pause of
/// the host that is worth surviving, short enough to wait for when a host dies for good.
pub const LEASE_TTL_MS: u64 = 30_000;

/// Renews a lease until it is dropped.
#[derive(Debug)]
pub struct LeaseKeeper {
    task: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Starts renewing. When a renewal is refused, it stops: the next append will be refused too,
    /// and says so to the one who writes.
    pub fn start(opening: &Opening, lease: Lease) -> LeaseKeeper {
        let opening = opening.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(LEASE_TTL_MS / 3));
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let until_ms = opening.clock.now_ms() + LEASE_TTL_MS;
                opening.reached(Stage::LeaseRenewed, Moment::Before, None);
                let renewed = opening.store.renew(&lease, until_ms).await;
                opening.reached(Stage::LeaseRenewed, Moment::After, None);
                if let Err(StoreError::Fenced { .. }) = renewed {
                    return;
                }
            }
        });
        LeaseKeeper { task }
    }

    /// Ends it, before the lease is given back.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}
