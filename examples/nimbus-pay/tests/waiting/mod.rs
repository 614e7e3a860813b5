//! Waiting for something that other processes bring about.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as hung. The first installation of a client's
/// packages is the longest.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until a look gives something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(LOOK_EVERY);
    }
}
