//! The one step that touches the network, as an edge that is handed in.
//!
//! Invariants:
//!
//! * A [`Parcel`] is made in this crate alone, behind the check, the key header and the secrets;
//!   so whoever carries it can neither skip nor repeat those.
//! * A transport makes at most one request of a parcel that the far side can act on, and says
//!   [`Lost::Early`] only when the connection never came up. When unsure: [`Lost::Late`].
//! * Deadlines, the order of addresses and the scrubbing of answers stay above it.
//!
//! The real one is [`Egress::new`](crate::Egress::new)'s; another one is for a world without a
//! network, such as a simulation.

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use http::header::HeaderMap;
use stoplog_model::Response;
use url::Url;

/// Carries requests to the far side and brings their answers.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a parcel once and waits for the whole answer.
    ///
    /// # Errors
    /// [`Lost`], which says whether the request may have left.
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost>;

    /// The same, and hands the answer over while its body is still coming.
    ///
    /// # Errors
    /// [`Lost`], as above; what breaks behind the head is told by [`Pieces::next`].
    async fn open(&self, parcel: Parcel) -> Result<Opened, Lost> {
        let Response {
            status,
            headers,
            body,
        } = self.carry(parcel).await?;
        Ok(Opened {
            status,
            headers,
            body: Box::new(Whole(Some(body))),
        })
    }

    /// Whether a connection to this address of this name may be open, so that it is tried first.
    fn is_warm(&self, _host: &str, _address: SocketAddr) -> bool {
        false
    }
}

/// An answer whose body is still coming.
pub struct Opened {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Box<dyn Pieces>,
}

/// A body that comes in pieces, wherever the network cuts it.
#[async_trait]
pub trait Pieces: Send {
    /// The next piece; none behind the last.
    ///
    /// # Errors
    /// [`Lost::Late`] when it broke off.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Lost>;
}

/// A body that is there already.
struct Whole(Option<Vec<u8>>);

#[async_trait]
impl Pieces for Whole {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        Ok(self.0.take())
    }
}

/// No whole answer came. The text names causes, and no URL: that may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The connection never came up, or the request could not be built: nothing left.
    Early(String),
    /// The request left, or may have.
    Late(String),
}

/// Where a parcel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To this address and no other, whatever the name in the URL resolves to: it was checked.
    Address(SocketAddr),
    /// To the name in the URL, by the system's resolver: a provider of the operator's choice.
    Name,
}

/// A request with everything in it: checked, keyed, its secrets filled in.
#[derive(Clone)]
pub struct Parcel {
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) to: Destination,
}

impl Parcel {
    /// Upper-case method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The URL, with the name of the far side in it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// Where it goes.
    pub fn to(&self) -> Destination {
        self.to
    }
}

/// Without URL, headers and body: they hold values of secrets.
impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel")
            .field("method", &self.method)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
