//! Counts in its state how often it was called, and tells the far side how often before. So another
//! count on a rerun would be another request.

use far::Act;
use stoplog_sdk::prelude::*;

#[output]
struct Counted {
    /// Id of the act.
    #[audit]
    #[identifier("act_id")]
    act_id: String,
    /// Calls before this one.
    #[audit]
    before: u32,
}

/// Does an act, and counts it.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = probe,
)]
fn keeper(input: Act, permit: Permit) -> Result<Counted, ToolError> {
    let before: u32 = state::get("count")?.unwrap_or_default();
    if input.name == "fails" {
        state::set("count", &1_000)?;
        return Err(ToolError::precondition("it was asked to fail").aftermath(Aftermath::Untouched));
    }
    let told = Act {
        name: format!("{} after {before}", input.name),
    };
    state::set(&format!("seen {}", input.name), &before)?;
    let done = far::perform(&told, permit)?;
    state::set("count", &(before + 1))?;
    Ok(Counted {
        act_id: done.act_id,
        before,
    })
}

/// It may look, and not write.
fn probe(_: Act, _: &str) -> Result<Finding<Counted>, ToolError> {
    match state::set("count", &1_000_000) {
        Err(state::StateError::Denied) => Ok(Finding::Unknown),
        _ => Ok(Finding::Several(99)),
    }
}
