//! The far side keeps keys and cannot be asked: after a crash it is sent again.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act; the far side keeps keys.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
)]
fn keyed(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
