//! Secrets: values that a guest names and never sees.
//!
//! A guest writes `{{secret:NAME}}` into a header value, the path, the query or the body. The
//! journal holds the placeholder; the value is put in when the request is sent, and only then.
//!
//! Invariants:
//!
//! * One pass: a value that looks like a placeholder is not expanded again.
//! * In a URL the value is percent-encoded down to letters, digits and `-._~`, so it can neither
//!   end the path nor start a query.
//! * A value has no control characters, so it cannot end a header.
//! * `Debug` prints names.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::EgressError;
use crate::limits::MIN_SECRET_BYTES;

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";
/// The same in a path, where the `url` crate encodes braces.
const OPEN_ENCODED: &[u8] = b"%7B%7Bsecret:";
const CLOSE_ENCODED: &[u8] = b"%7D%7D";

/// Names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: BTreeMap<String, String>,
}

impl Secrets {
    /// None yet.
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// Binds a name to a value.
    ///
    /// # Errors
    /// [`EgressError::Secret`] when the name has other characters than letters, digits, `_`, `-`
    /// and `.`, or the value is shorter than [`MIN_SECRET_BYTES`], has control characters, or
    /// consists of dots.
    pub fn bind(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), EgressError> {
        let (name, value) = (name.into(), value.into());
        let why = if !is_name(name.as_bytes()) {
            Some("a name has letters, digits, `_`, `-` and `.` only")
        } else if value.len() < MIN_SECRET_BYTES {
            Some("the value has fewer than 4 bytes: is the variable empty?")
        } else if value.chars().any(char::is_control) {
            Some("the value has a control character: is there a line break at its end?")
        } else if value.bytes().all(|b| b == b'.') {
            Some("the value consists of dots")
        } else {
            None
        };
        match why {
            Some(why) => Err(EgressError::Secret { name, why }),
            None => {
                self.values.insert(name, value);
                Ok(())
            }
        }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A header value or a body with its placeholders filled.
    pub(crate) fn fill(&self, text: &[u8]) -> Vec<u8> {
        replace(text, OPEN, CLOSE, |name| {
            self.value(name).map(str::to_owned)
        })
    }

    /// Path and query with their placeholders filled.
    pub(crate) fn fill_url(&self, path_and_query: &str) -> String {
        let encoded = |name: &str| self.value(name).map(percent_encode);
        let once = replace(path_and_query.as_bytes(), OPEN, CLOSE, encoded);
        let twice = replace(&once, OPEN_ENCODED, CLOSE_ENCODED, encoded);
        // Both sides are ASCII: a parsed URL, and what was percent-encoded.
        String::from_utf8_lossy(&twice).into_owned()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// The names in a header value or a body; an error names a placeholder that is not one.
pub(crate) fn placeholders(text: &[u8]) -> Result<Vec<String>, String> {
    scan(text, OPEN, CLOSE)
}

/// The names in a URL.
pub(crate) fn url_placeholders(url: &str) -> Result<Vec<String>, String> {
    let mut names = scan(url.as_bytes(), OPEN, CLOSE)?;
    names.extend(scan(url.as_bytes(), OPEN_ENCODED, CLOSE_ENCODED)?);
    Ok(names)
}

fn scan(text: &[u8], open: &[u8], close: &[u8]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, open) {
        rest = &rest[at + open.len()..];
        let name = find(rest, close)
            .map(|end| &rest[..end])
            .filter(|name| is_name(name))
            .ok_or(
                "a placeholder is {{secret:NAME}}, the name of letters, digits, `_`, `-`, `.`",
            )?;
        names.push(String::from_utf8_lossy(name).into_owned());
        rest = &rest[name.len() + close.len()..];
    }
    Ok(names)
}

fn replace(
    text: &[u8],
    open: &[u8],
    close: &[u8],
    value: impl Fn(&str) -> Option<String>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, open) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let inside = &from[open.len()..];
        let filled = find(inside, close).and_then(|end| {
            let name = std::str::from_utf8(&inside[..end]).ok()?;
            Some((value(name)?, end))
        });
        match filled {
            Some((value, end)) => {
                out.extend_from_slice(value.as_bytes());
                rest = &inside[end + close.len()..];
            }
            None => {
                out.extend_from_slice(open);
                rest = inside;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The place of a needle in a text.
pub(crate) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}

/// All but letters, digits and `-._~` as `%XX`.
pub(crate) fn percent_encode(value: &str) -> String {
    value
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> Secrets {
        let mut secrets = Secrets::new();
        secrets
            .bind("TOKEN", "a/b?c{{secret:TOKEN}}")
            .expect("bind");
        secrets
    }

    #[test]
    fn a_value_is_put_in_once() {
        assert_eq!(
            bound().fill(b"Bearer {{secret:TOKEN}}, {{secret:OTHER}} {{"),
            b"Bearer a/b?c{{secret:TOKEN}}, {{secret:OTHER}} {{"
        );
        assert_eq!(
            bound().fill_url("/bot%7B%7Bsecret:TOKEN%7D%7D/send?k={{secret:TOKEN}}"),
            "/bota%2Fb%3Fc%7B%7Bsecret%3ATOKEN%7D%7D/send?k=a%2Fb%3Fc%7B%7Bsecret%3ATOKEN%7D%7D"
        );
    }

    #[test]
    fn debug_prints_names_only() {
        assert_eq!(format!("{:?}", bound()), r#"{"TOKEN"}"#);
    }

    #[test]
    fn a_placeholder_is_whole_or_an_error() {
        assert_eq!(
            placeholders(b"x {{secret:A}}{{secret:B}}"),
            Ok(vec!["A".into(), "B".into()])
        );
        for bad in ["{{secret:}}", "{{secret:A", "{{secret:a b}}"] {
            assert!(placeholders(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_that_would_break_a_header_is_not_bound() {
        for bad in ["", "abc", "value\r\nx: y", "....", "value\n"] {
            assert!(Secrets::new().bind("A", bad).is_err(), "{bad:?}");
        }
        assert!(Secrets::new().bind("A}}", "value").is_err());
    }
}
