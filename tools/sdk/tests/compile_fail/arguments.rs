//! Arguments are known words, and texts of the right form.
use stoplog_sdk::prelude::*;

#[input]
struct In {}
#[output]
struct Out {}

/// Looks.
#[tool(class = write)]
fn class_unknown(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Looks.
#[tool]
fn class_missing(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Looks.
#[tool(class = read, retries = 3)]
fn argument_unknown(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

/// Looks.
#[tool(class = read, egress = ["example.com"])]
fn egress_without_scheme(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

#[tool(class = read)]
fn description_missing(_: In) -> Result<Out, ToolError> {
    Ok(Out {})
}

fn main() {}
