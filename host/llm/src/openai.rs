//! Any endpoint that speaks OpenAI's chat-completions protocol.
//!
//! Invariants:
//!
//! * At most [`MAX_ATTEMPTS`] requests for one turn, and only here: the client below never repeats
//!   one (requirement 95: retries must not stack).
//! * What may pass is asked again: 429, 502, 503, 504, connections that fail or break. What will
//!   not pass is not: 400, 401, 403, 404, an exhausted quota, an answer that cannot be read.
//! * An answer without `usage` is an error: its cost could not be counted.
//!
//! What may go wrong: a request that was answered by nobody may have been billed all the same.
//! The cost of failed attempts is not known, and is not in the turn.

mod wire;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use stoplog_egress::{ApiKey, Egress, Provider, ProviderError, ProviderResponse};
use stoplog_model::UsdMicros;
use stoplog_model::port::Clock;
use stoplog_model::turn::{FailedAttempt, FailureClass, Turn};
use url::Url;

use crate::backoff::{Backoff, MAX_ATTEMPTS, retry_after};
use crate::price::{Price, Usage};
use crate::{ConfigError, Model, ModelError, TurnRequest};

/// How long one attempt may take. A long answer of a large model takes minutes; longer than this
/// is a connection that died without saying so.
pub const TURN_DEADLINE: Duration = Duration::from_secs(180);

/// Highest temperature in thousandths: the protocol's own limit.
const MAX_TEMPERATURE_MILLI: u32 = 2000;

/// What the token limit is called: newer models of OpenAI know only the second name, most other
/// servers only the first.
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
pub struct OpenAiSettings {
    /// For instance `https://api.openai.com/v1`.
    pub base_url: Url,
    /// The model to ask for.
    pub model: String,
    /// The key; `None` for a server that wants none.
    pub key: Option<ApiKey>,
    /// Sampling temperature, in thousandths.
    pub temperature_milli: u32,
    /// Tokens that one turn may have.
    pub max_tokens: u32,
    /// What that limit is called.
    pub token_limit_field: TokenLimitField,
    /// Micro-dollars for a million tokens read. `None` is an error; `Some(0)` is free.
    pub input_usd_micros_per_million: Option<u64>,
    /// Micro-dollars for a million tokens written. `None` is an error; `Some(0)` is free.
    pub output_usd_micros_per_million: Option<u64>,
    /// How long one attempt may take: [`TURN_DEADLINE`].
    pub deadline: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
}

/// A model behind an endpoint that speaks the chat-completions protocol. Holds the key, the price
/// and the settings; keeps nothing between turns.
#[derive(Debug)]
pub struct OpenAi {
    provider: Provider,
    settings: OpenAiSettings,
    price: Price,
}

impl OpenAi {
    /// A model behind this way out. Opens no connection yet.
    ///
    /// # Errors
    /// [`ConfigError`] when a price is missing, or a setting is out of its range.
    pub fn new(egress: &Egress, mut settings: OpenAiSettings) -> Result<OpenAi, ConfigError> {
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
        if settings.temperature_milli > MAX_TEMPERATURE_MILLI {
            return Err(setting("temperature", "it is above 2"));
        }
        if settings.max_tokens == 0 {
            return Err(setting("max_tokens", "it is 0"));
        }
        let price = |field, price: Option<u64>| {
            price
                .map(UsdMicros)
                .ok_or_else(|| ConfigError::PriceMissing {
                    model: settings.model.clone(),
                    field,
                })
        };
        let input = price(
            "input_usd_micros_per_million",
            settings.input_usd_micros_per_million,
        )?;
        let price = Price {
            input,
            output: price(
                "output_usd_micros_per_million",
                settings.output_usd_micros_per_million,
            )?,
            cache_read: input,
            cache_write: input,
        };
        let mut provider = egress.provider(settings.base_url.clone());
        if let Some(key) = settings.key.take() {
            provider = provider.with_bearer(key);
        }
        Ok(OpenAi {
            provider,
            settings,
            price,
        })
    }

    async fn attempt(&self, body: &serde_json::Value) -> Result<wire::Answer, Failure> {
        let sent = self
            .provider
            .post_json("chat/completions", &[], body, self.settings.deadline);
        match sent.await {
            Ok(response) if response.status == 200 => {
                wire::read(&response.body).map_err(|why| Failure {
                    class: FailureClass::Internal,
                    message: format!("the answer of {} cannot be used: {why}", self.at()),
                    again: None,
                })
            }
            Ok(response) => Err(self.refused(&response)),
            Err(error) => Err(Failure {
                class: FailureClass::ProviderTransient,
                message: match error {
                    ProviderError::NotSent(why) => format!("{} was not reached: {why}", self.at()),
                    ProviderError::Unanswered(why) => {
                        format!("{} did not answer: {why}", self.at())
                    }
                },
                again: Some(None),
            }),
        }
    }

    fn at(&self) -> &str {
        self.provider
            .base_url()
            .host_str()
            .unwrap_or("the provider")
    }

    /// What a status other than 200 means.
    fn refused(&self, response: &ProviderResponse) -> Failure {
        let error = wire::read_error(&response.body);
        let asked = retry_after(response.header("retry-after"));
        let (class, advice, again) = match response.status {
            429 if error.is_about("insufficient_quota") => (
                FailureClass::ProviderQuota,
                "the quota is used up: add credit, or name another model",
                None,
            ),
            402 => (
                FailureClass::ProviderQuota,
                "the account has no credit: add some, or name another model",
                None,
            ),
            429 => (
                FailureClass::ProviderOverloaded,
                "too many requests for now",
                Some(asked),
            ),
            503 => (
                FailureClass::ProviderOverloaded,
                "the provider is overloaded",
                Some(asked),
            ),
            502 | 504 => (
                FailureClass::ProviderTransient,
                "the provider failed for now",
                Some(asked),
            ),
            400 if error.is_about("context_length_exceeded") => (
                FailureClass::ContextPressure,
                "the conversation does not fit the model any more",
                None,
            ),
            400 if error.is_about("content_filter") => (
                FailureClass::ContentFiltered,
                "the provider's filter refused the conversation",
                None,
            ),
            401 => (
                FailureClass::Internal,
                "the key was refused: check the variable that holds it",
                None,
            ),
            403 => (
                FailureClass::Internal,
                "the key may not use this model: check its rights",
                None,
            ),
            404 => (
                FailureClass::Internal,
                "there is no such model or endpoint: check model and base_url",
                None,
            ),
            500..=599 => (FailureClass::ProviderTransient, "the provider failed", None),
            _ => (
                FailureClass::Internal,
                "the request was refused: see the provider's words",
                None,
            ),
        };
        Failure {
            class,
            message: format!(
                "{} answered {} to {}: {advice} ({})",
                self.at(),
                response.status,
                self.settings.model,
                error.words()
            ),
            again,
        }
    }
}

/// Why an attempt brought no turn.
struct Failure {
    class: FailureClass,
    message: String,
    /// Whether to ask again, and how long the provider wants to be left alone.
    again: Option<Option<Duration>>,
}

#[async_trait]
impl Model for OpenAi {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let body = wire::body(request, &self.settings);
        let (started_at_ms, began) = (clock.now_ms(), Instant::now());
        let mut failed_attempts: Vec<FailedAttempt> = Vec::new();
        let mut tried = 0;
        loop {
            let (at_ms, since) = (clock.now_ms(), Instant::now());
            tried += 1;
            let failure = match self.attempt(&body).await {
                Ok(answer) => {
                    return Ok(Turn {
                        iteration: request.iteration,
                        text: answer.text,
                        calls: answer.calls,
                        finish: answer.finish,
                        finish_raw: answer.finish_raw,
                        model_id: self.settings.model.clone(),
                        model_version: answer.model,
                        prompt_version_hash: request.prompt_version_hash.clone(),
                        temperature_milli: self.settings.temperature_milli,
                        input_tokens: answer.input_tokens,
                        output_tokens: answer.output_tokens,
                        cache_read_tokens: 0,
                        cache_write_tokens: 0,
                        context_window_tokens: 0,
                        price_version: String::new(),
                        cost: self.price.cost(Usage {
                            input_tokens: answer.input_tokens,
                            output_tokens: answer.output_tokens,
                            ..Usage::default()
                        }),
                        started_at_ms,
                        latency_ms: millis(began),
                        failed_attempts,
                    });
                }
                Err(failure) => failure,
            };
            failed_attempts.push(FailedAttempt {
                failure: failure.class,
                message: failure.message.clone(),
                started_at_ms: at_ms,
                latency_ms: millis(since),
                cost: UsdMicros(0),
                cost_is_estimated: false,
            });
            match failure.again {
                Some(asked) if tried < MAX_ATTEMPTS => {
                    tokio::time::sleep(self.settings.backoff.wait(tried, asked)).await;
                }
                _ => {
                    return Err(ModelError {
                        failure: failure.class,
                        message: match tried {
                            1 => failure.message,
                            _ => format!("after {tried} attempts: {}", failure.message),
                        },
                        attempts: failed_attempts,
                    });
                }
            }
        }
    }

    fn model_id(&self) -> &str {
        &self.settings.model
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
