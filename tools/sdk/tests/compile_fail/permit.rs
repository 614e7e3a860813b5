//! Only a write tool gets a permit, and it must take it.
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

/// Looks.
#[tool(class = read)]
fn look(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Pays.
#[tool(class = external, key = "pay_{id}", probe = probe)]
fn pay(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn main() {}
