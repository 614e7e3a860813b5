//! Its probe finds nothing, whatever was done.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that its probe does not find.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = probe,
)]
fn blind(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}

fn probe(_: Act, _: &str) -> Result<Finding<Done>, ToolError> {
    Ok(Finding::Absent)
}
