//! Fills the bodies of requests that it never sends: what it writes lies in the host's memory.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::http::types::{Fields, OutgoingRequest};

#[output]
struct Kept {
    /// Bytes that the host has taken and holds.
    #[audit]
    bytes: u64,
}

/// Fills bodies and keeps them.
#[tool(class = read, egress = ["http://far.internal"])]
fn body_hoarder(_: Act) -> Result<Kept, ToolError> {
    let chunk = vec![b'x'; 1024 * 1024];
    let mut bytes: u64 = 0;
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let (Ok(body), true) = (request.body(), bytes < 1 << 40) else {
            return Ok(Kept { bytes });
        };
        let Ok(stream) = body.write() else {
            return Ok(Kept { bytes });
        };
        // Until the host takes no more without anybody reading it.
        while let Ok(room @ 1..) = stream.check_write() {
            let now = chunk.len().min(room as usize);
            if stream.write(&chunk[..now]).is_err() {
                break;
            }
            bytes += now as u64;
        }
        mem::forget((request, body, stream));
    }
}
