//! Passes the host one text of 40 MiB, as `name` says: a log line, a note of progress, or a
//! request.

use far::Act;
use stoplog_sdk::prelude::*;

const TEXT_BYTES: usize = 40 * 1024 * 1024;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Makes the host listen to too much.
#[tool(class = read, egress = ["http://far.internal"])]
fn shouter(input: Act) -> Result<Nothing, ToolError> {
    let text = "x".repeat(TEXT_BYTES);
    match input.name.as_str() {
        "log" => context::log(Level::Info, &text),
        "progress" => context::progress(1, None, &text),
        "annotation" => context::annotate("text", &text),
        _ => drop(http::get(format!("{}/{text}", far::ACTS))),
    }
    Ok(Nothing { zero: 0 })
}
