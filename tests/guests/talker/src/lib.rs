//! Answers 40 MiB.

use far::Act;
use stoplog_sdk::prelude::*;

const OUTPUT_BYTES: usize = 40 * 1024 * 1024;

#[output]
struct Flood {
    /// Longer than the host ever copies.
    #[audit]
    flood: String,
}

/// Answers too much.
#[tool(class = pure)]
fn talker(input: Act) -> Result<Flood, ToolError> {
    let flood = "x".repeat(OUTPUT_BYTES);
    match input.name.as_str() {
        "error" => Err(ToolError::internal(flood)),
        _ => Ok(Flood { flood }),
    }
}
