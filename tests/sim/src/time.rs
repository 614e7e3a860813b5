//! Virtual time, over all hosts of a world. While a host's runtime is under way it follows
//! tokio's paused clock; between two hosts it stands still, or is moved by hand.

use std::sync::Mutex;

use stoplog_model::port::Clock;
use tokio::time::Instant;

/// Milliseconds since the Unix epoch at which every world begins.
const DAWN_MS: u64 = 1_700_000_000_000;

/// The time of one world.
#[derive(Debug)]
pub struct Time(Mutex<(u64, Option<Instant>)>);

impl Default for Time {
    fn default() -> Time {
        Time(Mutex::new((DAWN_MS, None)))
    }
}

impl Time {
    /// Follows the clock of the runtime that this is called in.
    pub fn follow(&self) {
        self.with(|state| state.1 = Some(Instant::now()));
    }

    /// Stands still from here on.
    pub fn stop(&self) {
        let now_ms = self.now_ms();
        self.with(|state| *state = (now_ms, None));
    }

    /// Moves it on while it stands still.
    pub fn pass(&self, ms: u64) {
        self.with(|state| state.0 += ms);
    }

    fn with<T>(&self, change: impl FnOnce(&mut (u64, Option<Instant>)) -> T) -> T {
        change(&mut crate::locked(&self.0))
    }
}

impl Clock for Time {
    fn now_ms(&self) -> u64 {
        self.with(|(base_ms, began)| {
            let since = began.map_or(0, |b| b.elapsed().as_millis() as u64);
            *base_ms + since
        })
    }
}
