//! Adds two numbers: the smallest tool of class 0, for measuring what is not the tool.

use stoplog_sdk::prelude::*;

#[input]
struct Terms {
    /// The first number.
    #[audit]
    a: i32,
    /// The second number.
    #[audit]
    b: i32,
}

#[output]
struct Sum {
    /// Both together, cut off at the ends of the type.
    #[audit]
    sum: i32,
}

/// Adds two numbers.
#[tool(class = pure)]
fn pure_add(input: Terms) -> Result<Sum, ToolError> {
    Ok(Sum {
        sum: input.a.saturating_add(input.b),
    })
}
