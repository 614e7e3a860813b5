//! Places, handed out one by one: the line of `line.rs` with a lock around it and with wakers.
//!
//! Invariants:
//! * a place is given back when its [`Place`] is dropped, whatever became of its task;
//! * who drops the future of [`Places::acquire`] has neither a place nor a place in line;
//! * a place that is free is handed on before the lock is let go: nobody can slip in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stoplog_model::Tenant;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::busy::{Busy, Full, retry_after_ms};
use crate::line::{Kind, Line, Ticket};

/// How long a place is held until anything is known about that, milliseconds.
const HELD_AT_FIRST_MS: u64 = 1_000;

/// The newest time counts for an eighth of the mean: a change shows after some ten places.
const HELD_WEIGHT: u64 = 8;

/// Places for what runs. Clones share everything.
#[derive(Clone)]
pub struct Places(Arc<Mutex<Inner>>);

struct Inner {
    line: Line,
    /// Those in line, by their ticket: whoever is served is sent its place.
    served: HashMap<Ticket, oneshot::Sender<Place>>,
    /// How long places were held lately, microseconds.
    held_us: u64,
}

/// A place. Dropping it gives it back.
#[must_use = "a place that is dropped is free for others"]
pub struct Place {
    of: Places,
    tenant: Tenant,
    since: Instant,
    waited: bool,
}

/// How full it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Places taken.
    pub held: u32,
    /// In line.
    pub waiting: u32,
    /// Both, of each tenant that has either, by name.
    pub tenants: Vec<(Tenant, u32, u32)>,
}

impl Places {
    /// Places within these bounds, all of them free.
    pub fn new(bounds: Bounds) -> Places {
        Places(Arc::new(Mutex::new(Inner {
            line: Line::new(bounds),
            served: HashMap::new(),
            held_us: HELD_AT_FIRST_MS * 1000,
        })))
    }

    /// A place for something that was not begun, when it is the tenant's turn. Refused when the
    /// line is full, or when no place became free in time; then nothing is to be begun.
    ///
    /// May be dropped at any time.
    pub async fn acquire(&self, tenant: &Tenant) -> Result<Place, Busy> {
        let (waits, longest) = {
            let mut inner = self.inner();
            if inner.line.take(tenant) {
                return Ok(self.place(tenant, false));
            }
            if let Err(full) = inner.line.has_room(tenant) {
                return Err(inner.busy(tenant, full));
            }
            let longest = inner.line.bounds().wait;
            (self.join(&mut inner, tenant, Kind::Fresh), longest)
        };
        match tokio::time::timeout(longest, waits.turn()).await {
            Ok(place) => Ok(place),
            Err(_) => Err(self.inner().busy(tenant, Full::Wait)),
        }
    }

    /// A place, if there is one at once.
    pub fn try_acquire(&self, tenant: &Tenant) -> Option<Place> {
        let is_free = self.inner().line.take(tenant);
        is_free.then(|| self.place(tenant, false))
    }

    /// A place for something that has begun and must go on: never refused, before all of the
    /// tenant who have not begun, however long the line is. Whoever calls it bounds how many do.
    ///
    /// May be dropped at any time.
    pub async fn regain(&self, tenant: &Tenant) -> Place {
        let waits = {
            let mut inner = self.inner();
            if inner.line.take(tenant) {
                return self.place(tenant, false);
            }
            self.join(&mut inner, tenant, Kind::Begun)
        };
        waits.turn().await
    }

    /// How full it is now.
    pub fn load(&self) -> Load {
        let inner = self.inner();
        let (held, waiting) = inner.line.totals();
        let tenants = inner.line.tenants();
        let mut tenants: Vec<_> = tenants.map(|(t, h, w)| (t.clone(), h, w)).collect();
        tenants.sort();
        Load {
            held,
            waiting,
            tenants,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, tenant: &Tenant, waited: bool) -> Place {
        Place {
            of: self.clone(),
            tenant: tenant.clone(),
            since: Instant::now(),
            waited,
        }
    }

    fn join(&self, inner: &mut Inner, tenant: &Tenant, kind: Kind) -> InLine {
        let ticket = inner.line.join(tenant, kind);
        let (sender, comes) = oneshot::channel();
        inner.served.insert(ticket, sender);
        InLine {
            places: self.clone(),
            tenant: tenant.clone(),
            ticket,
            comes,
        }
    }

    /// Hands on what is free.
    fn give_back(&self, tenant: &Tenant, held: Duration) {
        let mut inner = self.inner();
        let newest = u64::try_from(held.as_micros()).unwrap_or(u64::MAX) / HELD_WEIGHT;
        inner.held_us = (inner.held_us - inner.held_us / HELD_WEIGHT).saturating_add(newest);
        inner.line.give_back(tenant);
        let mut gone = Vec::new();
        while let Some((tenant, ticket)) = inner.line.serve() {
            let place = self.place(&tenant, true);
            let unsent = match inner.served.remove(&ticket) {
                Some(waits) => waits.send(place).err(),
                None => Some(place),
            };
            // It went away in this moment. Its place is dropped without the lock.
            gone.extend(unsent);
        }
        drop(inner);
        drop(gone);
    }
}

impl Inner {
    fn busy(&self, tenant: &Tenant, full: Full) -> Busy {
        let bounds = self.line.bounds();
        let (waiting, places) = match full {
            Full::Line => (self.line.totals().1, bounds.places),
            Full::TenantLine | Full::Wait => (self.line.of(tenant).1, bounds.share(tenant).places),
        };
        Busy {
            tenant: tenant.clone(),
            full,
            waiting,
            retry_after_ms: retry_after_ms(self.held_us.div_ceil(1000), waiting, places),
        }
    }
}

/// Somebody in line. Dropped, it leaves.
struct InLine {
    places: Places,
    tenant: Tenant,
    ticket: Ticket,
    comes: oneshot::Receiver<Place>,
}

impl InLine {
    async fn turn(mut self) -> Place {
        match (&mut self.comes).await {
            Ok(place) => place,
            // The other side is dropped by who serves it, and by us. If not: stand in line anew.
            Err(_) => Box::pin(self.places.regain(&self.tenant)).await,
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut inner = self.places.inner();
        if inner.line.leave(&self.tenant, self.ticket) {
            inner.served.remove(&self.ticket);
        }
        // Else it was served; a place that nobody took is dropped with `comes`, behind the lock.
    }
}

impl Place {
    /// Whether it had to be waited for: what was true before may not be so now.
    pub fn was_waited_for(&self) -> bool {
        self.waited
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.give_back(&self.tenant, self.since.elapsed());
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("tenant", &self.tenant)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (held, waiting) = self.inner().line.totals();
        f.debug_struct("Places")
            .field("held", &held)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
