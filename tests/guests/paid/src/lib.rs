//! Cannot be taken back: a person approves it before.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that cannot be taken back.
#[tool(
    class = irreversible,
    key = "paid_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    claims = ["paid"],
    probe = far::ask,
    preview = preview,
)]
fn paid(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}

fn preview(input: Act) -> Result<String, ToolError> {
    Ok(format!("Do the act {} for good.", input.name))
}
