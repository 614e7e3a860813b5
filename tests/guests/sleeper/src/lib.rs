//! Sleeps for a year: it stands in a host call, where no epoch reaches.

use far::Act;
use std::thread;
use std::time::Duration;
use stoplog_sdk::prelude::*;

const YEAR: Duration = Duration::from_secs(31_536_000);

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Sleeps for ever.
#[tool(class = pure, timeout_ms = 500)]
fn sleeper(_: Act) -> Result<Nothing, ToolError> {
    thread::sleep(YEAR);
    Ok(Nothing { zero: 0 })
}
