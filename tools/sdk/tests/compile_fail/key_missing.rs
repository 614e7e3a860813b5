//! A write tool names its act, and a tool that changes nothing does not.
use stoplog_sdk::prelude::*;

#[input]
struct In {
    #[audit]
    id: String,
}
#[output]
struct Out {}

/// Pays.
#[tool(class = external, probe = probe)]
fn pay(_: In, _: Permit) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Looks.
#[tool(class = read, key = "look_{id}")]
fn look(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn main() {}
