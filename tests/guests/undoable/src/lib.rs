//! Nothing is known after a crash, but the act can be undone and done again.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that can be undone.
#[tool(
    class = reversible,
    key = "act_{name}", scope = tenant,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
    undo = undo,
)]
fn undoable(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}

/// Undoing what was never done succeeds: the far side then removes nothing.
fn undo(input: Act, _: Option<Done>, permit: Permit) -> Result<String, ToolError> {
    let key = format!("act_{}", input.name);
    let response = permit.perform(Request::delete(far::by_key(&key)))?;
    response.success()?;
    Ok(format!("undid the acts under {key}"))
}
