//! What the guests share: their input, and how they speak to the far side.
//!
//! Every key is `act_{name}` with scope tenant, so the far side sees exactly that text.

use stoplog_sdk::prelude::*;

/// Where acts are done.
pub const ACTS: &str = "http://far.internal/acts";

/// What to do.
#[input]
pub struct Act {
    /// Any word: it becomes part of the key.
    #[audit]
    pub name: String,
}

/// What was done.
#[output]
pub struct Done {
    /// Id of the act.
    #[audit]
    #[identifier("act_id")]
    pub act_id: String,
}

/// The request that does an act.
pub fn request(act: &Act) -> Request {
    Request::post(ACTS).json(act)
}

/// Does an act.
pub fn perform(act: &Act, permit: Permit) -> Result<Done, ToolError> {
    done(permit.perform(request(act))?)
}

/// Reads what the far side answered to an act.
pub fn done(response: Response) -> Result<Done, ToolError> {
    let done: WireDone = response.success()?.json()?;
    Ok(Done {
        act_id: done.act_id,
    })
}

/// Where the acts of a key are.
pub fn by_key(key: &str) -> String {
    format!("{ACTS}/by-key/{}", http::encode(key))
}

/// The acts done under a key.
pub fn acts(key: &str) -> Result<Vec<Done>, ToolError> {
    let found: WireFound = http::get(by_key(key))?.success()?.json()?;
    let done = |act: WireDone| Done { act_id: act.act_id };
    Ok(found.acts.into_iter().map(done).collect())
}

/// A probe that asks.
pub fn ask(_: Act, key: &str) -> Result<Finding<Done>, ToolError> {
    let mut found = acts(key)?;
    Ok(match (found.pop(), found.len()) {
        (None, _) => Finding::Absent,
        (Some(act), 0) => Finding::Once(act),
        (Some(_), others) => Finding::Several(others as u32 + 1),
    })
}

/// A probe that cannot ask.
pub fn cannot_ask(_: Act, _: &str) -> Result<Finding<Done>, ToolError> {
    Ok(Finding::Unknown)
}

/// Takes an act back. Undoing what was never done succeeds: the far side then removes nothing.
pub fn undo(act: Act, _: Option<Done>, permit: Permit) -> Result<String, ToolError> {
    let key = format!("act_{}", act.name);
    let response = permit.perform(Request::delete(by_key(&key)))?;
    response.success()?;
    Ok(format!("undid the acts under {key}"))
}

#[wire]
struct WireFound {
    acts: Vec<WireDone>,
}

#[wire]
struct WireDone {
    act_id: String,
}
