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

use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder};

use crate::error::EgressError;
use crate::limits::{MAX_IDLE_PER_HOST, MAX_PINNED_CLIENTS, POOL_IDLE_TIMEOUT};

/// The clients of one [`Egress`](crate::Egress).
pub(crate) struct Clients {
    connect_timeout: Duration,
    plain: Client,
    providers_plain: Client,
    kept: Mutex<VecDeque<(Key, Client)>>,
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
        })
    }

    /// For http URLs with an address as host.
    pub(crate) fn plain(&self) -> Client {
        self.plain.clone()
    }

    /// For https URLs with this name as host, connected to this address.
    pub(crate) fn pinned(&self, host: &str, address: SocketAddr) -> Result<Client, EgressError> {
        self.kept_or(Key::Pinned(host.to_owned(), address), |base| {
            base.dns_resolver(Nobody).resolve(host, address)
        })
    }

    /// Whether a client for this name and address is there, so that its connections can be used.
    pub(crate) fn is_warm(&self, host: &str, address: SocketAddr) -> bool {
        let key = Key::Pinned(host.to_owned(), address);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|(k, _)| *k == key)
    }

    /// For model providers.
    pub(crate) fn providers(&self, is_tls: bool) -> Result<Client, EgressError> {
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
        let client = built(shape(base(self.connect_timeout)))?;
        if kept.len() >= MAX_PINNED_CLIENTS {
            kept.pop_front();
        }
        kept.push_back((key, client.clone()));
        Ok(client)
    }
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
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
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
