//! The far side keeps no keys and can be asked: after a crash it is looked up.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act; the far side can be asked about it.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn probed(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
