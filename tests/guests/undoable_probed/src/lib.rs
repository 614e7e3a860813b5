//! Can be undone, and need not be: after a crash the far side is looked up.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that can be undone; the far side can be asked about it.
#[tool(
    class = reversible,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = far::ask,
    undo = far::undo,
)]
fn undoable_probed(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
