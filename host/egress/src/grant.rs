//! What the operator lets a tool reach: origin, path prefix, methods.
//!
//! Invariants:
//!
//! * Both sides are compared in the normal form of the `url` crate (WHATWG): case, default
//!   ports, `..`, `%2e`, backslashes and odd spellings of IP addresses are gone.
//! * A prefix matches whole segments: `/v1` covers `/v1` and `/v1/x`, never `/v1evil`.
//! * A path that means something outside the prefix after one more decoding by the far side
//!   (`%2f`, `%252e`, `..;`) is not covered.

use std::fmt;
use std::net::SocketAddr;

use url::Url;

use crate::error::EgressError;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// Lower-case name, or address; IPv6 in brackets.
    pub host: String,
    /// The port, also where it is the default of the scheme.
    pub port: u16,
}

impl Origin {
    /// The origin of an absolute http or https URL.
    pub fn of(url: &Url) -> Option<Origin> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Origin {
            scheme: url.scheme().to_owned(),
            host: url.host_str().filter(|host| !host.is_empty())?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// The text of a `Host` header.
    pub(crate) fn authority(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("http", 80) | ("https", 443) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

/// One line of what a tool may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Starts with `/`; covers whole segments.
    pub path_prefix: String,
    /// Methods, or all that the class of the tool may use.
    pub methods: Option<Vec<String>>,
    /// Whether a private address is meant.
    pub allow_private: bool,
    connect: Option<SocketAddr>,
}

impl Grant {
    /// Reads `https://api.example.com/v1/`. A URL without a path grants the whole origin.
    ///
    /// # Errors
    /// [`EgressError::Grant`] when it is not an absolute http or https URL, or has user info, a
    /// query, a fragment or a wildcard.
    pub fn parse(text: &str) -> Result<Grant, EgressError> {
        let refuse = |why: String| EgressError::Grant {
            given: text.to_owned(),
            why,
        };
        let url = Url::parse(text)
            .map_err(|e| refuse(format!("{e}; write it like https://api.example.com/v1/")))?;
        let origin = Origin::of(&url)
            .ok_or_else(|| refuse("only http and https origins can be granted".to_owned()))?;
        if has_user_info(&url) {
            return Err(refuse(
                "leave out the user info: bind a secret for it".to_owned(),
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse(
                "leave out query and fragment: a grant ends with its path".to_owned(),
            ));
        }
        if text.contains('*') {
            return Err(refuse(
                "wildcards are not known: name each origin".to_owned(),
            ));
        }
        if slips_out(url.path()) {
            return Err(refuse(
                "the path has encoded slashes or dots: write it plainly".to_owned(),
            ));
        }
        Ok(Grant {
            origin,
            path_prefix: url.path().to_owned(),
            methods: None,
            allow_private: false,
            connect: None,
        })
    }

    /// The same, for these methods only.
    pub fn with_methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Grant {
        let upper = methods.into_iter().map(|m| m.into().to_ascii_uppercase());
        self.methods = Some(upper.collect());
        self
    }

    /// The same, for a name or address that is private.
    pub fn with_private(mut self) -> Grant {
        self.allow_private = true;
        self
    }

    /// The same, connected to this address whatever the name says, like a line in `/etc/hosts`
    /// with a port. It counts as granted private.
    ///
    /// # Errors
    /// [`EgressError::Grant`] for an https origin: nobody could check the name any more.
    pub fn with_connect(mut self, address: SocketAddr) -> Result<Grant, EgressError> {
        if self.origin.is_tls() {
            return Err(EgressError::Grant {
                given: self.to_string(),
                why: format!("`connect = {address}` is for http origins only"),
            });
        }
        self.connect = Some(address);
        Ok(self)
    }

    /// The address that stands in for the name.
    pub fn connect(&self) -> Option<SocketAddr> {
        // The origin is a public field: an https origin put in later must not be redirected.
        self.connect.filter(|_| !self.origin.is_tls())
    }

    /// Whether origin and path are covered.
    pub(crate) fn covers(&self, origin: &Origin, path: &str) -> bool {
        self.origin == *origin && self.covers_path(path)
    }

    fn covers_path(&self, path: &str) -> bool {
        let prefix = self.path_prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return true;
        }
        !slips_out(path)
            && path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the method is covered.
    pub(crate) fn covers_method(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.iter().any(|m| m.eq_ignore_ascii_case(method)))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path_prefix)
    }
}

pub(crate) fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Times that a path is decoded while looking for dots: what proxies and servers do among them.
const MAX_DECODINGS: usize = 4;

/// Whether a path, decoded as often as a chain of proxies might do it, has a segment that leads
/// upwards. `..;x` counts: some servers cut off what is behind the semicolon.
fn slips_out(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..MAX_DECODINGS {
        let upwards = bytes
            .split(|b| matches!(b, b'/' | b'\\'))
            .map(|segment| segment.split(|b| *b == b';').next().unwrap_or(segment))
            .any(|name| matches!(name, b"." | b".."));
        if upwards {
            return true;
        }
        let decoded = decode(&bytes);
        if decoded == bytes {
            return false;
        }
        bytes = decoded;
    }
    // Still encoded after so many rounds: nobody writes that by accident.
    true
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1).zip(bytes.get(at + 2));
        let digits = pair.and_then(|(a, b)| {
            let high = char::from(*a).to_digit(16)?;
            let low = char::from(*b).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        });
        match digits {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
