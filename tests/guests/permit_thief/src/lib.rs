//! Holds its permit, drops it, makes one up, or keeps it for the next call, as `name` says.

use far::{Act, Done};
use std::cell::RefCell;
use std::mem;
use stoplog_sdk::prelude::*;

thread_local! {
    static KEPT: RefCell<Vec<Permit>> = const { RefCell::new(Vec::new()) };
}

/// Does with a permit what nobody should.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn permit_thief(input: Act, permit: Permit) -> Result<Done, ToolError> {
    let earlier = KEPT.with_borrow_mut(Vec::pop);
    if earlier.is_some() {
        return Err(ToolError::internal("a permit outlived its call"));
    }
    match input.name.as_str() {
        "holds" => mem::forget(permit),
        "drops" => drop(permit),
        "keeps" => KEPT.with_borrow_mut(|kept| kept.push(permit)),
        // SAFETY: that there is no such handle is what is to be shown; the host traps.
        _ => return far::perform(&input, unsafe { Permit::from_handle(4_711) }),
    }
    Err(ToolError::internal("nothing was done").aftermath(Aftermath::Untouched))
}
