//! Nothing is known after a crash, but the act can be undone and done again.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that can be undone. Without a settling time a late request could arrive behind its
/// undo.
#[tool(
    class = reversible,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
    undo = far::undo,
)]
fn undoable(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
