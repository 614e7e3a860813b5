//! A way out that ends on this machine: for testing a tool against a far side that is played.
//!
//! Invariants:
//!
//! * Every request goes to one loopback address, whatever its URL says: nothing leaves the machine,
//!   and no name is resolved.
//! * Everything before the last step is the same as on the real way out: grants, the guard of
//!   methods and headers, the key header, secrets.
//! * The far side sees the name that the tool asked for, in `Host`. It never sees TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{HOST, HeaderValue};
use stoplog_model::Response;

use crate::clients::Clients;
use crate::grant::Origin;
use crate::limits::CONNECT_TIMEOUT;
use crate::{
    Destination, Egress, EgressError, Lost, Parcel, Resolve, Secrets, Settings, Transport,
};

impl Egress {
    /// A way out on which everything goes to one loopback address. Grants must allow private
    /// addresses, because every name is there.
    ///
    /// # Errors
    /// [`EgressError::Client`] when the address is not on this machine, or the HTTP client cannot
    /// be built.
    pub fn detour(secrets: Secrets, to: SocketAddr) -> Result<Egress, EgressError> {
        if !to.ip().is_loopback() {
            return Err(EgressError::Client(format!("{to} is no loopback address")));
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = Settings {
            secrets,
            resolver: Arc::new(AllAt(to.ip())),
            connect_timeout: CONNECT_TIMEOUT,
        };
        let clients = Clients::new(CONNECT_TIMEOUT)?;
        Ok(Egress::with_transport(
            settings,
            Arc::new(Detour { clients, to }),
        ))
    }
}

/// Every name is at one address.
struct AllAt(IpAddr);

#[async_trait]
impl Resolve for AllAt {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

struct Detour {
    clients: Clients,
    to: SocketAddr,
}

impl Detour {
    fn turn(&self, mut parcel: Parcel) -> Result<Parcel, String> {
        let origin = Origin::of(&parcel.url).ok_or("the URL has no origin")?;
        let name = HeaderValue::from_str(&origin.authority()).map_err(|e| e.to_string())?;
        parcel.headers.insert(HOST, name);
        let plain = parcel.url.set_scheme("http");
        plain.map_err(|()| "the URL cannot be plain http")?;
        parcel.to = Destination::Address(self.to);
        Ok(parcel)
    }
}

#[async_trait]
impl Transport for Detour {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        let parcel = self.turn(parcel).map_err(Lost::Early)?;
        self.clients.carry(parcel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use url::Url;

    #[test]
    fn a_parcel_is_turned_to_the_one_address_and_keeps_its_name() {
        let to: SocketAddr = "127.0.0.1:4711".parse().expect("address");
        let clients = Clients::new(CONNECT_TIMEOUT).expect("clients");
        let parcel = Parcel {
            method: "POST".into(),
            url: Url::parse("https://pay.example.com:8443/v1?a=b").expect("url"),
            headers: HeaderMap::new(),
            body: None,
            to: Destination::Address("203.0.113.7:8443".parse().expect("address")),
        };
        let turned = Detour { clients, to }.turn(parcel).expect("turned");
        assert_eq!(turned.to, Destination::Address(to));
        assert_eq!(turned.header("host"), Some("pay.example.com:8443"));
        assert_eq!(turned.url.as_str(), "http://pay.example.com:8443/v1?a=b");
    }

    #[test]
    fn an_address_that_is_not_on_this_machine_is_refused() {
        let to: SocketAddr = "192.0.2.1:80".parse().expect("address");
        assert!(Egress::detour(Secrets::new(), to).is_err());
    }
}
