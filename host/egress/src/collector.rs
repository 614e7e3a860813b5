//! The way to the operator's collector of telemetry: one unary message there, one answer back, over
//! plain HTTP or as gRPC. The operator configured it; guests cannot reach it.
//!
//! gRPC is HTTP/2 with five bytes before the message and the outcome in the trailers (gRPC over
//! HTTP2, "Requests" and "Responses"); a unary call needs no more than that.
//!
//! Invariants: no redirect is followed, no proxy is taken from the environment, nothing is repeated
//! here (the caller decides), values of headers are in no error and no `Debug`. What the bytes mean is
//! the caller's affair.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use url::Url;

use crate::clients::{base, built, causes, no_tls};
use crate::error::EgressError;
use crate::limits::{CONNECT_TIMEOUT, MAX_COLLECTOR_ANSWER_BYTES};

/// How to speak to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectorProtocol {
    /// A POST of the message as it is.
    Http,
    /// A unary call.
    Grpc,
}

/// A collector.
#[derive(Clone)]
pub struct Collector {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    protocol: CollectorProtocol,
    deadline: Duration,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorAnswer {
    /// HTTP status.
    pub status: u16,
    /// Of a gRPC call: its status, and the message that came with it.
    pub grpc: Option<(u32, String)>,
    /// When to come again, as it said, in its own words: `Retry-After`, or gRPC's pushback in
    /// milliseconds.
    pub retry_after: Option<RetryAfter>,
    /// The message in the answer.
    pub body: Vec<u8>,
}

/// When to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryAfter {
    /// The header as it stood: seconds, or a date.
    Header(String),
    /// Milliseconds. Less than zero: not at all.
    PushbackMs(i64),
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(pub String);

impl Collector {
    /// A collector at a URL, whole: with the path of the method.
    ///
    /// # Errors
    /// [`EgressError::Client`] when the URL is none that can be spoken to, a header cannot be written,
    /// or the client cannot be built.
    pub fn new(
        url: Url,
        protocol: CollectorProtocol,
        headers: &[(String, String)],
        deadline: Duration,
    ) -> Result<Collector, EgressError> {
        let wrong = |why: String| EgressError::Client(why);
        // An error only says that a provider is installed already: one is as good as another.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match url.scheme() {
            "https" => base(CONNECT_TIMEOUT),
            "http" => base(CONNECT_TIMEOUT).tls_backend_preconfigured(no_tls()),
            other => return Err(wrong(format!("`{other}` is not http or https"))),
        };
        let client = match protocol {
            CollectorProtocol::Http => client,
            CollectorProtocol::Grpc => client.http2_prior_knowledge(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let broken = || wrong(format!("the header `{name}` cannot be written"));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| broken())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        let kind = match protocol {
            CollectorProtocol::Http => "application/x-protobuf",
            CollectorProtocol::Grpc => "application/grpc",
        };
        map.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if protocol == CollectorProtocol::Grpc {
            map.insert("te", HeaderValue::from_static("trailers"));
        }
        Ok(Collector {
            client: built(client)?,
            url,
            headers: map,
            protocol,
            deadline,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a message, once, and waits for the whole answer.
    ///
    /// # Errors
    /// [`Unreached`], whether the message left or not.
    pub async fn send(&self, message: Vec<u8>) -> Result<CollectorAnswer, Unreached> {
        match tokio::time::timeout(self.deadline, self.exchange(message)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unreached(format!(
                "no whole answer within {} ms",
                self.deadline.as_millis()
            ))),
        }
    }

    async fn exchange(&self, message: Vec<u8>) -> Result<CollectorAnswer, Unreached> {
        let body = match self.protocol {
            CollectorProtocol::Http => message,
            CollectorProtocol::Grpc => framed(&message),
        };
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body);
        let answer = request.send().await;
        let answer = answer.map_err(|e| Unreached(causes(&e.without_url())))?;
        let answer: http::Response<reqwest::Body> = answer.into();
        let (parts, body) = answer.into_parts();
        let (body, trailers) = whole(body).await?;
        let status = parts.status.as_u16();
        Ok(match self.protocol {
            CollectorProtocol::Http => CollectorAnswer {
                status,
                grpc: None,
                retry_after: text(&parts.headers, "retry-after").map(RetryAfter::Header),
                body,
            },
            CollectorProtocol::Grpc => grpc_answer(status, &parts.headers, trailers, &body),
        })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("url", &self.url.as_str())
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// The body to its end, and what came behind it.
async fn whole(mut body: reqwest::Body) -> Result<(Vec<u8>, HeaderMap), Unreached> {
    let mut bytes = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Unreached(causes(&e.without_url())))?;
        match frame.into_data() {
            Ok(data) if bytes.len() + Bytes::len(&data) > MAX_COLLECTOR_ANSWER_BYTES => {
                let most = MAX_COLLECTOR_ANSWER_BYTES;
                return Err(Unreached(format!("the answer has more than {most} bytes")));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((bytes, trailers))
}

/// A message as gRPC sends it: not compressed, its length in four bytes, itself.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// Where there is no message the outcome stands in the headers.
fn grpc_answer(
    status: u16,
    headers: &HeaderMap,
    trailers: HeaderMap,
    body: &[u8],
) -> CollectorAnswer {
    let field = |name: &str| text(&trailers, name).or_else(|| text(headers, name));
    let code = field("grpc-status").and_then(|code| code.parse().ok());
    let pushback = field("grpc-retry-pushback-ms");
    CollectorAnswer {
        status,
        grpc: code.map(|code| (code, field("grpc-message").unwrap_or_default())),
        retry_after: pushback
            .map(|ms| RetryAfter::PushbackMs(ms.parse().unwrap_or(-1)))
            .or_else(|| field("retry-after").map(RetryAfter::Header)),
        body: body.get(5..).unwrap_or_default().to_vec(),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Reply, Server, answer};

    const DEADLINE: Duration = Duration::from_secs(5);

    fn collector(url: &str, protocol: CollectorProtocol) -> Result<Collector, EgressError> {
        let headers = [("x-key".to_owned(), "hidden-key".to_owned())];
        Collector::new(Url::parse(url).expect("url"), protocol, &headers, DEADLINE)
    }

    #[tokio::test]
    async fn a_message_is_posted_as_it_is_and_the_answer_comes_back_whole() {
        let server = Server::start(|_, _| {
            let reply = answer("429 Too Many Requests", "Retry-After: 7\r\n", "later");
            Reply::Keep(reply)
        })
        .await;
        let url = format!("http://{}/v1/traces", server.address);
        let collector = collector(&url, CollectorProtocol::Http).expect("collector");
        let got = collector.send(b"message".to_vec()).await.expect("answer");
        assert_eq!(
            (got.status, got.grpc, &got.body[..]),
            (429, None, &b"later"[..])
        );
        assert_eq!(got.retry_after, Some(RetryAfter::Header("7".into())));
        let seen = &server.seen()[0];
        assert!(seen.head.starts_with("POST /v1/traces "), "{}", seen.head);
        assert_eq!(
            seen.header("content-type").as_deref(),
            Some("application/x-protobuf")
        );
        assert_eq!(seen.header("x-key").as_deref(), Some("hidden-key"));
        assert_eq!(seen.body, "message");
        assert!(!format!("{collector:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told_and_shows_no_header() {
        let server = Server::start(|_, _| Reply::Close(String::new())).await;
        let url = format!("http://{}/v1/traces", server.address);
        let sent = collector(&url, CollectorProtocol::Http).expect("collector");
        let error = sent.send(Vec::new()).await.expect_err("no answer");
        assert!(!error.to_string().contains("hidden"), "{error}");
        for url in ["ftp://x/", "unix:/x"] {
            assert!(collector(url, CollectorProtocol::Grpc).is_err(), "{url}");
        }
    }

    #[test]
    fn a_call_without_a_message_has_its_outcome_in_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("busy"));
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("1500"));
        let got = grpc_answer(200, &headers, HeaderMap::new(), b"");
        assert_eq!(got.grpc, Some((14, "busy".into())));
        assert_eq!(got.retry_after, Some(RetryAfter::PushbackMs(1500)));
        assert_eq!(framed(b"abc"), [0, 0, 0, 0, 3, b'a', b'b', b'c']);
    }
}
