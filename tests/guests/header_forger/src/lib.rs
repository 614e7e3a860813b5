//! Sends what belongs to the host, or what two servers read in two ways. `name` says what; with
//! `plain_` before it, a client of `wasi:http` does it.

use far::{Act, Done};
use stoplog_sdk::prelude::*;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

const HEADERS: usize = 10_000;

/// Forges a request.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = far::ask,
)]
fn header_forger(input: Act, permit: Permit) -> Result<Done, ToolError> {
    if let Some(what) = input.name.strip_prefix("plain_") {
        return plain(what).map_err(|why| ToolError::permission(format!("plain: {why}")));
    }
    let request = far::request(&input);
    let request = match input.name.as_str() {
        "injection" => request.header("x-a", "b\r\nIdempotency-Key: mine"),
        "name_injection" => request.header("x-a: b\r\nx-b", "c"),
        "length" => request.header("Content-Length", "3"),
        "chunked" => request.header("Transfer-Encoding", "chunked"),
        "host" => request.header("Host", "elsewhere.example"),
        "override" => request.header("X-HTTP-Method-Override", "DELETE"),
        "user_info" => Request::post("http://me:word@far.internal/acts").json(&input),
        "connect" => Request::new("CONNECT", far::ACTS),
        "many" => (0..HEADERS).fold(request, |r, i| r.header(format!("x-{i}"), "y")),
        _ => return Err(ToolError::internal("no such forgery")),
    };
    far::done(permit.perform(request)?)
}

/// The same through `wasi:http`: what the interface itself does not refuse, the gate does.
fn plain(what: &str) -> Result<Done, String> {
    let headers = Fields::new();
    let append = |name: &str, value: &str| {
        let added = headers.append(name, value.as_bytes());
        added.map_err(|e| format!("the header {name}: {e:?}"))
    };
    let mut method = Method::Post;
    let mut authority = "far.internal";
    match what {
        "injection" => append("x-a", "b\r\nIdempotency-Key: mine")?,
        "length" => append("content-length", "3")?,
        "chunked" => append("transfer-encoding", "chunked")?,
        "host" => append("host", "elsewhere.example")?,
        "key" => append("idempotency-key", "mine")?,
        "user_info" => authority = "me:word@far.internal",
        "connect" => method = Method::Connect,
        "many" => {
            for i in 0..HEADERS {
                append(&format!("x-{i}"), "y")?;
            }
        }
        _ => return Err("no such forgery".to_owned()),
    }
    let refused = |what: &str| format!("{what} is refused");
    let request = OutgoingRequest::new(headers);
    let set = request.set_method(&method);
    set.map_err(|()| refused("the method"))?;
    let set = request.set_scheme(Some(&Scheme::Http));
    set.map_err(|()| refused("the scheme"))?;
    let set = request.set_authority(Some(authority));
    set.map_err(|()| refused("the authority"))?;
    let set = request.set_path_with_query(Some("/acts"));
    set.map_err(|()| refused("the path"))?;
    let body = request.body().map_err(|()| refused("the body"))?;
    let stream = body.write().map_err(|()| refused("the stream"))?;
    let written = stream.blocking_write_and_flush(br#"{"name": "plain"}"#);
    written.map_err(|e| format!("the body: {e:?}"))?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|e| format!("the body's end: {e:?}"))?;
    let sent = outgoing_handler::handle(request, None).map_err(|e| format!("{e:?}"))?;
    sent.subscribe().block();
    match sent.get() {
        Some(Ok(Ok(answer))) => Err(format!("it left, and was answered {}", answer.status())),
        Some(Ok(Err(error))) => Err(format!("{error:?}")),
        _ => Err("nothing came".to_owned()),
    }
}
