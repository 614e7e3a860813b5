//! One provider, asked once.
//!
//! What the four dialects have in common is here: sending, reading a stream or a whole answer, and
//! what a failure means. What is their own is a [`Dialect`], one folder each.
//!
//! Invariants:
//!
//! * One call of [`Remote::attempt`] is at most one request. Whoever calls it owns the retries
//!   (requirement 95: they must not stack).
//! * An answer counts when the dialect's own last word has come. A stream that ends before is
//!   broken: it is thrown away whole, and nothing of it is ever continued (no prompt is invented
//!   that asks for the rest).
//! * An answer without usage is an error: its cost could not be counted.
//!
//! What may go wrong: a request that was answered by nobody, or half, may have been billed. What it
//! cost is estimated from the length of what was sent and received, and marked so.

mod refusal;
pub(crate) mod sse;

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use stoplog_egress::{ApiKey, Egress, Patience, Provider, ProviderAnswer, ProviderError};
use stoplog_model::turn::{FailureClass, FinishReason};
use stoplog_model::{Call, UsdMicros};
use url::Url;

use crate::price::{Priced, Usage};
use crate::{ConfigError, TurnRequest};
pub(crate) use refusal::{Words, retry_after};
use sse::Decoder;

/// How long one attempt may take. A long answer of a large model takes minutes; longer than this
/// is a connection that died without saying so.
pub const TURN_DEADLINE: Duration = Duration::from_secs(180);

/// How long a provider may say nothing in the middle of an answer. Streams send something every few
/// seconds, if only a comment; a model that thinks before its first word may take a minute.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(90);

/// Highest temperature in thousandths: the protocols' own limit.
const MAX_TEMPERATURE_MILLI: u32 = 2000;

/// Bytes of text in one token, on the safe side of what English and JSON have (3 to 4).
pub const BYTES_PER_TOKEN: u64 = 3;

/// Which protocol a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI's chat completions, which most servers speak.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
}

impl Kind {
    /// Every kind, with its word in the configuration.
    pub const ALL: [(Kind, &'static str); 4] = [
        (Kind::Chat, "openai"),
        (Kind::Responses, "openai-responses"),
        (Kind::Anthropic, "anthropic"),
        (Kind::Gemini, "gemini"),
    ];

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        let mut all = Kind::ALL.iter();
        all.find(|(kind, _)| *kind == self).map_or("", |(_, w)| w)
    }

    /// Where its provider is, if nobody says otherwise. Chat completions are spoken by too many.
    pub fn base_url(self) -> Option<&'static str> {
        match self {
            Kind::Chat => None,
            Kind::Responses => Some("https://api.openai.com/v1"),
            Kind::Anthropic => Some("https://api.anthropic.com/v1"),
            Kind::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
        }
    }

    fn dialect(self) -> &'static dyn Dialect {
        match self {
            Kind::Chat => &crate::chat::Chat,
            Kind::Responses => &crate::responses::Responses,
            Kind::Anthropic => &crate::anthropic::Anthropic,
            Kind::Gemini => &crate::gemini::Gemini,
        }
    }
}

/// What the token limit is called in chat completions: newer models of OpenAI know only the second
/// name, most other servers only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenLimitField {
    /// `max_tokens`
    #[default]
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

/// What the operator says about a model. Every field counts.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// Its protocol.
    pub kind: Kind,
    /// For instance `https://api.openai.com/v1`.
    pub base_url: Url,
    /// The model to ask for.
    pub model: String,
    /// The key; `None` for a server that wants none.
    pub key: Option<ApiKey>,
    /// Sampling temperature, in thousandths; `None` for models that refuse one.
    pub temperature_milli: Option<u32>,
    /// Tokens that one turn may have.
    pub max_tokens: u32,
    /// What that limit is called.
    pub token_limit_field: TokenLimitField,
    /// Whether the answer is to come as a stream.
    pub stream: bool,
    /// Tokens that the model can hold, prompt and answer together; 0 where nobody has said.
    pub context_window_tokens: u64,
    /// What tokens cost. `None` is an error; a price of 0 is free.
    pub price: Option<Priced>,
    /// How long one attempt may take: [`TURN_DEADLINE`], [`IDLE_DEADLINE`].
    pub patience: Patience,
}

/// A provider with a model. Holds the key, the price and the settings; keeps nothing in between.
pub struct Remote {
    provider: Provider,
    settings: RemoteSettings,
    priced: Priced,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What is a protocol's own. Pure.
pub(crate) trait Dialect: Send + Sync {
    /// Where to, below the base URL, perhaps with a query.
    fn path(&self, settings: &RemoteSettings) -> String;
    /// Headers beside the usual ones.
    fn headers(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// The header that a key goes into; `None` for a bearer.
    fn key_header(&self) -> Option<&'static str> {
        None
    }
    /// The body.
    fn body(&self, request: &TurnRequest, settings: &RemoteSettings) -> Value;
    /// Reads a whole answer with status 200.
    fn whole(&self, body: &str) -> Result<Answer, Unread>;
    /// Reads a stream.
    fn reader(&self) -> Box<dyn Reader>;
}

/// Folds the events of one stream.
pub(crate) trait Reader: Send {
    /// Takes an event, and gives the text that is new. After the last one it is not asked again.
    fn take(&mut self, event: &sse::Event) -> Result<Took, Unread>;
    /// The answer, behind the last event or the end of the stream. [`Unread::Broken`] when there
    /// should have been more.
    fn end(self: Box<Self>) -> Result<Answer, Unread>;
}

/// What an event had in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// Text that is new.
    pub(crate) text: String,
    /// Nothing comes behind it.
    pub(crate) is_last: bool,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: FinishReason,
    pub(crate) finish_raw: String,
    pub(crate) model: String,
    pub(crate) usage: Usage,
}

/// Why an answer with status 200 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is not what the protocol says, or not all of it: another attempt may bring a whole one.
    Broken(String),
    /// It is whole, and something that is needed is not in it. It would not be in the next either.
    Lacking(String),
    /// The provider failed in the middle of it.
    Failed(Words),
}

/// Why an attempt brought no turn.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: FailureClass,
    pub(crate) message: String,
    /// Whether to ask again, and how long the provider wants to be left alone.
    pub(crate) again: Option<Option<Duration>>,
    /// What was paid all the same.
    pub(crate) cost: UsdMicros,
    pub(crate) cost_is_estimated: bool,
}

impl Failure {
    fn free(class: FailureClass, message: String, again: Option<Option<Duration>>) -> Failure {
        Failure {
            class,
            message,
            again,
            cost: UsdMicros(0),
            cost_is_estimated: false,
        }
    }
}

impl Remote {
    /// A provider behind this way out. Opens no connection yet.
    ///
    /// # Errors
    /// [`ConfigError`] when the price is not known, or a setting is out of its range.
    pub fn new(egress: &Egress, mut settings: RemoteSettings) -> Result<Remote, ConfigError> {
        let setting = |setting, why: &str| ConfigError::Setting {
            setting,
            why: why.to_owned(),
        };
        if settings.model.is_empty() {
            return Err(setting("model", "it is empty"));
        }
        if !matches!(settings.base_url.scheme(), "http" | "https") {
            return Err(setting("base_url", "it is not an http or https URL"));
        }
        if settings.temperature_milli > Some(MAX_TEMPERATURE_MILLI) {
            return Err(setting("temperature", "it is above 2"));
        }
        if settings.kind == Kind::Anthropic && settings.temperature_milli > Some(1000) {
            return Err(setting(
                "temperature",
                "it is above 1, where this protocol ends",
            ));
        }
        if settings.max_tokens == 0 {
            return Err(setting("max_tokens", "it is 0"));
        }
        let window = settings.context_window_tokens;
        if window > 0 && u64::from(settings.max_tokens) >= window {
            return Err(setting(
                "max_tokens",
                "it leaves nothing of context_window_tokens to the prompt",
            ));
        }
        let priced = settings
            .price
            .clone()
            .ok_or_else(|| ConfigError::PriceMissing {
                model: settings.model.clone(),
            })?;
        let mut provider = egress.provider(settings.base_url.clone());
        if let Some(key) = settings.key.take() {
            provider = match settings.kind.dialect().key_header() {
                Some(name) => provider.with_key_header(name, key),
                None => provider.with_bearer(key),
            };
        }
        Ok(Remote {
            provider,
            settings,
            priced,
        })
    }

    /// What the operator says about it; without the key.
    pub fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// What its tokens cost.
    pub fn priced(&self) -> &Priced {
        &self.priced
    }

    /// Asks once. `heard` gets text as it comes.
    pub(crate) async fn attempt(
        &self,
        request: &TurnRequest,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Answer, Failure> {
        let dialect = self.settings.kind.dialect();
        let body = dialect.body(request, &self.settings);
        let headers = dialect.headers();
        let path = dialect.path(&self.settings);
        let sent = self
            .provider
            .post_json(&path, &headers, &body, self.settings.patience);
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(error) => return Err(self.unanswered(&error, request, 0)),
        };
        if answer.status != 200 {
            return Err(self.refused(answer).await);
        }
        let is_stream = answer
            .header("content-type")
            .is_some_and(|t| t.trim_start().starts_with("text/event-stream"));
        let mut received = 0;
        let read = match is_stream {
            true => self.stream(answer, heard, &mut received).await,
            false => match answer.text().await {
                Ok(text) => {
                    received = text.len();
                    dialect.whole(&text).map_err(Cut::Unread)
                }
                Err(error) => Err(Cut::Lost(error)),
            },
        };
        match read {
            Ok(answer) => self.said_something(answer),
            Err(Cut::Lost(error)) => Err(self.unanswered(&error, request, received)),
            Err(Cut::Unread(unread)) => Err(self.unread(unread, request, received)),
        }
    }

    async fn stream(
        &self,
        mut answer: ProviderAnswer,
        heard: &mut (dyn FnMut(&str) + Send),
        received: &mut usize,
    ) -> Result<Answer, Cut> {
        let mut reader = self.settings.kind.dialect().reader();
        let mut decoder = Decoder::default();
        loop {
            let line = answer.line().await.map_err(Cut::Lost)?;
            let is_over = line.is_none();
            // The last event may come without its blank line.
            let event = match line {
                Some(line) => {
                    *received += line.len() + 1;
                    decoder.line(&line)
                }
                None => decoder.rest(),
            };
            if let Some(event) = event {
                let took = reader.take(&event).map_err(Cut::Unread)?;
                if !took.text.is_empty() {
                    heard(&took.text);
                }
                if took.is_last {
                    return reader.end().map_err(Cut::Unread);
                }
            }
            if is_over {
                return reader.end().map_err(Cut::Unread);
            }
        }
    }

    /// A turn that stops without a word is none: nobody could tell it from a fault.
    fn said_something(&self, answer: Answer) -> Result<Answer, Failure> {
        let is_silent = answer.text.trim().is_empty() && answer.calls.is_empty();
        if answer.finish != FinishReason::Stop || !is_silent {
            return Ok(answer);
        }
        Err(Failure {
            class: FailureClass::ProviderTransient,
            message: format!("{} stopped without a word", self.at()),
            again: Some(None),
            cost: self.priced.price.cost(answer.usage),
            cost_is_estimated: false,
        })
    }

    /// Tokens of a prompt, from its length.
    pub(crate) fn estimate(&self, request: &TurnRequest) -> u64 {
        let body = self.settings.kind.dialect().body(request, &self.settings);
        body.to_string().len() as u64 / BYTES_PER_TOKEN
    }

    /// What a request cost that was sent, if this much was received of its answer.
    fn estimated(&self, request: &TurnRequest, received: usize) -> UsdMicros {
        self.priced.price.cost(Usage {
            input_tokens: self.estimate(request),
            output_tokens: received as u64 / BYTES_PER_TOKEN,
            ..Usage::default()
        })
    }

    fn unanswered(&self, error: &ProviderError, request: &TurnRequest, received: usize) -> Failure {
        let class = FailureClass::ProviderTransient;
        match error {
            ProviderError::NotSent(why) => {
                let message = format!("{} was not reached: {why}", self.at());
                Failure::free(class, message, Some(None))
            }
            ProviderError::Unanswered(why) => Failure {
                class,
                message: format!("{} did not answer: {why}", self.at()),
                again: Some(None),
                cost: self.estimated(request, received),
                cost_is_estimated: true,
            },
        }
    }

    fn unread(&self, unread: Unread, request: &TurnRequest, received: usize) -> Failure {
        let (class, message, again) = match unread {
            Unread::Broken(why) => (
                FailureClass::ProviderTransient,
                format!("the answer of {} is broken: {why}", self.at()),
                Some(None),
            ),
            Unread::Lacking(why) => (
                FailureClass::Internal,
                format!("the answer of {} cannot be used: {why}", self.at()),
                None,
            ),
            Unread::Failed(words) => {
                let failure = words.failure(self.at(), &self.settings.model, None);
                (failure.class, failure.message, failure.again)
            }
        };
        Failure {
            class,
            message,
            again,
            cost: self.estimated(request, received),
            cost_is_estimated: true,
        }
    }

    /// What a status other than 200 means. Nothing is paid for it.
    async fn refused(&self, answer: ProviderAnswer) -> Failure {
        let status = answer.status;
        let asked = [
            answer.header("retry-after-ms"),
            answer.header("retry-after"),
        ];
        let asked = retry_after(asked[0], asked[1], answer.header("date"));
        // A refusal whose body breaks off is a refusal all the same.
        let body = answer.text().await.unwrap_or_default();
        let words = Words::read(status, &body);
        words.failure(self.at(), &self.settings.model, asked)
    }

    /// The provider's host, for messages.
    pub(crate) fn at(&self) -> &str {
        let host = self.provider.base_url().host_str();
        host.unwrap_or("the provider")
    }
}

/// Why a body was not read to its end.
enum Cut {
    Lost(ProviderError),
    Unread(Unread),
}

/// An id of a call that any protocol takes: the provider's own, or one made from the call's place.
/// Turns of another provider may have calls without ids, or with ids of another form.
pub(crate) fn call_id(given: Option<&str>, turn: u32, ordinal: u32) -> String {
    let is_plain = |id: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=64).contains(&id.len()) && id.chars().all(plain)
    };
    match given.filter(is_plain) {
        Some(id) => id.to_owned(),
        None => format!("call_{turn}_{ordinal}"),
    }
}

/// What came of a call, as text for the model.
pub(crate) fn result_text(content: &Value, is_error: bool, code: Option<&str>) -> String {
    match is_error {
        true => {
            let code = code.unwrap_or("internal");
            serde_json::json!({"error": code, "detail": content}).to_string()
        }
        false => as_text(content),
    }
}

/// A text as it is, anything else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// JSON of a body or an event.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Unread> {
    serde_json::from_str(text).map_err(|e| Unread::Broken(e.to_string()))
}

/// A temperature as the protocols have it.
pub(crate) fn temperature(settings: &RemoteSettings) -> Option<f64> {
    let milli = settings.temperature_milli?;
    Some(f64::from(milli) / 1000.0)
}

#[cfg(test)]
mod tests;
