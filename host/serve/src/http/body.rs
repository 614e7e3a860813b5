//! Bodies: read within their bounds, and written.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stoplog_model::Reason;

use super::App;
use crate::limits::KEY_CHARS;
use crate::problem::Problem;

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let media = [(header::CONTENT_TYPE, "application/json")];
    (status, media, value.to_string()).into_response()
}

/// The body as what it should be. `{}` for none, where that is enough.
pub(super) async fn read<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Problem> {
    let limits = &app.settings.limits;
    let bytes = whole(body, limits.body_bytes, limits.read).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|e| {
        let detail = format!("the body cannot be read: {e}");
        Problem::new(Reason::RequestInvalid, detail)
    })
}

async fn whole(body: Body, limit: usize, within: Duration) -> Result<bytes::Bytes, Problem> {
    let read = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(within, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => {
            let detail = format!("the body is larger than {limit} bytes");
            Err(Problem::new(Reason::RequestTooLarge, detail))
        }
        Ok(Err(error)) => {
            let detail = format!("the body cannot be read: {error}");
            Err(Problem::new(Reason::RequestInvalid, detail))
        }
        Err(_) => {
            let detail = format!("the body did not come within {} s", within.as_secs());
            Err(Problem::new(Reason::RequestTimeout, detail))
        }
    }
}

fn is_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_it = error.is::<http_body_util::LengthLimitError>();
    is_it || error.source().is_some_and(is_limit)
}

/// The key of a request, from its header: a structured field string, or the bare text of one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').unwrap_or_default(),
        None => text,
    };
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    let good = (1..=KEY_CHARS).contains(&bare.len()) && bare.chars().all(is_plain);
    if good && all.next().is_none() {
        return Ok(Some(bare.to_owned()));
    }
    let detail = format!(
        "an idempotency key is one of 1 to {KEY_CHARS} visible characters, without \" and \\"
    );
    Err(Problem::new(Reason::IdempotencyKeyInvalid, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_text_in_quotes_or_without() {
        let of = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append("idempotency-key", text.parse().expect("a value"));
            }
            idempotency_key(&headers).map_err(|p| p.status)
        };
        assert_eq!(of(&[]), Ok(None));
        for text in ["abc-1", "\"abc-1\""] {
            assert_eq!(of(&[text]), Ok(Some("abc-1".into())), "{text}");
        }
        let long = "k".repeat(KEY_CHARS + 1);
        for bad in ["", "\"\"", "\"abc", "a b", "a\"b", long.as_str()] {
            assert_eq!(of(&[bad]), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        assert_eq!(of(&["a", "b"]), Err(StatusCode::BAD_REQUEST));
    }
}
