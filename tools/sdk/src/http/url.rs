//! URLs: percent-encoding, and the three parts that `wasi:http` asks for.

use std::fmt::{Display, Write as _};

/// Percent-encodes a text for one path segment or query value: everything but letters, digits and
/// `-._~` (RFC 3986, 2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The URL with query parameters behind those it has, names and values percent-encoded.
pub fn with_query(url: &str, query: &[(&str, &dyn Display)]) -> String {
    let (base, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let mut joined = base.to_owned();
    let mut separator = match base.find('?') {
        None => "?",
        Some(at) if at + 1 == base.len() || base.ends_with('&') => "",
        Some(_) => "&",
    };
    for (name, value) in query {
        joined.push_str(separator);
        joined.push_str(&encode(name));
        joined.push('=');
        joined.push_str(&encode(&value.to_string()));
        separator = "&";
    }
    joined.push_str(fragment);
    joined
}

/// A URL as `wasi:http` takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    pub(super) https: bool,
    pub(super) authority: &'a str,
    pub(super) path_with_query: String,
}

/// Takes a URL apart; `None` unless it is an absolute `http` or `https` URL. The host checks the
/// rest.
pub(super) fn split(url: &str) -> Option<Split<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return None;
    }
    let path_with_query = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Some(Split {
        https,
        authority,
        path_with_query,
    })
}
