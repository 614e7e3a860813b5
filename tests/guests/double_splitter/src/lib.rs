//! Splits one label twice: two effects would share one key.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Wants two rights under one name.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn double_splitter(input: Act, permit: Permit) -> Result<Done, ToolError> {
    let first = permit.split("fee");
    let second = permit.split("fee");
    far::perform(&input, first)?;
    far::perform(&input, second)
}
