//! Makes maps of headers, each nearly as large as the host allows, and never gives one back.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::http::types::Fields;

/// Just below what one map may hold.
const HEADERS: usize = 48;

#[output]
struct Nothing {
    /// Always zero.
    #[audit]
    zero: u32,
}

/// Keeps every header that it can write.
#[tool(class = read, egress = ["http://far.internal"])]
fn header_hoarder(_: Act) -> Result<Nothing, ToolError> {
    let value = vec![b'x'; 1024];
    loop {
        let fields = Fields::new();
        for number in 0..HEADERS {
            let added = fields.append(&format!("x-{number}"), &value);
            added.map_err(|e| ToolError::internal(format!("{e:?}")))?;
        }
        mem::forget(fields);
    }
}
