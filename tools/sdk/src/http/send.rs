//! Safe requests through `wasi:http`.
//!
//! Invariant: no body leaves through here. What changes the outside world needs a permit; the
//! host refuses unsafe methods on this way.

use super::url::split;
use super::{Request, Response};
use crate::bindings::wasi_http::outgoing_handler::handle;
use crate::bindings::wasi_http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingRequest, Scheme,
};
use crate::bindings::wasi_io::streams::StreamError;
use crate::error::ToolError;

/// The longest body that a tool reads: an endless answer would fill its memory. The host has a
/// limit of its own, which is usually lower.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How much one read asks for.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Sends a request that changes nothing, for example `http::send(Request::get(url).header(..))`.
///
/// # Errors
///
/// Those of [`get`](super::get), and `internal` for a request that cannot be built or has a body.
pub fn send(request: Request) -> Result<Response, ToolError> {
    let line = request.line();
    let parts = request
        .into_parts()
        .map_err(|why| ToolError::internal(format!("{line} could not be built: {why}")))?;
    if !parts.body.is_empty() {
        let message = format!("{line} has a body: send it with permit.perform");
        return Err(ToolError::internal(message));
    }
    let Some(url) = split(&parts.url) else {
        let message = format!("{line} needs an absolute http or https URL");
        return Err(ToolError::internal(message));
    };
    let malformed = |what: &str| ToolError::internal(format!("{line} has a malformed {what}"));

    let headers: Vec<_> = parts
        .headers
        .into_iter()
        .map(|(name, value)| (name, value.into_bytes()))
        .collect();
    let headers = Fields::from_list(&headers).map_err(|_| malformed("header"))?;
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if url.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    outgoing
        .set_method(&method(&parts.method))
        .map_err(|()| malformed("method"))?;
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(|()| malformed("scheme"))?;
    outgoing
        .set_authority(Some(url.authority))
        .map_err(|()| malformed("authority"))?;
    outgoing
        .set_path_with_query(Some(&url.path_with_query))
        .map_err(|()| malformed("path"))?;

    let failed = |error: ErrorCode| failure(&line, &error);
    let future = handle(outgoing, None).map_err(failed)?;
    let incoming = loop {
        match future.get() {
            Some(Ok(answer)) => break answer.map_err(failed)?,
            Some(Err(())) => {
                return Err(ToolError::internal(format!("{line} was answered twice")));
            }
            None => future.subscribe().block(),
        }
    };
    let status = incoming.status();
    let headers = lower_headers(&incoming);
    let body = incoming
        .consume()
        .map_err(|()| ToolError::internal(format!("{line} has no body to read")))?;
    Ok(Response {
        status,
        headers,
        body: read(&body, &line)?,
        line,
        from_effect: false,
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => Method::Other(other.to_owned()),
    }
}

fn lower_headers(incoming: &IncomingResponse) -> Vec<(String, String)> {
    let headers = incoming.headers();
    headers
        .entries()
        .into_iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (name.to_ascii_lowercase(), value)
        })
        .collect()
}

fn read(body: &IncomingBody, line: &str) -> Result<Vec<u8>, ToolError> {
    let stream = body
        .stream()
        .map_err(|()| ToolError::internal(format!("{line} has no body to read")))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => {
                let message = format!("{line}: the answer broke off");
                return Err(ToolError::transient(message));
            }
        }
        if bytes.len() > MAX_BODY_BYTES {
            let message = format!("{line} answered more than {MAX_BODY_BYTES} bytes");
            return Err(ToolError::upstream(message));
        }
    }
}

/// No answer: the host's refusal, the tool's mistake, or the world's.
fn failure(line: &str, error: &ErrorCode) -> ToolError {
    let message = format!("{line} got no answer: {error:?}");
    match error {
        ErrorCode::HttpRequestDenied => {
            let message = format!("{line} was not let out by the host");
            ToolError::permission(message).hint("the operator grants origins in the tool's policy")
        }
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => ToolError::internal(message),
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_) => ToolError::upstream(message),
        _ => ToolError::transient(message),
    }
}
