//! Begins a POST with a plain client and returns without waiting for it, or traps while it is under
//! way: whatever became of the request, the host must know.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

const LONG_NS: u64 = 2_000_000_000;

#[output]
struct Begun {
    /// Always true.
    #[audit]
    begun: bool,
}

/// Performs when its call has ended.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = probe,
)]
fn late_poster(input: Act, _: Permit) -> Result<Begun, ToolError> {
    begin(&input).map_err(|()| ToolError::internal("the request could not be built"))?;
    if input.name == "traps" {
        // The far side is at it by now, and far from done.
        subscribe_duration(LONG_NS).block();
        panic!("in the middle of {}", input.name);
    }
    Ok(Begun { begun: true })
}

fn probe(_: Act, key: &str) -> Result<Finding<Begun>, ToolError> {
    Ok(match far::acts(key)?.len() {
        0 => Finding::Absent,
        1 => Finding::Once(Begun { begun: true }),
        several => Finding::Several(several as u32),
    })
}

fn begin(act: &Act) -> Result<(), ()> {
    let headers = Fields::new();
    let json = b"application/json";
    headers.append("content-type", json).map_err(drop)?;
    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Post)?;
    request.set_scheme(Some(&Scheme::Http))?;
    request.set_authority(Some("far.internal"))?;
    request.set_path_with_query(Some("/acts"))?;
    let body = request.body()?;
    let stream = body.write()?;
    let text = json!({ "name": act.name }).to_string();
    stream
        .blocking_write_and_flush(text.as_bytes())
        .map_err(drop)?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(drop)?;
    // Nobody waits for the answer.
    mem::forget(outgoing_handler::handle(request, None).map_err(drop)?);
    Ok(())
}
