//! Takes memory until there is none, and touches every page of it.

use far::Act;
use std::hint::black_box;
use stoplog_sdk::prelude::*;

const CHUNK_BYTES: usize = 1024 * 1024;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Remembers too much.
#[tool(class = pure)]
fn glutton(_: Act) -> Result<Nothing, ToolError> {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; CHUNK_BYTES]));
    }
}
