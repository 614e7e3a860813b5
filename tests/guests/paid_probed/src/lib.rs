//! Cannot be taken back; the far side keeps no keys and can be asked: after a crash it is looked up.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act that cannot be taken back; the far side can be asked about it.
#[tool(
    class = irreversible,
    key = "act_{name}", scope = tenant,
    settles_within_ms = 300,
    egress = ["http://far.internal"],
    probe = far::ask,
    preview = preview,
)]
fn paid_probed(input: Act, permit: Permit) -> Result<Done, ToolError> {
    far::perform(&input, permit)
}

fn preview(input: Act) -> Result<String, ToolError> {
    Ok(format!("Do the act {} for good.", input.name))
}
