//! Puts the number of its attempt into its request: run again, it asks for something else.

use far::Done;
use stoplog_sdk::prelude::*;

/// Does an act, and says which attempt it is.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
)]
fn fickle(input: far::Act, permit: Permit) -> Result<Done, ToolError> {
    let attempt = context::current().attempt;
    let body = json!({"name": input.name, "attempt": attempt});
    far::done(permit.perform(Request::post(far::ACTS).json(&body))?)
}
