//! Can be undone, and need not be: the far side keeps keys, so after a crash it is sent again.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that can be undone; the far side keeps keys.
#[tool(
    class = reversible,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
    undo = far::undo,
)]
fn undoable_keyed(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
