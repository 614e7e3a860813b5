//! Makes timers and never gives one back; or lends one of them a million times at once.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;

const LENT: usize = 1_000_000;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Keeps every handle that it gets.
#[tool(class = pure)]
fn handle_hoarder(input: Act) -> Result<Nothing, ToolError> {
    if input.name == "poll" {
        let timer = subscribe_duration(1);
        poll(&vec![&timer; LENT]);
    }
    loop {
        mem::forget(subscribe_duration(1));
    }
}
