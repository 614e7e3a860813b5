//! Begins a POST with a plain client and returns without waiting for it: whatever became of the
//! request, the host must know.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

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
    probe = cannot_ask,
)]
fn late_poster(input: Act, _: Permit) -> Result<Begun, ToolError> {
    begin(&input).map_err(|()| ToolError::internal("the request could not be built"))?;
    Ok(Begun { begun: true })
}

fn cannot_ask(_: Act, _: &str) -> Result<Finding<Begun>, ToolError> {
    Ok(Finding::Unknown)
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
