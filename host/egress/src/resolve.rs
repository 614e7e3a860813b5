//! Names to addresses, as an edge that is handed in.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Resolves the names in guests' requests.
///
/// It is asked once for each request, before the check; what it says afterwards does not matter,
/// because the connection is pinned to the addresses that were checked.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of a name. An error, or an empty list, is `NotSent`.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
