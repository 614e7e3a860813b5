//! The way to a model provider. The operator configured it, guests cannot reach it.
//!
//! Invariants: no redirect is followed, nothing is repeated here (the caller decides, and counts
//! its attempts), and the API key is in no error and no `Debug`.

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use crate::Egress;
use crate::scrub::Scrubber;
use crate::transport::{Destination, Lost, Parcel};

/// A key to a provider. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key, as the provider gave it out; white space around it is dropped.
    pub fn new(key: impl Into<String>) -> ApiKey {
        ApiKey(key.into().trim().to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// One provider.
#[derive(Clone)]
pub struct Provider {
    egress: Egress,
    base_url: Url,
    key: Option<ApiKey>,
}

/// An answer of a provider, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderResponse {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text; JSON as a rule, but a proxy's error page is not.
    pub body: String,
}

impl ProviderResponse {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// No answer came.
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
        self.key = Some(key);
        self
    }

    /// Where it is.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Posts a JSON body to a path below the base URL, and waits for the whole answer.
    ///
    /// # Errors
    /// [`ProviderError`], which says whether the request left.
    pub async fn post_json(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: &Value,
        deadline: Duration,
    ) -> Result<ProviderResponse, ProviderError> {
        let sent = self.exchange(path, headers, body);
        let result = match tokio::time::timeout(deadline, sent).await {
            Ok(result) => result,
            Err(_) => Err(ProviderError::Unanswered(format!(
                "no whole answer within {} ms",
                deadline.as_millis()
            ))),
        };
        let Some(ApiKey(key)) = &self.key else {
            return result;
        };
        let scrubber = Scrubber::of_value("api_key", key);
        match result {
            Ok(mut answer) => {
                answer.body = scrubber.text(&answer.body);
                for (_, value) in &mut answer.headers {
                    *value = scrubber.text(value);
                }
                Ok(answer)
            }
            Err(ProviderError::NotSent(why)) => Err(ProviderError::NotSent(scrubber.text(&why))),
            Err(ProviderError::Unanswered(why)) => {
                Err(ProviderError::Unanswered(scrubber.text(&why)))
            }
        }
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: &Value,
    ) -> Result<ProviderResponse, ProviderError> {
        let parcel = Parcel {
            method: "POST".to_owned(),
            url: self.url(path)?,
            headers: self.headers(headers)?,
            body: Some(body.to_string().into_bytes()),
            to: Destination::Name,
        };
        match self.egress.inner.transport.carry(parcel).await {
            Ok(answer) => Ok(ProviderResponse {
                status: answer.status,
                headers: answer.headers,
                body: String::from_utf8_lossy(&answer.body).into_owned(),
            }),
            Err(Lost::Early(why)) => Err(ProviderError::NotSent(why)),
            Err(Lost::Late(why)) => Err(ProviderError::Unanswered(why)),
        }
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        if !matches!(self.base_url.scheme(), "http" | "https") {
            return Err(ProviderError::NotSent(format!(
                "`{}` is not an http or https URL",
                self.base_url
            )));
        }
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
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
        if let Some(ApiKey(key)) = &self.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| broken("authorization"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Settings;
    use crate::testkit::{Reply, Server, answer};

    fn provider(address: std::net::SocketAddr) -> Provider {
        let egress = Egress::new(Settings::default()).expect("egress");
        let url = Url::parse(&format!("http://{address}/v1/")).expect("url");
        egress.provider(url).with_bearer(ApiKey::new("sk-hidden\n"))
    }

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_json_body_goes_out_with_the_key_which_never_comes_back() {
        let server = Server::start(|seen, _| {
            Reply::Keep(answer("401 Unauthorized", "Retry-After: 3\r\n", &seen.head))
        })
        .await;
        let provider = provider(server.address);
        let body = json!({"a": 1});
        let sent = provider.post_json("chat/completions", &[], &body, DEADLINE);
        let got = sent.await.expect("answer");
        assert_eq!((got.status, got.header("retry-after")), (401, Some("3")));
        assert!(got.body.contains("Bearer [secret:api_key]"), "{}", got.body);
        let seen = &server.seen()[0];
        assert!(
            seen.head.starts_with("POST /v1/chat/completions "),
            "{}",
            seen.head
        );
        assert_eq!(
            seen.header("authorization").as_deref(),
            Some("Bearer sk-hidden")
        );
        assert_eq!(seen.body, r#"{"a":1}"#);
        assert!(!format!("{provider:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn it_says_whether_the_request_left() {
        let server = Server::start(|_, _| Reply::Close(String::new())).await;
        let sent = provider(server.address);
        let error = sent.post_json("x", &[], &json!({}), DEADLINE).await;
        assert!(
            matches!(error, Err(ProviderError::Unanswered(_))),
            "{error:?}"
        );
        assert_eq!(server.seen().len(), 1);

        let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let address = gone.local_addr().expect("address");
        drop(gone);
        let error = provider(address)
            .post_json("x", &[], &json!({}), DEADLINE)
            .await;
        assert!(matches!(error, Err(ProviderError::NotSent(_))), "{error:?}");
    }
}
