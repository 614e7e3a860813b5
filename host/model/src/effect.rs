//! Requests that leave on behalf of a call, and what came of them.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reason::Reason;

/// A request as the guest made it: secrets are still placeholders, the key header is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Upper-case method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    #[serde(with = "body_text")]
    pub body: Vec<u8>,
}

impl Request {
    /// What must be the same when a call is run again: method, URL and body. Headers are left
    /// out: HTTP libraries put their own version into them, and a host upgrade between crash and
    /// resume must not park the call.
    pub fn fingerprint(&self) -> Digest {
        Digest::of_parts(
            "stoplog/request1",
            &[&self.method, &self.url, Digest::of(&self.body).as_str()],
        )
    }

    /// The path of the URL without its query, for labels and messages.
    pub fn path(&self) -> &str {
        let after_scheme = self.url.find("://").map_or(0, |i| i + 3);
        let rest = &self.url[after_scheme..];
        let path = rest.find('/').map_or("/", |i| &rest[i..]);
        path.split(['?', '#']).next().unwrap_or("/")
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    #[serde(with = "body_text")]
    pub body: Vec<u8>,
}

/// Why a request has no answer (`effects.effect-error` of the contract).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum EffectError {
    /// The gate did not let it out: nothing happened.
    #[error("denied ({reason}): {detail}")]
    Denied {
        /// Which rule.
        reason: Reason,
        /// What of the request breaks it.
        detail: String,
    },
    /// It did not leave the host: nothing happened.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It left, or may have left: in doubt.
    #[error("unanswered: {0}")]
    Unanswered(String),
}

impl EffectError {
    /// Denied, by this rule.
    pub fn denied(reason: Reason, detail: impl Into<String>) -> EffectError {
        EffectError::Denied {
            reason,
            detail: detail.into(),
        }
    }
}

/// What came of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came", rename_all = "snake_case")]
pub enum Outcome {
    /// An answer came.
    Answered {
        /// The answer, as the guest got it.
        response: Response,
    },
    /// It did not leave.
    NotSent {
        /// Why not.
        why: String,
    },
    /// It left, or may have, and no answer came.
    Unanswered {
        /// What happened instead.
        why: String,
    },
}

impl Outcome {
    /// What the guest gets.
    pub fn result(&self) -> Result<Response, EffectError> {
        match self {
            Outcome::Answered { response } => Ok(response.clone()),
            Outcome::NotSent { why } => Err(EffectError::NotSent(why.clone())),
            Outcome::Unanswered { why } => Err(EffectError::Unanswered(why.clone())),
        }
    }
}

/// Bytes as text where they are UTF-8, else as hex behind a marker: bodies stay readable in the
/// journal, and every byte survives.
pub(crate) mod body_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Body {
        Text(String),
        Hex { hex: String },
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Body::Text(text.to_owned()),
            Err(_) => Body::Hex {
                hex: hex::encode(bytes),
            },
        }
        .serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        match Body::deserialize(d)? {
            Body::Text(text) => Ok(text.into_bytes()),
            Body::Hex { hex } => hex::decode(hex).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_the_journal_byte_for_byte() {
        for body in [&b"{\"a\": 1}"[..], b"", b"\xff\x00\xfe"] {
            let response = Response {
                status: 200,
                headers: vec![],
                body: body.to_vec(),
            };
            let text = serde_json::to_string(&response).expect("json");
            assert_eq!(
                serde_json::from_str::<Response>(&text).expect("json"),
                response
            );
        }
    }

    #[test]
    fn the_path_has_no_query() {
        let request = Request {
            method: "GET".into(),
            url: "http://a.b/c/d?e=f#g".into(),
            headers: vec![],
            body: vec![],
        };
        assert_eq!(request.path(), "/c/d");
    }
}
