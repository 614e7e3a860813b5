//! Asks for 4 GiB of random bytes at once.

use far::Act;
use stoplog_sdk::prelude::*;
use wasip2::random::{insecure, random};

#[output]
struct Drawn {
    /// How many bytes came.
    #[audit]
    bytes: u64,
}

/// Draws too much.
#[tool(class = pure)]
fn random_glutton(input: Act) -> Result<Drawn, ToolError> {
    let bytes = match input.name.as_str() {
        "insecure" => insecure::get_insecure_random_bytes(1 << 32),
        _ => random::get_random_bytes(1 << 32),
    };
    Ok(Drawn {
        bytes: bytes.len() as u64,
    })
}
