//! SHA-256 digests, and the canonical JSON that they are taken of.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(hex::encode(Sha256::digest(bytes)))
    }

    /// The digest of a domain and some parts, each behind a zero byte: no two lists of parts
    /// without zero bytes give the same input.
    pub fn of_parts(domain: &str, parts: &[&str]) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(domain.as_bytes());
        for part in parts {
            hasher.update([0]);
            hasher.update(part.as_bytes());
        }
        Digest(hex::encode(hasher.finalize()))
    }

    /// The digest of a JSON value in its RFC 8785 canonical form: neither white space nor the
    /// order of fields matters.
    pub fn of_json(value: &Value) -> Digest {
        Digest::of(canonical_json(value).as_bytes())
    }

    /// 64 lower-case hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: for people, never for comparing.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // The digits were checked when the value was made.
        let _ = hex::decode_to_slice(&self.0, &mut bytes);
        bytes
    }
}

/// SHA-256 over a domain and some parts, each behind its length in eight bytes: no two lists of
/// parts give the same input, whatever bytes are in them.
pub fn sha256(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let good = text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good {
            Ok(Digest(text))
        } else {
            Err(format!(
                "`{text}` is not a SHA-256 digest in lower-case hex"
            ))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 8785 canonical JSON.
pub fn canonical_json(value: &Value) -> String {
    // A `Value` has string keys and finite numbers only, so this cannot fail; should the crate
    // ever say otherwise, the plain form is still a function of the value.
    serde_json_canonicalizer::to_string(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_fields_does_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b": 1, "a": [1.0, "x"]}"#).expect("json");
        let b: Value = serde_json::from_str(r#"{ "a":[1, "x"],"b":1}"#).expect("json");
        assert_eq!(Digest::of_json(&a), Digest::of_json(&b));
        assert_ne!(
            Digest::of_json(&a),
            Digest::of_json(&json!({"b": 2, "a": [1, "x"]}))
        );
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(
            Digest::of_parts("d", &["a", "b"]),
            Digest::of_parts("d", &["ab"])
        );
    }
}
