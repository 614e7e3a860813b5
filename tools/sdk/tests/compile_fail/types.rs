//! The functions of a tool agree on its types.
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
#[tool(class = external, key = "pay_{id}", probe = other_probe)]
fn pay(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn other_probe(_: Out, _: &str) -> Result<Finding<Out>, ToolError> {
    Ok(Finding::Unknown)
}

fn main() {}
