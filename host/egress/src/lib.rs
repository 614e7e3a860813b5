//! The only crate that opens an outbound connection.
//!
//! Two kinds of traffic leave through here, and nothing else leaves at all:
//!
//! * requests of guests: first [`Egress::vet`], then [`Egress::read`] for a safe method, or
//!   [`Egress::fire`] for any other, which takes a durable
//!   [`Intent`](stoplog_journal::proof::Intent);
//! * requests to model providers that the operator configured: [`Egress::provider`].
//!
//! Invariants:
//!
//! * A request that was not vetted does not leave: the fields of [`Vetted`] and [`SafeRequest`]
//!   are private, and neither is `Clone`, so one check is one request.
//! * Bytes go only to an address that was checked. Names are resolved before the check, and the
//!   connection is pinned to what was found: a name that changes its address in between changes
//!   nothing.
//! * One call of `fire` is at most one request that the far side can act on: no redirect is
//!   followed, no proxy is taken from the environment, no answer is retried. The one thing that
//!   the HTTP library may do again is a request of which not a single byte was written.
//! * An outcome is `NotSent` only if the connection never came up. When unsure: `Unanswered`.
//! * Values of secrets are put in last, are never in an error, a `Debug` or a journal, and are
//!   taken out of what comes back.
//!
//! What is absent: this crate knows no classes, no stages, no sessions and no policy. Whether a
//! tool may write at all is decided before; `Vetted` only says whether the method is safe.

mod address;
#[cfg(test)]
mod attacks;
mod clients;
mod detour;
mod error;
mod grant;
pub mod limits;
mod provider;
mod resolve;
mod scrub;
mod secret;
mod send;
#[cfg(test)]
mod testkit;
mod transport;
mod vet;

use std::sync::Arc;
use std::time::Duration;

pub use address::private_network;
pub use error::EgressError;
pub use grant::{Grant, Origin};
pub use provider::{ApiKey, Patience, Provider, ProviderAnswer, ProviderError};
pub use resolve::{Resolve, SystemResolver};
pub use secret::Secrets;
pub use transport::{Destination, Lost, Opened, Parcel, Pieces, Transport};
pub use vet::{SafeRequest, Vetted};

use clients::Clients;

/// What is handed in when the host starts.
#[derive(Clone)]
pub struct Settings {
    /// The values that placeholders stand for.
    pub secrets: Secrets,
    /// Who resolves names of guests' requests.
    pub resolver: Arc<dyn Resolve>,
    /// How long a connection may take to come up, TLS included.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            secrets: Secrets::default(),
            resolver: Arc::new(SystemResolver),
            connect_timeout: limits::CONNECT_TIMEOUT,
        }
    }
}

/// The way out. Cloning it is cheap: all clones share connections and secrets.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    secrets: Secrets,
    resolver: Arc<dyn Resolve>,
    transport: Arc<dyn Transport>,
}

impl Egress {
    /// Makes the way out. Opens no connection yet.
    ///
    /// # Errors
    /// [`EgressError::Client`] when the HTTP client cannot be built.
    pub fn new(settings: Settings) -> Result<Egress, EgressError> {
        // An error only says that a provider is installed already: one is as good as another.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clients = Clients::new(settings.connect_timeout)?;
        Ok(Egress::with_transport(settings, Arc::new(clients)))
    }

    /// A way out over another carrier than the network: for a world in which the far side is in
    /// the same process. Everything but the last step is the same. `settings.connect_timeout` is
    /// the real carrier's, and means nothing here.
    pub fn with_transport(settings: Settings, transport: Arc<dyn Transport>) -> Egress {
        Egress {
            inner: Arc::new(Inner {
                secrets: settings.secrets,
                resolver: settings.resolver,
                transport,
            }),
        }
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("secrets", &self.inner.secrets)
            .finish_non_exhaustive()
    }
}
