//! Works hard, and looks at every clock before and after: none may show how long it took.

use far::Act;
use std::hint::black_box;
use std::time::{Instant, SystemTime};
use stoplog_sdk::prelude::*;

const TURNS: u32 = 20_000_000;

#[output]
struct Elapsed {
    /// Nanoseconds that went by on the clocks.
    #[audit]
    elapsed_ns: u64,
}

/// Measures itself.
#[tool(class = pure)]
fn clock_watcher(_: Act) -> Result<Elapsed, ToolError> {
    let (wall, steady) = (SystemTime::now(), Instant::now());
    let mut turns: u32 = 0;
    while turns < TURNS {
        turns = black_box(turns + 1);
    }
    let by_wall = wall.elapsed().map_or(0, |d| d.as_nanos());
    let elapsed_ns = (by_wall + steady.elapsed().as_nanos()) as u64;
    Ok(Elapsed { elapsed_ns })
}
