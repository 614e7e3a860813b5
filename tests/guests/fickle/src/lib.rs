//! Asks for another path when it is run again.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does one thing first, and another after a crash.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::cannot_ask,
)]
fn fickle(input: Act, permit: Permit) -> Result<Done, ToolError> {
    let attempt = context::current().attempt;
    let url = match attempt {
        1 => far::ACTS.to_owned(),
        again => format!("{}?again={again}", far::ACTS),
    };
    far::done(permit.perform(Request::post(url).json(&input))?)
}
