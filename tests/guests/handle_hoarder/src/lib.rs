//! Makes timers and never gives one back.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Keeps every handle that it gets.
#[tool(class = pure)]
fn handle_hoarder(_: Act) -> Result<Nothing, ToolError> {
    loop {
        mem::forget(subscribe_duration(1));
    }
}
