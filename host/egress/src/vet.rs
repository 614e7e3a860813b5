//! The check of a guest's request. Nothing has left when it says no.
//!
//! Invariants:
//!
//! * [`Vetted`] exists only through [`Egress::vet`], is not `Clone`, and keeps the addresses that
//!   were checked: they are the only ones that will be connected to.
//! * If one address of a name is private, the name is refused, also when others are public: which
//!   one is taken would be chance.
//! * A name that is granted as private is still never a metadata service: that needs a grant of the
//!   address itself.
//! * The most specific grant that covers origin, path and method counts.
//!
//! What may go wrong: the name does not resolve, or too slowly. That is `NotSent`.

use std::net::{IpAddr, SocketAddr};

use stoplog_model::class::is_safe_method;
use stoplog_model::{EffectError, Reason, Request};
use url::{Host, Url};

use crate::Egress;
use crate::address::{is_metadata, private_network};
use crate::grant::{Grant, Origin, has_user_info};
use crate::limits::{
    MAX_HEADER_BYTES, MAX_HEADERS, MAX_REQUEST_BYTES, MAX_URL_BYTES, RESOLVE_TIMEOUT,
};
use crate::secret::{placeholders, url_placeholders};

/// Headers that the host alone writes, in lower case. The method overrides are among them because a
/// GET of a read tool must not turn into a DELETE, and those of the URL because a grant ends with
/// its path.
const RESERVED: [&str; 17] = [
    "host",
    "idempotency-key",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "http2-settings",
    "forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Beginnings of such names.
const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "x-forwarded-"];

/// Whether a header belongs to the host. CGI, WSGI and others read `_` as `-`: a far side would
/// take `Idempotency_Key` for the key.
fn is_reserved(lower: &str) -> bool {
    let dashed = lower.replace('_', "-");
    RESERVED.contains(&dashed.as_str()) || RESERVED_PREFIXES.iter().any(|p| dashed.starts_with(p))
}

/// A request that may leave: once, to the addresses that were checked.
#[derive(Debug)]
pub struct Vetted {
    pub(crate) request: Request,
    pub(crate) url: Url,
    pub(crate) origin: Origin,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Names of the secrets in it.
    pub(crate) secrets: Vec<String>,
    /// Names of all secrets that its tool may use: they are taken out of the answer.
    pub(crate) scrubbed: Vec<String>,
}

impl Vetted {
    /// Whether its method changes nothing (RFC 9110, section 9.2.1).
    pub fn is_safe(&self) -> bool {
        is_safe_method(&self.request.method)
    }

    /// The request as one that needs no intent; back again if it does.
    pub fn into_safe(self) -> Result<SafeRequest, Vetted> {
        if self.is_safe() {
            Ok(SafeRequest(self))
        } else {
            Err(self)
        }
    }

    /// The request, placeholders not yet replaced.
    pub fn request(&self) -> &Request {
        &self.request
    }
}

/// A vetted request with a safe method.
#[derive(Debug)]
pub struct SafeRequest(pub(crate) Vetted);

impl SafeRequest {
    /// The request, placeholders not yet replaced.
    pub fn request(&self) -> &Request {
        &self.0.request
    }
}

impl Egress {
    /// Checks a guest's request against what its tool was granted, and resolves its name.
    ///
    /// # Errors
    /// [`EffectError::Denied`] with the rule that it breaks, or [`EffectError::NotSent`] when the
    /// name does not resolve.
    pub async fn vet(
        &self,
        request: &Request,
        grants: &[Grant],
        allowed_secrets: &[String],
    ) -> Result<Vetted, EffectError> {
        let url = check_url(&request.url)?;
        check_headers(&request.headers)?;
        if request.body.len() > MAX_REQUEST_BYTES {
            return Err(EffectError::denied(
                Reason::RequestLimit,
                format!(
                    "the body has {} bytes, and {MAX_REQUEST_BYTES} may leave",
                    request.body.len()
                ),
            ));
        }
        let origin = Origin::of(&url).ok_or_else(|| no_origin(&url))?;
        let grant = granted(grants, &origin, &url, &request.method)?;
        let secrets = self.check_secrets(request, &url, allowed_secrets)?;
        let addresses = self.addresses(&url, &origin, grant).await?;
        Ok(Vetted {
            request: request.clone(),
            url,
            origin,
            addresses,
            secrets,
            scrubbed: allowed_secrets.to_vec(),
        })
    }

    fn check_secrets(
        &self,
        request: &Request,
        url: &Url,
        allowed: &[String],
    ) -> Result<Vec<String>, EffectError> {
        let denied = |detail| EffectError::denied(Reason::SecretMissing, detail);
        let mut names = url_placeholders(url.as_str()).map_err(denied)?;
        for (_, value) in &request.headers {
            names.extend(placeholders(value.as_bytes()).map_err(denied)?);
        }
        names.extend(placeholders(&request.body).map_err(denied)?);
        names.sort();
        names.dedup();
        for name in &names {
            if !allowed.contains(name) {
                return Err(denied(format!("the tool may not use the secret `{name}`")));
            }
            if self.inner.secrets.value(name).is_none() {
                return Err(denied(format!("the secret `{name}` is not bound")));
            }
        }
        Ok(names)
    }

    async fn addresses(
        &self,
        url: &Url,
        origin: &Origin,
        grant: &Grant,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        if let Some(instead) = grant.connect() {
            return Ok(vec![instead]);
        }
        let found = match url.host() {
            Some(Host::Ipv4(address)) => vec![IpAddr::V4(address)],
            Some(Host::Ipv6(address)) => vec![IpAddr::V6(address)],
            Some(Host::Domain(name)) => self.resolve(name).await?,
            None => return Err(no_origin(url)),
        };
        let is_name = matches!(url.host(), Some(Host::Domain(_)));
        for address in &found {
            if let Some(network) = private_network(*address) {
                let is_meant = grant.allow_private && !(is_name && is_metadata(*address));
                if !is_meant {
                    return Err(EffectError::denied(
                        Reason::AddressPrivate,
                        format!("{} is at {address} ({network})", origin.host),
                    ));
                }
            }
        }
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            let address = SocketAddr::new(address, origin.port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, EffectError> {
        let asked = self.inner.resolver.resolve(name);
        match tokio::time::timeout(RESOLVE_TIMEOUT, asked).await {
            Ok(Ok(found)) if !found.is_empty() => Ok(found),
            Ok(Ok(_)) => Err(EffectError::NotSent(format!(
                "the name {name} has no address"
            ))),
            Ok(Err(e)) => Err(EffectError::NotSent(format!(
                "the name {name} does not resolve: {e}"
            ))),
            Err(_) => Err(EffectError::NotSent(format!(
                "the name {name} did not resolve within {} s",
                RESOLVE_TIMEOUT.as_secs()
            ))),
        }
    }
}

fn no_origin(url: &Url) -> EffectError {
    EffectError::denied(
        Reason::UrlInvalid,
        format!("`{}` is not an http or https URL with a host", url.scheme()),
    )
}

fn check_url(text: &str) -> Result<Url, EffectError> {
    let invalid = |detail: String| EffectError::denied(Reason::UrlInvalid, detail);
    if text.len() > MAX_URL_BYTES {
        return Err(EffectError::denied(
            Reason::RequestLimit,
            format!(
                "the URL has {} bytes, and {MAX_URL_BYTES} may leave",
                text.len()
            ),
        ));
    }
    // The parser drops tabs and line breaks silently; what was checked must be what was written.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid(
            "the URL has white space or control characters".to_owned(),
        ));
    }
    let mut url = Url::parse(text).map_err(|e| invalid(format!("the URL is not one: {e}")))?;
    if has_user_info(&url) {
        return Err(invalid("the URL has user info".to_owned()));
    }
    url.set_fragment(None);
    Ok(url)
}

fn check_headers(headers: &[(String, String)]) -> Result<(), EffectError> {
    if headers.len() > MAX_HEADERS {
        return Err(EffectError::denied(
            Reason::RequestLimit,
            format!(
                "the request has {} headers, and {MAX_HEADERS} may leave",
                headers.len()
            ),
        ));
    }
    let reserved = |detail: String| EffectError::denied(Reason::HeaderReserved, detail);
    for (name, value) in headers {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(reserved(format!("`{name:?}` is not the name of a header")));
        }
        let lower = name.to_ascii_lowercase();
        if is_reserved(&lower) {
            return Err(reserved(format!(
                "the header `{lower}` belongs to the host"
            )));
        }
        if http::HeaderValue::from_bytes(value.as_bytes()).is_err() {
            return Err(reserved(format!(
                "the value of the header `{lower}` has a control character"
            )));
        }
        if name.len() + value.len() > MAX_HEADER_BYTES {
            return Err(EffectError::denied(
                Reason::RequestLimit,
                format!("the header `{lower}` has more than {MAX_HEADER_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

fn granted<'a>(
    grants: &'a [Grant],
    origin: &Origin,
    url: &Url,
    method: &str,
) -> Result<&'a Grant, EffectError> {
    let is_word = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if !is_word || matches!(method, "CONNECT" | "TRACE") {
        return Err(EffectError::denied(
            Reason::MethodRefused,
            format!("the method `{}` is never let out", method.escape_debug()),
        ));
    }
    let mut reached = false;
    let mut best: Option<&Grant> = None;
    for grant in grants.iter().filter(|g| g.covers(origin, url.path())) {
        reached = true;
        let more_specific = best.is_none_or(|b| grant.path_prefix.len() > b.path_prefix.len());
        if grant.covers_method(method) && more_specific {
            best = Some(grant);
        }
    }
    best.ok_or_else(|| {
        if reached {
            EffectError::denied(
                Reason::MethodRefused,
                format!("{method} is not granted for {origin}{}", url.path()),
            )
        } else {
            EffectError::denied(
                Reason::OriginNotGranted,
                format!("{origin}{} is not granted", url.path()),
            )
        }
    })
}

#[cfg(test)]
mod tests;
