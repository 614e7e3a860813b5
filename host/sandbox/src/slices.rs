//! Cores for guests: tenants take turns for them.
//!
//! A guest computes only with a slice. It has one from where it wakes up to where it waits again,
//! and for a tick of the epoch at most. There are as many slices as cores, and a tenant may have all
//! but one: so whoever computes, in however many instances, leaves a core to the host's own work
//! and to the guests of others. Where several tenants compute, each waits for its turn, a tick long.
//!
//! A core that is left free is not wasted: without it, a task of the host that wakes up waits until
//! the system takes a thread away from a guest, some milliseconds each time, and a call wakes up ten
//! times. With it, another tenant's call takes as long as it takes alone.
//!
//! Invariants:
//! * no more guests compute at once than there are [`Slices`];
//! * a guest that waits, for an answer or for its turn, has none;
//! * nothing blocks with a slice in hand: the other guests could not go on.
//!
//! A runtime with one thread more than there are slices ([`worker_threads`]) always has one for the
//! host's own work.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use stoplog_admission::{Bounds, Place, Places};
use stoplog_model::Tenant;

/// The cores that guests share. Clones share them.
#[derive(Clone)]
pub(crate) struct Slices(Places);

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Threads of a runtime on which guests that compute never keep the host from its own work.
pub fn worker_threads() -> usize {
    cores().max(2) + 1
}

impl Slices {
    /// For the cores of this machine.
    pub(crate) fn of_this_machine() -> Slices {
        let cores = u32::try_from(cores()).unwrap_or(u32::MAX);
        let some = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        // Two at least: on one core, too, the next tenant's guest goes on at once.
        Slices::new(some(cores.max(2)), some(cores - 1))
    }

    fn new(slices: NonZeroU32, of_tenant: NonZeroU32) -> Slices {
        // Whoever computes has its place in the sandbox: the line is bounded by those.
        let mut bounds = Bounds::open(slices, 0, Duration::ZERO);
        bounds.each.places = of_tenant;
        Slices(Places::new(bounds))
    }

    /// Runs a guest: it is polled with a slice in hand, and without one it waits. A guest of no tenant,
    /// which the operator's own command runs, needs none.
    pub(crate) fn run<F: Future>(&self, tenant: Option<Tenant>, guest: Pin<Box<F>>) -> Sliced<F> {
        Sliced {
            places: self.0.clone(),
            tenant,
            turn: None,
            guest,
        }
    }
}

type Turn = Pin<Box<dyn Future<Output = Place> + Send>>;

/// A guest that computes in slices.
pub(crate) struct Sliced<F> {
    places: Places,
    tenant: Option<Tenant>,
    /// Its place in line, while it waits for a slice.
    turn: Option<Turn>,
    guest: Pin<Box<F>>,
}

impl<F: Future> Future for Sliced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let slice = match &this.tenant {
            Some(tenant) => Some(ready!(slice(&this.places, tenant, &mut this.turn, context))),
            None => None,
        };
        let polled = this.guest.as_mut().poll(context);
        drop(slice);
        polled
    }
}

/// A slice, when it is the tenant's turn.
fn slice(
    places: &Places,
    tenant: &Tenant,
    turn: &mut Option<Turn>,
    context: &mut Context<'_>,
) -> Poll<Place> {
    let place = match turn {
        Some(turn) => ready!(turn.as_mut().poll(context)),
        None => match places.try_acquire(tenant) {
            Some(place) => place,
            None => {
                let (places, tenant) = (places.clone(), tenant.clone());
                let in_line = Box::pin(async move { places.regain(&tenant).await });
                ready!(turn.insert(in_line).as_mut().poll(context))
            }
        },
    };
    *turn = None;
    Poll::Ready(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("a name")
    }

    /// One look at a guest.
    fn look<F: Future>(guest: &mut Sliced<F>) -> Poll<F::Output>
    where
        Sliced<F>: Unpin,
    {
        Pin::new(guest).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn who_computes_in_many_instances_waits_its_turn_like_who_computes_in_one() {
        let slices = Slices::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let computing = slices.0.try_acquire(&tenant("many"));
        let guest = |of| slices.run(Some(tenant(of)), Box::pin(async {}));
        let mut many: Vec<_> = (0..20).map(|_| guest("many")).collect();
        let mut one = guest("one");
        for waits in many.iter_mut().chain([&mut one]) {
            assert!(look(waits).is_pending());
        }
        drop(computing);
        let is_first = many.iter_mut().all(|guest| look(guest).is_pending());
        assert!(is_first && look(&mut one).is_ready());
        // Then the others, one behind the other.
        assert!(look(&mut many[0]).is_ready() && look(&mut many[1]).is_ready());
    }

    /// A tenant that computes on every core leaves a slice to the next one that comes.
    #[tokio::test]
    async fn who_computes_on_every_core_keeps_nobody_waiting() {
        let two = NonZeroU32::MIN.saturating_add(1);
        let slices = Slices::new(two, NonZeroU32::MIN);
        let loud = slices.0.try_acquire(&tenant("loud")).expect("a slice");
        assert!(slices.0.try_acquire(&tenant("loud")).is_none());
        let quiet = slices.run(Some(tenant("quiet")), Box::pin(async { 7 }));
        assert_eq!(quiet.await, 7);
        drop(loud);
    }

    #[tokio::test]
    async fn who_waits_has_no_slice_and_the_result_comes_through() {
        let slices = Slices::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let (answer, asked) = tokio::sync::oneshot::channel::<u32>();
        let guest = async move { asked.await.expect("an answer") + 1 };
        let waits = tokio::spawn(slices.run(Some(tenant("a")), Box::pin(guest)));
        let other = slices.run(Some(tenant("a")), Box::pin(async { 7 }));
        assert_eq!(other.await, 7, "the only slice is free");
        answer.send(41).expect("it waits");
        assert_eq!(waits.await.expect("a result"), 42);
    }
}
