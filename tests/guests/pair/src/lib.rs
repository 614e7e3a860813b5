//! Two effects in one call, each with a key of its own.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act twice: two effects of one call.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
)]
fn pair(input: Act, permit: Permit) -> Result<Done, ToolError> {
    let second = permit.split("second");
    far::perform(&input, permit)?;
    far::perform(&input, second)
}
