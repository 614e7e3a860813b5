//! Sending what was vetted, and saying honestly what came of it.
//!
//! Invariants:
//!
//! * `NotSent` is said only of what failed before a connection was up: name, TCP, TLS, or the
//!   request could not be built. Everything later is `Unanswered`, also where the far side most
//!   likely did nothing.
//! * An answer counts only when it is whole: status, headers and the body to its end.
//! * A connection that does not come up is tried at the next vetted address; what may have been
//!   written is never tried again.
//!
//! What may go wrong: an answer that ends with the connection (HTTP/1.0, no length) and is cut
//! off cannot be told from a whole one.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use stoplog_journal::proof::{Intent, Settled};
use stoplog_model::trace_context::TRACE_HEADERS;
use stoplog_model::{Digest, EffectError, Outcome, Response};
use tokio::time::Instant;
use url::{Position, Url};

use crate::Egress;
use crate::limits::MAX_ADDRESSES;
use crate::scrub::Scrubber;
use crate::transport::{Destination, Lost, Parcel};
use crate::vet::{SafeRequest, Vetted};

impl Egress {
    /// Sends a request that changes nothing: it needs no intent.
    ///
    /// `extra` are the host's own headers; they win over the guest's.
    ///
    /// # Errors
    /// [`EffectError::NotSent`] or [`EffectError::Unanswered`].
    pub async fn read(
        &self,
        request: SafeRequest,
        deadline: Duration,
        extra: &[(String, String)],
    ) -> Result<Response, EffectError> {
        self.send(request.0, None, deadline, extra).await.result()
    }

    /// Sends the request of a durable intent, once, with the intent's key.
    ///
    /// The future owns all that it needs, so it can run on a task of its own: the answer is then
    /// received even if the caller is gone.
    pub fn fire(
        &self,
        intent: Intent,
        vetted: Vetted,
        deadline: Duration,
        extra: Vec<(String, String)>,
    ) -> impl Future<Output = Settled> + Send + use<> {
        let egress = self.clone();
        async move {
            let began = Instant::now();
            let intended = intent.request().fingerprint();
            let outcome = egress
                .fire_as(&intended, intent.key(), vetted, deadline, &extra)
                .await;
            let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            intent.settle(outcome, latency_ms)
        }
    }

    /// [`Egress::fire`] without the proof.
    async fn fire_as(
        &self,
        intended: &Digest,
        key: &str,
        vetted: Vetted,
        deadline: Duration,
        extra: &[(String, String)],
    ) -> Outcome {
        if vetted.request.fingerprint() != *intended {
            return not_sent("the vetted request is not the request of the intent");
        }
        self.send(vetted, Some(key), deadline, extra).await
    }

    async fn send(
        &self,
        vetted: Vetted,
        key: Option<&str>,
        deadline: Duration,
        extra: &[(String, String)],
    ) -> Outcome {
        let names = vetted.scrubbed.iter().map(String::as_str);
        let scrubber = Scrubber::new(&self.inner.secrets, names);
        let outcome = match tokio::time::timeout(deadline, self.exchange(&vetted, key, extra)).await
        {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unanswered {
                why: format!("no whole answer within {} ms", deadline.as_millis()),
            },
        };
        scrubbed(outcome, &scrubber)
    }

    async fn exchange(
        &self,
        vetted: &Vetted,
        key: Option<&str>,
        extra: &[(String, String)],
    ) -> Outcome {
        let headers = match self.headers(vetted, key, extra) {
            Ok(headers) => headers,
            Err(why) => return not_sent(why),
        };
        let url = match self.filled_url(vetted) {
            Ok(url) => url,
            Err(why) => return not_sent(why),
        };
        let body = self.inner.secrets.fill(&vetted.request.body);
        let has_body = !(body.is_empty() && vetted.is_safe());
        let mut failed = Vec::new();
        for address in self.in_order(vetted) {
            let parcel = Parcel {
                method: vetted.request.method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: has_body.then(|| body.clone()),
                to: Destination::Address(address),
            };
            match self.inner.transport.carry(parcel).await {
                Ok(response) => return Outcome::Answered { response },
                Err(Lost::Early(why)) => failed.push(format!("{address}: {why}")),
                Err(Lost::Late(why)) => {
                    return Outcome::Unanswered {
                        why: format!("{address}: {why}"),
                    };
                }
            }
        }
        not_sent(failed.join("; "))
    }

    /// Addresses in the order to try: those first to which connections may be open.
    fn in_order(&self, vetted: &Vetted) -> Vec<SocketAddr> {
        let mut addresses = vetted.addresses.clone();
        if vetted.origin.is_tls() {
            let transport = &self.inner.transport;
            addresses.sort_by_key(|address| !transport.is_warm(&vetted.origin.host, *address));
        }
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    fn headers(
        &self,
        vetted: &Vetted,
        key: Option<&str>,
        extra: &[(String, String)],
    ) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &vetted.request.headers {
            if TRACE_HEADERS.contains(&name.as_str()) {
                // The host's own say which call this is; without them it belongs to no trace.
                continue;
            }
            let filled = self.inner.secrets.fill(value.as_bytes());
            let has_secret = filled != value.as_bytes();
            let (name, mut value) = header(name, &filled)?;
            // No log of a library below prints it, and HTTP/2 keeps it out of its tables.
            value.set_sensitive(has_secret);
            headers.append(name, value);
        }
        if !vetted.scrubbed.is_empty() {
            // An answer that is compressed could not be scrubbed.
            let identity = HeaderValue::from_static("identity");
            headers.insert(http::header::ACCEPT_ENCODING, identity);
        }
        for (name, value) in extra {
            let (name, value) = header(name, value.as_bytes())?;
            headers.insert(name, value);
        }
        if let Some(key) = key {
            let (name, value) = header("idempotency-key", key.as_bytes())?;
            headers.insert(name, value);
        }
        if !vetted.origin.is_tls() {
            // The URL names an address; the far side is to see the name.
            let (name, value) = header("host", vetted.origin.authority().as_bytes())?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn filled_url(&self, vetted: &Vetted) -> Result<Url, String> {
        if vetted.secrets.is_empty() {
            return Ok(vetted.url.clone());
        }
        let before = &vetted.url[..Position::BeforePath];
        let after = self
            .inner
            .secrets
            .fill_url(&vetted.url[Position::BeforePath..]);
        // The error may not show the URL: it holds the values now.
        let url = Url::parse(&format!("{before}{after}"))
            .map_err(|_| "the URL is not one once its secrets are in".to_owned())?;
        if url[..Position::BeforePath] != *before {
            return Err("a secret changes the origin of the URL".to_owned());
        }
        Ok(url)
    }
}

fn header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    let broken = || format!("the header `{}` cannot be written", name.escape_debug());
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
    let value = HeaderValue::from_bytes(value).map_err(|_| broken())?;
    Ok((name, value))
}

fn not_sent(why: impl Into<String>) -> Outcome {
    Outcome::NotSent { why: why.into() }
}

fn scrubbed(outcome: Outcome, scrubber: &Scrubber) -> Outcome {
    match outcome {
        Outcome::NotSent { why } => not_sent(scrubber.text(&why)),
        Outcome::Unanswered { why } => Outcome::Unanswered {
            why: scrubber.text(&why),
        },
        Outcome::Answered { response } => {
            let before = response.body.len();
            let body = scrubber.bytes(response.body);
            let mut headers = response.headers;
            for (name, value) in &mut headers {
                *value = scrubber.text(value);
                if name == "content-length" && before != body.len() {
                    *value = body.len().to_string();
                }
            }
            Outcome::Answered {
                response: Response {
                    status: response.status,
                    headers,
                    body,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;
