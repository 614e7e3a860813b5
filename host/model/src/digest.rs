//! SHA-256 digests, and the canonical JSON that they are taken of.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
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

/// Whole numbers as integers: `1.0` and `1e0` are `1`, as RFC 8785 has it. JSON Schema takes them for
/// integers too, and readers of integers often do not, so they are made one before anybody looks.
pub fn canonical_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonical_numbers),
        Value::Object(fields) => fields.values_mut().for_each(canonical_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer that a number is, if it is not written as one and is one of 64 bits.
fn whole(number: &Number) -> Option<Number> {
    if !number.is_f64() {
        return None;
    }
    let float = number.as_f64().filter(|f| f.fract() == 0.0)?;
    // The bounds are powers of two, so the comparison is exact; inside of them, so is the cast.
    match float {
        f if (-9_223_372_036_854_775_808.0..0.0).contains(&f) => Some((f as i64).into()),
        f if (0.0..18_446_744_073_709_551_616.0).contains(&f) => Some((f as u64).into()),
        _ => None,
    }
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
    fn whole_numbers_are_integers_and_keep_their_digest() {
        for (written, expected) in [
            ("1.0", "1"),
            ("-2.0", "-2"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("1.5", "1.5"),
            ("18446744073709549568.0", "18446744073709549568"),
            ("18446744073709551616.0", "1.8446744073709552e+19"),
            ("-9223372036854775808.0", "-9223372036854775808"),
            ("9007199254740993", "9007199254740993"),
            (
                r#"{"a":[1.0,"1.0",{"b":2.0}]}"#,
                r#"{"a":[1,"1.0",{"b":2}]}"#,
            ),
        ] {
            let before: Value = serde_json::from_str(written).expect("json");
            let mut value = before.clone();
            canonical_numbers(&mut value);
            assert_eq!(value.to_string(), expected, "{written}");
            assert_eq!(
                Digest::of_json(&value),
                Digest::of_json(&before),
                "{written}"
            );
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(
            Digest::of_parts("d", &["a", "b"]),
            Digest::of_parts("d", &["ab"])
        );
    }
}
