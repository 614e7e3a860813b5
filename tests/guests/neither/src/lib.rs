//! The far side neither keeps keys nor can be asked: after a crash a person must look.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that nobody can ask about.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
)]
fn neither(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}
