//! `wasi:http` as an unmodified HTTP client of a guest sees it: it ends in the gate.
//!
//! Invariants:
//! * No sender is compiled in: this is the only implementation of `send_request`, and all it can
//!   do is call [`Gate::fetch`].
//! * A body is collected whole, bounded and counted as it comes, before anything is asked of the
//!   gate. A guest that drops its body half written has sent nothing.
//! * Requests that may change something reach the gate one after another, in the order in which
//!   the guest made them, each when the one before is answered or given up. So an event loop with
//!   several under way makes the same record in every run, whichever body is complete first.
//!
//! It runs on a task of its own, so a guest may wait for several answers at once. Dropping the
//! store drops that task; the gate sends on tasks of the host, so nothing is cut off midway.
//!
//! Timeouts that a guest sets on a request are not kept: a request that the guest gave up on
//! would still be under way. The timeout of the call bounds it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use stoplog_model::class::is_safe_method;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::port::Gate;
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::calllog::CallLog;
use crate::limits;
use crate::traffic::Traffic;

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Done), Error>;

/// The way out of `wasi:http`.
pub(crate) struct Outlet {
    gate: Arc<dyn Gate>,
    traffic: Traffic,
    log: CallLog,
    /// Ends when the last request that may change something is over.
    last: Option<oneshot::Receiver<()>>,
}

impl Outlet {
    pub(crate) fn new(gate: Arc<dyn Gate>, traffic: Traffic, log: CallLog) -> Outlet {
        Outlet {
            gate,
            traffic,
            log,
            last: None,
        }
    }

    /// A place behind all requests made before that may change something.
    fn queue(&mut self) -> Place {
        let (over, last) = oneshot::channel();
        Place {
            before: self.last.replace(last),
            over: Some(over),
        }
    }
}

/// A place in the queue. The next one's turn comes when it is dropped, and not before its own would
/// have come: a request that ends early leaves those before it where they are.
struct Place {
    before: Option<oneshot::Receiver<()>>,
    over: Option<oneshot::Sender<()>>,
}

impl Place {
    async fn turn(&mut self) {
        if let Some(before) = &mut self.before {
            // Nothing is ever sent: it ends when the other side is dropped.
            let _ = before.await;
        }
        self.before = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(before) = self.before.take() else {
            return;
        };
        let over = self.over.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = before.await;
                drop(over);
            });
        }
    }
}

impl WasiHttpHooks for Outlet {
    /// The host's own client sets it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        limits::BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let gate = Arc::clone(&self.gate);
        let traffic = self.traffic.clone();
        let log = self.log.clone();
        let mut place = (!is_safe_method(request.method().as_str())).then(|| self.queue());
        Box::new(async move {
            let request = collect(request, &traffic).await.inspect_err(|error| {
                log.line("stoplog", &format!("a request was not sent: {error}"));
            })?;
            if let Some(place) = &mut place {
                place.turn().await;
            }
            let what = format!("{} {}", request.method, request.path());
            let denied = |why: String| {
                log.line("stoplog", &format!("{what}: {why}"));
                Error::HttpRequestDenied
            };
            traffic.take().map_err(denied)?;
            let _turn = traffic.turn().await;
            let response = gate.fetch(request).await.map_err(|error| {
                // The guest's HTTP library has no words for it: the log has.
                log.line("stoplog", &format!("{what}: {error}"));
                match error {
                    EffectError::Denied { .. } => Error::HttpRequestDenied,
                    EffectError::NotSent(_) => Error::ConnectionRefused,
                    EffectError::Unanswered(_) => Error::ConnectionTerminated,
                }
            })?;
            if let Err(why) = traffic.pass(response.body.len()) {
                log.line("stoplog", &format!("{what}: {why}"));
                return Err(Error::HttpResponseBodySize(None));
            }
            let done: Done = Box::new(async { Ok(()) });
            Ok((answer(response)?, done))
        })
    }
}

async fn collect(request: http::Request<WasiBody>, traffic: &Traffic) -> Result<Request, Error> {
    let (parts, mut body) = request.into_parts();
    let mut headers = Vec::new();
    for (name, value) in &parts.headers {
        // Checked against the body by wasmtime already, and the host's to set.
        if name == http::header::CONTENT_LENGTH {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| Error::HttpProtocolError)?;
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are dropped: the gate has no place for them.
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let fits = collected.len() + data.len() <= limits::REQUEST_BODY_BYTES;
        if !fits || traffic.pass(data.len()).is_err() {
            let most = limits::REQUEST_BODY_BYTES as u64;
            return Err(Error::HttpRequestBodySize(Some(most)));
        }
        collected.extend_from_slice(&data);
    }
    Ok(Request {
        method: parts.method.as_str().to_ascii_uppercase(),
        url: parts.uri.to_string(),
        headers,
        body: collected,
    })
}

fn answer(response: Response) -> Result<http::Response<WasiBody>, Error> {
    if response.body.len() > limits::RESPONSE_BODY_BYTES {
        return Err(Error::HttpResponseBodySize(
            Some(response.body.len() as u64),
        ));
    }
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        // A header that HTTP does not allow is left out, as a client would.
        if let (Ok(name), Ok(value)) = (name, value) {
            builder = builder.header(name, value);
        }
    }
    let body = Full::new(Bytes::from(response.body)).map_err(|never| match never {});
    builder
        .body(body.boxed_unsync())
        .map_err(|_| Error::HttpProtocolError)
}

#[cfg(test)]
mod tests;
