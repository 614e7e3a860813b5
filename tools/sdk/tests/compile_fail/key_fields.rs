//! A key is made of required fields of the input.
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
#[tool(class = external, key = "pay_{order}_{note}", probe = probe)]
fn pay(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn main() {}
