//! Does its act, then panics: what was done must be recorded all the same.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act, then breaks.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn trap_after_effect(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)?;
    panic!("after the act {}", input.name)
}
