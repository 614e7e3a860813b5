//! Places for what a tenant has at work, and a bounded line behind them.
//!
//! Invariant: a tenant that fills its places and its line takes none of another tenant's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stoplog_model::{Reason, Tenant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{BUSY_RETRY_MS, Limits};
use crate::seam::Refusal;

/// The places of all tenants.
pub(crate) struct Places {
    at_work: usize,
    waiting: usize,
    of: Mutex<HashMap<Tenant, Own>>,
}

#[derive(Clone)]
struct Own {
    places: Arc<Semaphore>,
    line: Arc<Semaphore>,
}

/// A place. Given back by dropping it.
pub(crate) struct Place {
    _at_work: OwnedSemaphorePermit,
    /// Held together with the other: both together are what is admitted.
    _in_line: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Places {
        Places {
            at_work: limits.at_work,
            waiting: limits.waiting,
            of: Mutex::default(),
        }
    }

    /// A place, now or after a wait; or the word that the line is full.
    pub(crate) async fn take(&self, tenant: &Tenant) -> Result<Place, Refusal> {
        let own = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            let own = of.entry(tenant.clone()).or_insert_with(|| Own {
                places: Arc::new(Semaphore::new(self.at_work)),
                line: Arc::new(Semaphore::new(self.at_work + self.waiting)),
            });
            own.clone()
        };
        let busy = || {
            let message = format!(
                "tenant {tenant} has {} calls at work and {} in line",
                self.at_work, self.waiting
            );
            Refusal::new(Reason::TooBusy, message).retry_after(BUSY_RETRY_MS)
        };
        let in_line = own.line.clone().try_acquire_owned().map_err(|_| busy())?;
        let place = own.places.clone().acquire_owned();
        Ok(Place {
            _at_work: place.await.map_err(|_| busy())?,
            _in_line: in_line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_line_is_told_so_and_other_tenants_do_not_wait() {
        let limits = Limits {
            at_work: 1,
            waiting: 0,
            ..Limits::default()
        };
        let places = Places::new(&limits);
        let (a, b) = (
            Tenant::new("a").expect("tenant"),
            Tenant::new("b").expect("tenant"),
        );
        let held = places.take(&a).await.expect("the first place");
        let refused = places.take(&a).await.err().expect("there is no line");
        assert_eq!(refused.reason, Some(Reason::TooBusy));
        assert!(refused.retry_after_ms.is_some());
        places.take(&b).await.expect("another tenant");
        drop(held);
        places.take(&a).await.expect("given back");
    }
}
