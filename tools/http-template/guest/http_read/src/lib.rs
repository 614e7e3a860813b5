//! An HTTP API's action of class 1, as its template says.

use stoplog_sdk::__rt::{Contract, about, read as class};
use stoplog_sdk::ToolError;

struct Tool;

impl about::Guest for Tool {
    fn describe() -> Contract {
        engine::describe()
    }
}

impl class::Guest for Tool {
    fn call(input: String) -> Result<String, ToolError> {
        engine::read(&input)
    }
}

#[cfg(target_family = "wasm")]
about::export!(Tool with_types_in about);
#[cfg(target_family = "wasm")]
class::export!(Tool with_types_in class);
