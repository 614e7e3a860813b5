//! Never comes back.

use far::Act;
use std::hint::black_box;
use stoplog_sdk::prelude::*;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Computes for ever.
#[tool(class = pure)]
fn spinner(_: Act) -> Result<Nothing, ToolError> {
    let mut turns: u32 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
