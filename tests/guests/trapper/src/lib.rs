//! Panics.

use far::Act;
use stoplog_sdk::prelude::*;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Breaks at once.
#[tool(class = pure)]
fn trapper(input: Act) -> Result<Nothing, ToolError> {
    panic!("asked to break by {}", input.name)
}
