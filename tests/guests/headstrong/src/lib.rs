//! Brings an idempotency key of its own: that header is the host's.

use far::{Act, Done};
use stoplog_sdk::prelude::*;

/// Does an act under a key that it chose itself.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn headstrong(input: Act, permit: Permit) -> Result<Done, ToolError> {
    let request = far::request(&input).header("Idempotency-Key", "mine");
    far::done(permit.perform(request)?)
}
