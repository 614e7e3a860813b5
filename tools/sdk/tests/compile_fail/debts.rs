//! A class gives what it owes, and nothing that it does not have.
use stoplog_sdk::prelude::*;

#[input]
struct In {
    #[audit]
    id: String,
    #[audit]
    note: Option<String>,
}
#[output]
struct Out {}

fn probe(_: In, _: &str) -> Result<Finding<Out>, ToolError> {
    Ok(Finding::Unknown)
}

/// Pays.
#[tool(class = irreversible, key = "pay_{id}")]
fn pay(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Reserves.
#[tool(class = reversible, key = "reserve_{id}", probe = probe, preview = preview)]
fn reserve(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn main() {}
