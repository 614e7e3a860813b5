//! Clocks and random numbers as a run sees them: functions of what is recorded with the call.
//!
//! Invariants:
//! * The clocks stand at the recorded start of the call. They move only when the guest waits: a
//!   timer that fired moves them to the time it was set for. So a guest that sleeps sees the
//!   time pass, one that only computes does not, and a run that is repeated sees the same.
//! * All random numbers come from the recorded seed. Each interface has its own stream, so that
//!   drawing from one does not shift another.
//!
//! What may go wrong: a guest spins until the clock shows a time. It shows none; the epoch stops
//! the guest. A guest waits for a year: its call's timeout stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::host::LimitHit;
use crate::limits;

/// The clocks of a run.
#[derive(Clone)]
pub(crate) struct VirtualClock {
    started_at_ms: u64,
    /// Nanoseconds since the start, as far as the guest has waited.
    waited_ns: Arc<AtomicU64>,
}

impl VirtualClock {
    pub(crate) fn new(started_at_ms: u64) -> VirtualClock {
        VirtualClock {
            started_at_ms,
            waited_ns: Arc::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.waited_ns.load(Ordering::Relaxed)
    }
}

/// The clocks, and the table that their timers live in.
pub(crate) struct ClockView<'a> {
    pub(crate) clock: &'a VirtualClock,
    pub(crate) table: &'a mut ResourceTable,
}

/// Ties [`ClockView`] to the linker.
pub(crate) struct HasClock;

impl HasData for HasClock {
    type Data<'a> = ClockView<'a>;
}

const RESOLUTION_NS: u32 = 1_000_000;

impl wall_clock::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let start = Duration::from_millis(self.clock.started_at_ms);
        let now = start.saturating_add(Duration::from_nanos(self.clock.now_ns()));
        Ok(wall_clock::Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: RESOLUTION_NS,
        })
    }
}

impl monotonic_clock::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.now_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(RESOLUTION_NS))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        // The host waits in real time, from now: virtual time stands still meanwhile.
        let wait = Duration::from_nanos(when.saturating_sub(self.clock.now_ns()));
        let timer = Timer {
            clock: self.clock.clone(),
            shows_ns: when,
            fires_at: Instant::now().checked_add(wait),
            yielded: !wait.is_zero(),
        };
        let timer = self.table.push(timer)?;
        subscribe(self.table, timer)
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.clock.now_ns().saturating_add(wait);
        monotonic_clock::Host::subscribe_instant(self, when)
    }
}

struct Timer {
    clock: VirtualClock,
    shows_ns: u64,
    /// `None` for a time that cannot be told: never.
    fires_at: Option<Instant>,
    yielded: bool,
}

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if !self.yielded {
            // A guest that polls without waiting must not starve the host's own tasks.
            self.yielded = true;
            tokio::task::yield_now().await;
        }
        match self.fires_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.clock
            .waited_ns
            .fetch_max(self.shows_ns, Ordering::Relaxed);
    }
}

/// The random numbers of a run.
pub(crate) struct Dice {
    secure: Stream,
    insecure: Stream,
    seed: (u64, u64),
}

impl Dice {
    pub(crate) fn new(seed: [u8; 32]) -> Dice {
        let mut once = Stream::new(seed, "insecure-seed");
        Dice {
            secure: Stream::new(seed, "random"),
            insecure: Stream::new(seed, "insecure"),
            seed: (once.u64(), once.u64()),
        }
    }
}

/// Ties [`Dice`] to the linker.
pub(crate) struct HasDice;

impl HasData for HasDice {
    type Data<'a> = &'a mut Dice;
}

/// SHA-256 of seed, name and counter, block after block.
struct Stream {
    seed: [u8; 32],
    name: &'static str,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Stream {
    fn new(seed: [u8; 32], name: &'static str) -> Stream {
        Stream {
            seed,
            name,
            counter: 0,
            block: [0; 32],
            used: 32,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.block.len() {
                let mut hasher = Sha256::new();
                hasher.update(b"stoplog/random1\0");
                hasher.update(self.name.as_bytes());
                hasher.update([0]);
                hasher.update(self.seed);
                hasher.update(self.counter.to_le_bytes());
                self.block = hasher.finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > limits::RANDOM_BYTES {
            let message = format!(
                "{len} random bytes at once, at most {}",
                limits::RANDOM_BYTES
            );
            return Err(LimitHit(message).into());
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.fill(&mut bytes);
        Ok(bytes)
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl random::Host for Dice {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.secure.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.secure.u64())
    }
}

impl insecure::Host for Dice {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.insecure.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.insecure.u64())
    }
}

impl insecure_seed::Host for Dice {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| Dice::new([seed; 32]).secure.bytes(100).expect("bytes");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut dice = Dice::new([1; 32]);
        assert_ne!(dice.secure.u64(), dice.insecure.u64());
        assert!(dice.secure.bytes(limits::RANDOM_BYTES + 1).is_err());
    }

    #[tokio::test]
    async fn the_clock_moves_only_by_waiting() {
        let clock = VirtualClock::new(1_700_000_000_123);
        let mut table = ResourceTable::new();
        let mut view = ClockView {
            clock: &clock,
            table: &mut table,
        };
        let now = wall_clock::Host::now(&mut view).expect("now");
        assert_eq!((now.seconds, now.nanoseconds), (1_700_000_000, 123_000_000));
        let mut timer = Timer {
            clock: clock.clone(),
            shows_ns: 5_000_000,
            fires_at: Instant::now().checked_add(Duration::from_millis(5)),
            yielded: true,
        };
        timer.ready().await;
        assert_eq!(
            monotonic_clock::Host::now(&mut view).expect("now"),
            5_000_000
        );
        let now = wall_clock::Host::now(&mut view).expect("now");
        assert_eq!((now.seconds, now.nanoseconds), (1_700_000_000, 128_000_000));
    }
}
