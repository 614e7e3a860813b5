//! `[serve]`: where clients come in, how they are known, and what they may make the host hold.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stoplog_serve::Limits;
use toml::Spanned;

use super::Source;
use crate::error::CliError;

/// Where the service listens if nobody says otherwise: for this machine alone.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Largest body that may be configured, in bytes: it is held whole.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;
/// Most of anything else that may be configured: more is a mistake.
const MAX_COUNT: u64 = 100_000;
/// Longest time for reading a request that may be configured, in seconds.
const MAX_READ_S: u64 = 600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    listen: Option<Spanned<String>>,
    auth: Option<Spanned<String>>,
    keys: Option<PathBuf>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    mcp: Option<bool>,
    body_bytes: Option<Spanned<u64>>,
    connections: Option<Spanned<u64>>,
    read_timeout_s: Option<Spanned<u64>>,
    at_work_per_tenant: Option<Spanned<u64>>,
    waiting_per_tenant: Option<Spanned<u64>>,
    runs_at_work: Option<Spanned<u64>>,
}

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// By their keys.
    Keys,
    /// Not at all.
    Nothing,
}

/// `[serve]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How callers are known.
    pub auth: Asked,
    /// The file of keys; `keys.json` in the data directory if there is none.
    pub keys: Option<PathBuf>,
    /// Names that requests may be addressed to, besides those of the address.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask.
    pub origins: Vec<String>,
    /// Whether clients may speak MCP at `/mcp`.
    pub mcp: bool,
    /// Bounds.
    pub limits: Limits,
    /// Runs at work at once, of all tenants.
    pub runs_at_work: usize,
}

impl Section {
    pub(super) fn check(self, source: &Source<'_>, base: &Path) -> Result<Service, CliError> {
        let default = Spanned::new(0..0, DEFAULT_LISTEN.to_owned());
        let listen = self.listen.unwrap_or(default);
        let address: SocketAddr = listen.get_ref().parse().map_err(|_| {
            let why = "listen must be an address and a port, such as 127.0.0.1:8080";
            source.at(&listen, why)
        })?;
        let auth = match &self.auth {
            None => Asked::Keys,
            Some(word) => match word.get_ref().as_str() {
                "keys" => Asked::Keys,
                "off" if address.ip().is_loopback() => Asked::Nothing,
                "off" => {
                    let why = "auth = \"off\" is for a loopback address: whoever reaches this one could act";
                    return Err(source.at(word, why));
                }
                _ => return Err(source.at(word, "auth must be \"keys\" or \"off\"")),
            },
        };
        let plain = Limits::default();
        let count = |name: &str, given: &Option<Spanned<u64>>, default: usize, max: u64| {
            let Some(given) = given else {
                return Ok(default);
            };
            match usize::try_from(*given.get_ref()) {
                Ok(n) if n >= 1 && *given.get_ref() <= max => Ok(n),
                _ => Err(source.at(given, format!("{name} must be 1 to {max}"))),
            }
        };
        let read_s = plain.read.as_secs() as usize;
        let read_s = count("read_timeout_s", &self.read_timeout_s, read_s, MAX_READ_S)?;
        let waiting = self.waiting_per_tenant.as_ref().map(|n| *n.get_ref());
        let limits = Limits {
            body_bytes: count(
                "body_bytes",
                &self.body_bytes,
                plain.body_bytes,
                MAX_BODY_BYTES,
            )?,
            connections: count(
                "connections",
                &self.connections,
                plain.connections,
                MAX_COUNT,
            )?,
            read: Duration::from_secs(read_s as u64),
            at_work: count(
                "at_work_per_tenant",
                &self.at_work_per_tenant,
                plain.at_work,
                MAX_COUNT,
            )?,
            waiting: match waiting {
                Some(0) => 0,
                _ => count(
                    "waiting_per_tenant",
                    &self.waiting_per_tenant,
                    plain.waiting,
                    MAX_COUNT,
                )?,
            },
            ..plain
        };
        Ok(Service {
            listen: address,
            auth,
            keys: self.keys.map(|keys| base.join(keys)),
            hosts: self.hosts,
            origins: self.origins,
            mcp: self.mcp.unwrap_or(true),
            limits,
            runs_at_work: count("runs_at_work", &self.runs_at_work, 16, MAX_COUNT)?,
        })
    }
}
