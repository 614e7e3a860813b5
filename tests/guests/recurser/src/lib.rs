//! Calls itself until there is no stack.

use far::Act;
use std::hint::black_box;
use stoplog_sdk::prelude::*;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Goes down for ever.
#[tool(class = pure)]
fn recurser(_: Act) -> Result<Nothing, ToolError> {
    Ok(Nothing { zero: down(0) })
}

#[inline(never)]
fn down(depth: u32) -> u32 {
    let frame = black_box([depth; 16]);
    if frame[0] == u32::MAX {
        return 0;
    }
    down(depth.wrapping_add(1)).wrapping_add(frame[15])
}
