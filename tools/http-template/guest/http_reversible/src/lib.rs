//! An HTTP API's action of class 2, as its template says.

use stoplog_sdk::__rt::{Contract, about, reversible as class};
use stoplog_sdk::{Permit, ToolError};

struct Tool;

impl about::Guest for Tool {
    fn describe() -> Contract {
        engine::describe()
    }
}

impl class::Guest for Tool {
    fn call(input: String, permit: Permit) -> Result<String, ToolError> {
        engine::write(&input, permit)
    }

    fn probe(input: String, key: String) -> Result<engine::Finding, ToolError> {
        engine::probe(&input, &key)
    }

    fn undo(input: String, _: String, permit: Permit) -> Result<String, ToolError> {
        engine::undo(&input, permit)
    }
}

#[cfg(target_family = "wasm")]
about::export!(Tool with_types_in about);
#[cfg(target_family = "wasm")]
class::export!(Tool with_types_in class);
