//! Cannot be taken back; the far side neither keeps keys nor can be asked: after a crash a person
//! must look.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that cannot be taken back, and that nobody can ask about.
#[tool(
    class = irreversible,
    key = "act_{name}", scope = tenant,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
    preview = preview,
)]
fn paid_neither(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}

fn preview(input: Act) -> Result<String, ToolError> {
    Ok(format!("Do the act {} for good.", input.name))
}
