//! Looks at the far side, and changes nothing.

use far::Act;
use stoplog_sdk::prelude::*;

#[output]
struct Count {
    /// How many acts there are under the key `act_{name}`.
    #[audit]
    count: u32,
}

/// Counts the acts of a name.
#[tool(class = read, egress = ["http://far.internal"])]
fn lookup(input: Act) -> Result<Count, ToolError> {
    let acts = far::acts(&format!("act_{}", input.name))?;
    Ok(Count {
        count: acts.len() as u32,
    })
}
