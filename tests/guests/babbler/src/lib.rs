//! Prints and logs 16 MiB each, then answers 2 MiB. Called `endless`, it never stops printing.

use far::Act;
use stoplog_sdk::prelude::*;

const LINE_BYTES: usize = 64 * 1024;
const PRINTED_BYTES: usize = 16 * 1024 * 1024;
const OUTPUT_BYTES: usize = 2 * 1024 * 1024;

#[output]
struct Flood {
    /// Longer than any output may be.
    #[audit]
    flood: String,
}

/// Says too much.
#[tool(class = pure)]
fn babbler(input: Act) -> Result<Flood, ToolError> {
    let line = "x".repeat(LINE_BYTES);
    let mut printed = 0;
    while printed < PRINTED_BYTES || input.name == "endless" {
        println!("{line}");
        eprintln!("{line}");
        context::log(Level::Info, &line);
        printed += LINE_BYTES;
    }
    Ok(Flood {
        flood: "x".repeat(OUTPUT_BYTES),
    })
}
