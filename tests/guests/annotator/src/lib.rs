//! Annotates and begins spans without end, with long names and values, and with what a terminal would
//! obey.

use far::Act;
use stoplog_sdk::prelude::*;

const ANNOTATIONS: usize = 10_000;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Says too much about itself.
#[tool(class = pure)]
fn annotator(_: Act) -> Result<Nothing, ToolError> {
    let long = "\u{1b}[2J".repeat(4_096);
    for i in 0..ANNOTATIONS {
        context::annotate(&format!("{i}{long}"), &long);
        let span = context::span(&format!("{i}{long}"));
        span.annotate(&long, &long);
    }
    Ok(Nothing { zero: 0 })
}
