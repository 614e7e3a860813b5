//! The way to a model provider. The operator configured it, guests cannot reach it.
//!
//! Invariants:
//!
//! * No redirect is followed, and nothing is repeated here: the caller decides, and counts its
//!   attempts.
//! * The API key is in no error, no `Debug` and no answer: every line of an answer is looked
//!   through before it is handed over, and a key has no line end in it.
//! * An answer ends in time, whoever drips bytes: in all, and between two pieces.

mod lines;

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::Egress;
use crate::limits::MAX_RESPONSE_BYTES;
use crate::scrub::Scrubber;
use crate::transport::{Destination, Lost, Parcel, Pieces};
use lines::Lines;

/// What stands where the key would, in an answer that gives it back.
const KEY_NAME: &str = "api_key";

/// A key to a provider. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key, as the provider gave it out; white space around it is dropped.
    pub fn new(key: impl Into<String>) -> ApiKey {
        ApiKey(key.into().trim().to_owned())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For all of it.
    pub whole: Duration,
    /// For its head, and for each piece behind the one before.
    pub idle: Duration,
}

/// One provider.
#[derive(Clone)]
pub struct Provider {
    egress: Egress,
    base_url: Url,
    key: Option<(HeaderName, &'static str, ApiKey)>,
}

/// No answer came, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It did not leave the host.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It left, or may have.
    #[error("unanswered: {0}")]
    Unanswered(String),
}

impl Egress {
    /// A provider at this URL, for instance `https://api.openai.com/v1`.
    pub fn provider(&self, base_url: Url) -> Provider {
        Provider {
            egress: self.clone(),
            base_url,
            key: None,
        }
    }
}

impl Provider {
    /// The same, with `Authorization: Bearer KEY` in each request.
    pub fn with_bearer(mut self, key: ApiKey) -> Provider {
        self.key = Some((AUTHORIZATION, "Bearer ", key));
        self
    }

    /// The same, with the key in a header of its own, such as `x-api-key`, in lower case.
    pub fn with_key_header(mut self, name: &'static str, key: ApiKey) -> Provider {
        self.key = Some((HeaderName::from_static(name), "", key));
        self
    }

    /// Where it is.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Posts a JSON body to a path below the base URL, which may have a query, and comes back with
    /// the head of the answer.
    ///
    /// # Errors
    /// [`ProviderError`], which says whether the request left.
    pub async fn post_json(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: &Value,
        patience: Patience,
    ) -> Result<ProviderAnswer, ProviderError> {
        let parcel = Parcel {
            method: "POST".to_owned(),
            url: self.url(path)?,
            headers: self.headers(headers)?,
            body: Some(body.to_string().into_bytes()),
            to: Destination::Name,
        };
        self.open(parcel, patience).await
    }

    /// Gets a path below the base URL: for asking a service how it is.
    ///
    /// # Errors
    /// [`ProviderError`], as above.
    pub async fn get(
        &self,
        path: &str,
        patience: Patience,
    ) -> Result<ProviderAnswer, ProviderError> {
        let parcel = Parcel {
            method: "GET".to_owned(),
            url: self.url(path)?,
            headers: self.headers(&[])?,
            body: None,
            to: Destination::Name,
        };
        self.open(parcel, patience).await
    }

    async fn open(
        &self,
        parcel: Parcel,
        patience: Patience,
    ) -> Result<ProviderAnswer, ProviderError> {
        let scrubber = match &self.key {
            Some((_, _, ApiKey(key))) => Scrubber::of_value(KEY_NAME, key),
            None => Scrubber::of_value(KEY_NAME, ""),
        };
        let due = Instant::now() + patience.whole;
        let first = patience.whole.min(patience.idle);
        let opened = match tokio::time::timeout(first, self.egress.inner.transport.open(parcel))
            .await
        {
            Ok(Ok(opened)) => opened,
            Ok(Err(Lost::Early(why))) => return Err(ProviderError::NotSent(scrubber.text(&why))),
            Ok(Err(Lost::Late(why))) => {
                return Err(ProviderError::Unanswered(scrubber.text(&why)));
            }
            Err(_) => {
                let why = format!("no answer within {} ms", first.as_millis());
                return Err(ProviderError::Unanswered(why));
            }
        };
        let named = |(name, value): (String, String)| (name, scrubber.text(&value));
        Ok(ProviderAnswer {
            status: opened.status,
            headers: opened.headers.into_iter().map(named).collect(),
            body: opened.body,
            lines: Lines::default(),
            received: 0,
            due,
            patience,
            scrubber,
        })
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        if !matches!(self.base_url.scheme(), "http" | "https") {
            return Err(ProviderError::NotSent(format!(
                "`{}` is not an http or https URL",
                self.base_url
            )));
        }
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        if query.is_some() {
            url.set_query(query);
        }
        Ok(url)
    }

    fn headers(&self, given: &[(String, String)]) -> Result<HeaderMap, ProviderError> {
        let broken =
            |name: &str| ProviderError::NotSent(format!("the header `{name}` cannot be written"));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in given {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken(name))?;
            let value = HeaderValue::from_str(value).map_err(|_| broken(name))?;
            headers.insert(key, value);
        }
        if let Some((name, before, ApiKey(key))) = &self.key {
            let mut value = HeaderValue::from_str(&format!("{before}{key}"))
                .map_err(|_| broken(name.as_str()))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// An answer of a provider, whatever its status, whose body is still coming.
pub struct ProviderAnswer {
    /// HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Box<dyn Pieces>,
    lines: Lines,
    received: usize,
    due: Instant,
    patience: Patience,
    scrubber: Scrubber,
}

impl ProviderAnswer {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next line of the body without its end; none behind the last.
    ///
    /// # Errors
    /// [`ProviderError::Unanswered`] when the body breaks off, takes too long or is too large.
    pub async fn line(&mut self) -> Result<Option<String>, ProviderError> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(Some(self.seen(line)));
            }
            match self.piece().await? {
                Some(piece) => self.lines.push(&piece),
                None => return Ok(self.lines.rest().map(|line| self.seen(line))),
            }
        }
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// [`ProviderError::Unanswered`], as above.
    pub async fn text(mut self) -> Result<String, ProviderError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(self.seen(body))
    }

    fn seen(&self, bytes: Vec<u8>) -> String {
        self.scrubber.text(&String::from_utf8_lossy(&bytes))
    }

    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ProviderError> {
        let late = |why: String| Err(ProviderError::Unanswered(why));
        let now = Instant::now();
        let until = self.due.min(now + self.patience.idle);
        match tokio::time::timeout_at(until, self.body.next()).await {
            Err(_) if until == self.due => late(format!(
                "no whole answer within {} ms",
                self.patience.whole.as_millis()
            )),
            Err(_) => late(format!(
                "status {} came, and then nothing for {} ms",
                self.status,
                self.patience.idle.as_millis()
            )),
            Ok(Err(Lost::Early(why) | Lost::Late(why))) => late(format!(
                "status {} came, but its body did not: {}",
                self.status,
                self.scrubber.text(&why)
            )),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(piece))) => {
                self.received += piece.len();
                match self.received {
                    0..=MAX_RESPONSE_BYTES => Ok(Some(piece)),
                    _ => late(format!("it has more than {MAX_RESPONSE_BYTES} bytes")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
