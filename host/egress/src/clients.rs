//! HTTP clients, each of which can reach exactly what it was made for.
//!
//! * For guests over http, one client: the URL that it gets has an address in place of the name,
//!   so it never asks a resolver, and its pool is one of addresses.
//! * For guests over https, one client for each (name, address): the certificate is checked
//!   against the name, and the resolver knows that one pair and no other.
//! * For model providers two, with the resolver of the system.
//!
//! None follows redirects, uses proxies of the environment, or repeats a request. What is left
//! is hyper's pool: it takes a new connection if the one that it chose turns out to be closed
//! before the first byte is written, which is no second copy.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::HeaderMap;
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder};
use stoplog_model::Response;

use crate::error::EgressError;
use crate::limits::{MAX_IDLE_PER_HOST, MAX_PINNED_CLIENTS, MAX_RESPONSE_BYTES, POOL_IDLE_TIMEOUT};
use crate::transport::{Destination, Lost, Opened, Parcel, Pieces, Transport};

/// Headers of an answer that belong to the connection and not to the answer, and cookies, which
/// would be state that the journal does not know.
const DROPPED: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "set-cookie2",
];

/// The clients of one [`Egress`](crate::Egress).
pub(crate) struct Clients {
    connect_timeout: Duration,
    plain: Client,
    providers_plain: Client,
    kept: Mutex<VecDeque<(Key, Client)>>,
    /// Whom the tests trust instead of the system's certificates.
    #[cfg(test)]
    trusted: Option<rustls::ClientConfig>,
}

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Providers,
    Pinned(String, SocketAddr),
}

impl Clients {
    pub(crate) fn new(connect_timeout: Duration) -> Result<Clients, EgressError> {
        let plain = built(
            base(connect_timeout)
                .tls_backend_preconfigured(no_tls())
                .http1_only()
                .dns_resolver(Nobody),
        )?;
        let providers_plain = built(
            base(connect_timeout)
                .tls_backend_preconfigured(no_tls())
                .http1_only(),
        )?;
        Ok(Clients {
            connect_timeout,
            plain,
            providers_plain,
            kept: Mutex::default(),
            #[cfg(test)]
            trusted: None,
        })
    }

    /// The same, trusting one certificate and no other.
    #[cfg(test)]
    pub(crate) fn trusting(
        connect_timeout: Duration,
        roots: rustls::RootCertStore,
    ) -> Result<Clients, EgressError> {
        let trusted = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Clients {
            trusted: Some(trusted),
            ..Clients::new(connect_timeout)?
        })
    }

    /// What every client over TLS is made from.
    fn base_tls(&self) -> ClientBuilder {
        let base = base(self.connect_timeout);
        #[cfg(test)]
        if let Some(trusted) = &self.trusted {
            return base.tls_backend_preconfigured(trusted.clone());
        }
        base
    }

    /// For http URLs with an address as host.
    fn plain(&self) -> Client {
        self.plain.clone()
    }

    /// For https URLs with this name as host, connected to this address.
    fn pinned(&self, host: &str, address: SocketAddr) -> Result<Client, EgressError> {
        self.kept_or(Key::Pinned(host.to_owned(), address), |base| {
            base.dns_resolver(Nobody).resolve(host, address)
        })
    }

    /// For model providers.
    fn providers(&self, is_tls: bool) -> Result<Client, EgressError> {
        if is_tls {
            self.kept_or(Key::Providers, |base| base)
        } else {
            Ok(self.providers_plain.clone())
        }
    }

    fn kept_or(
        &self,
        key: Key,
        shape: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, EgressError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(k, _)| *k == key)
            && let Some(entry) = kept.remove(at)
        {
            let client = entry.1.clone();
            kept.push_back(entry);
            return Ok(client);
        }
        let client = built(shape(self.base_tls()))?;
        if kept.len() >= MAX_PINNED_CLIENTS {
            kept.pop_front();
        }
        kept.push_back((key, client.clone()));
        Ok(client)
    }
}

#[async_trait]
impl Transport for Clients {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        received(self.sent(parcel).await?).await
    }

    async fn open(&self, parcel: Parcel) -> Result<Opened, Lost> {
        let answer = self.sent(parcel).await?;
        Ok(Opened {
            status: answer.status().as_u16(),
            headers: kept_headers(answer.headers()),
            body: Box::new(Coming(answer)),
        })
    }

    fn is_warm(&self, host: &str, address: SocketAddr) -> bool {
        let key = Key::Pinned(host.to_owned(), address);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|(k, _)| *k == key)
    }
}

/// A body that is still coming.
struct Coming(reqwest::Response);

#[async_trait]
impl Pieces for Coming {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        let piece = self.0.chunk().await;
        let piece = piece.map_err(|e| Lost::Late(causes(&e.without_url())))?;
        Ok(piece.map(Vec::from))
    }
}

impl Clients {
    /// Sends a parcel once, up to the head of the answer.
    async fn sent(&self, parcel: Parcel) -> Result<reqwest::Response, Lost> {
        let request = self.request(parcel).map_err(Lost::Early)?;
        request.send().await.map_err(|error| {
            let is_early = error.is_connect() || error.is_builder();
            let why = causes(&error.without_url());
            match is_early {
                true => Lost::Early(why),
                false => Lost::Late(why),
            }
        })
    }

    /// The request, on the client that reaches its destination and nothing else.
    fn request(&self, parcel: Parcel) -> Result<reqwest::RequestBuilder, String> {
        let mut url = parcel.url;
        let is_tls = url.scheme() == "https";
        let client = match parcel.to {
            Destination::Name => self.providers(is_tls).map_err(|e| e.to_string())?,
            Destination::Address(address) if is_tls => {
                let host = url.host_str().unwrap_or_default().to_owned();
                self.pinned(&host, address).map_err(|e| e.to_string())?
            }
            Destination::Address(address) => {
                let set = url.set_ip_host(address.ip());
                set.and_then(|()| url.set_port(Some(address.port())))
                    .map_err(|()| format!("the URL cannot be sent to {address}"))?;
                self.plain()
            }
        };
        let method =
            reqwest::Method::from_bytes(parcel.method.as_bytes()).map_err(|e| e.to_string())?;
        let request = client.request(method, url).headers(parcel.headers);
        Ok(match parcel.body {
            None => request,
            Some(body) => request.body(body),
        })
    }
}

async fn received(mut answer: reqwest::Response) -> Result<Response, Lost> {
    let status = answer.status().as_u16();
    let headers = kept_headers(answer.headers());
    match whole_body(&mut answer).await {
        Ok(body) => Ok(Response {
            status,
            headers,
            body,
        }),
        Err(why) => Err(Lost::Late(format!(
            "status {status} came, but its body did not: {why}"
        ))),
    }
}

/// The body to its end, or why there is none.
async fn whole_body(answer: &mut reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_RESPONSE_BYTES => {
                return Err(format!("it has more than {MAX_RESPONSE_BYTES} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => return Err(causes(&error.without_url())),
        }
    }
}

/// Names in lower case, without what belongs to the connection.
fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let named: Vec<String> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !DROPPED.contains(&name.as_str()))
        .filter(|(name, _)| !named.iter().any(|n| n == name.as_str()))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}

fn base(connect_timeout: Duration) -> ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
}

fn built(builder: ClientBuilder) -> Result<Client, EgressError> {
    builder.build().map_err(|e| EgressError::Client(causes(&e)))
}

/// TLS that trusts nobody: for clients that never use it, so that a host without certificates
/// can still speak http.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder()
        .with_root_certificates(Arc::new(rustls::RootCertStore::empty()))
        .with_no_client_auth()
}

/// An error with all its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

/// Resolves no name at all: a pinned client connects to what it was pinned to, or nowhere.
struct Nobody;

impl Resolve for Nobody {
    fn resolve(&self, name: Name) -> Resolving {
        let refusal = format!("the name {} was not vetted", name.as_str());
        Box::pin(std::future::ready(Err(refusal.into())))
    }
}
