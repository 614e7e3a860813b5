//! Counts in its state what it did and what it took back.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that can be undone, and counts both.
#[tool(
    class = reversible,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
    undo = undo,
)]
fn undoable_keeper(input: Act, permit: Permit) -> Result<Done, ToolError> {
    count("done")?;
    far::perform(&input, permit)
}

fn undo(input: Act, done: Option<Done>, permit: Permit) -> Result<String, ToolError> {
    count("undone")?;
    far::undo(input, done, permit)
}

fn count(key: &str) -> Result<(), ToolError> {
    let before: u32 = state::get(key)?.unwrap_or_default();
    Ok(state::set(key, &(before + 1))?)
}
