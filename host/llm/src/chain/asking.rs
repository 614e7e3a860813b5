//! One turn being asked for: the requests made so far, and what is left of the budget.
//!
//! Invariant: each request is told of before it leaves, and when it fails it is in `failed` before
//! anything else happens; so whatever comes of the turn, all of it is in there.

use std::time::{Duration, Instant};

use stoplog_model::UsdMicros;
use stoplog_model::event::ModelAsked;
use stoplog_model::turn::{Admission, FailedAttempt, FailureClass, Turn};

use super::Budget;
use crate::backoff::{Backoff, MAX_ATTEMPTS, Place};
use crate::price::Usage;
use crate::remote::{Answer, Failure, Remote};
use crate::{Desk, ModelError, TurnRequest, prompt_version_hash};

/// A profile as it is asked.
#[derive(Clone, Copy)]
pub(super) struct Profile<'a> {
    /// Empty for the first.
    pub(super) name: &'a str,
    pub(super) remote: &'a Remote,
    /// Its own, if it has one.
    pub(super) system_prompt: Option<&'a str>,
}

impl Profile<'_> {
    /// The request with the profile's own prompt.
    pub(super) fn request(&self, request: &TurnRequest) -> TurnRequest {
        match self.system_prompt {
            None => request.clone(),
            Some(prompt) => TurnRequest {
                system_prompt: prompt.to_owned(),
                prompt_version_hash: prompt_version_hash(prompt, &request.tools),
                ..request.clone()
            },
        }
    }

    fn cost(&self, usage: Usage) -> UsdMicros {
        self.remote.priced().price.cost(usage)
    }

    /// Whether a prompt of so many tokens, as estimated, cannot fit. An estimate is on the safe
    /// side, so only one that is far beyond the window is not sent.
    fn is_beyond(&self, tokens: u64) -> bool {
        let window = self.remote.settings().context_window_tokens;
        window > 0 && tokens / 2 > window
    }
}

/// See the module.
pub(super) struct Asking<'a> {
    desk: &'a dyn Desk,
    began: Instant,
    started_at_ms: u64,
    failed: Vec<FailedAttempt>,
    retries_left: u64,
    requests_left: u64,
    spent_tokens: u64,
}

impl<'a> Asking<'a> {
    pub(super) fn begin(desk: &'a dyn Desk, budget: &Budget, request: &TurnRequest) -> Asking<'a> {
        let spent = request.course.spent;
        let requests = budget.requests.unwrap_or(u64::MAX);
        Asking {
            desk,
            began: Instant::now(),
            started_at_ms: desk.clock().now_ms(),
            failed: Vec::new(),
            retries_left: budget.retries.saturating_sub(spent.retries),
            requests_left: requests.saturating_sub(spent.requests),
            spent_tokens: spent.input_tokens.saturating_add(spent.output_tokens),
        }
    }

    pub(super) fn check_tokens(&self, budget: &Budget) -> Result<(), ModelError> {
        let spent = self.spent_tokens;
        match budget.tokens {
            Some(limit) if spent >= limit => Err(self.exhausted(format!(
                "the session has used {spent} tokens of its model; its budget is {limit}: raise \
                 `tokens` in [model.budget]"
            ))),
            _ => Ok(()),
        }
    }

    /// Asks one profile, as often as it may be asked. `is_for`: whether another would take over
    /// after such a failure.
    pub(super) async fn at(
        &mut self,
        profile: Profile<'_>,
        request: &TurnRequest,
        backoff: Backoff,
        is_for: &(dyn Fn(FailureClass) -> bool + Sync),
    ) -> Result<Answer, ModelError> {
        let tokens = profile.remote.estimate(request);
        let mut tried = 0;
        loop {
            if profile.is_beyond(tokens) {
                let message = format!(
                    "the conversation, about {tokens} tokens, does not fit {}",
                    profile.remote.settings().model
                );
                return Err(self.error(FailureClass::ContextPressure, message));
            }
            if self.requests_left == 0 {
                let message = "the session has made as many requests to its model as it may: raise \
                               `requests` in [model.budget]";
                return Err(self.exhausted(message.to_owned()));
            }
            tried += 1;
            let failure = match self.once(profile, request, tokens, tried, is_for).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may = tried < MAX_ATTEMPTS && self.retries_left > 0;
            let Some(asked) = failure.again.filter(|_| may) else {
                return Err(self.given_up(failure, tried));
            };
            self.retries_left -= 1;
            let place = Place {
                session: &request.session,
                iteration: request.iteration,
                attempt: self.attempts(),
            };
            tokio::time::sleep(backoff.wait(tried, asked, place)).await;
        }
    }

    /// One request, told of before it leaves, and kept when it fails.
    async fn once(
        &mut self,
        profile: Profile<'_>,
        request: &TurnRequest,
        tokens: u64,
        tried: u32,
        is_for: &(dyn Fn(FailureClass) -> bool + Sync),
    ) -> Result<Answer, Failure> {
        let attempt = self.attempts() + 1;
        self.requests_left -= 1;
        self.desk.asked(ModelAsked {
            iteration: request.iteration,
            attempt,
            again: tried > 1,
            profile: profile.name.to_owned(),
            model_id: profile.remote.settings().model.clone(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            input_tokens: tokens,
            cost: profile.cost(Usage {
                input_tokens: tokens,
                ..Usage::default()
            }),
            after: self.failed.last().cloned(),
        });
        let (at_ms, since) = (self.desk.clock().now_ms(), Instant::now());
        let desk = self.desk;
        let mut heard = |text: &str| desk.heard(attempt, text);
        let failure = match profile.remote.attempt(request, &mut heard).await {
            Err(failure) => failure,
            Ok(answer) => match answer.finish.admits(!answer.calls.is_empty()) {
                Admission::Fail(class) if is_for(class) => unusable(profile, &answer, class),
                _ => return Ok(answer),
            },
        };
        self.desk.retracted(attempt);
        self.failed.push(FailedAttempt {
            failure: failure.class,
            message: failure.message.clone(),
            started_at_ms: at_ms,
            latency_ms: millis(since.elapsed()),
            cost: failure.cost,
            cost_is_estimated: failure.cost_is_estimated,
        });
        Err(failure)
    }

    fn attempts(&self) -> u32 {
        self.failed.len() as u32
    }

    /// The turn that came of it.
    pub(super) fn taken(self, profile: Profile<'_>, request: &TurnRequest, answer: Answer) -> Turn {
        let settings = profile.remote.settings();
        let failed: UsdMicros = self.failed.iter().map(|f| f.cost).sum();
        let usage = answer.usage;
        Turn {
            iteration: request.iteration,
            text: answer.text,
            calls: answer.calls,
            finish: answer.finish,
            finish_raw: answer.finish_raw,
            model_id: settings.model.clone(),
            // A server that does not say which model answered was asked for this one.
            model_version: match answer.model.is_empty() {
                true => settings.model.clone(),
                false => answer.model,
            },
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: settings.temperature_milli.unwrap_or(0),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            context_window_tokens: settings.context_window_tokens,
            cost: profile.cost(usage) + failed,
            price_version: profile.remote.priced().version.clone(),
            started_at_ms: self.started_at_ms,
            latency_ms: millis(self.began.elapsed()),
            failed_attempts: self.failed,
        }
    }

    fn given_up(&self, failure: Failure, tried: u32) -> ModelError {
        let message = match (tried, failure.again) {
            (1, None) => failure.message,
            (MAX_ATTEMPTS, _) | (_, None) => {
                format!("after {tried} attempts: {}", failure.message)
            }
            (_, Some(_)) => format!(
                "after {tried} attempts, and none is left of the session's `retries`: {}",
                failure.message
            ),
        };
        self.error(failure.class, message)
    }

    fn exhausted(&self, message: String) -> ModelError {
        self.error(FailureClass::BudgetExhausted, message)
    }

    fn error(&self, failure: FailureClass, message: String) -> ModelError {
        ModelError {
            failure,
            attempts: self.failed.clone(),
            message,
        }
    }
}

/// An answer that another profile is asked to better.
fn unusable(profile: Profile<'_>, answer: &Answer, class: FailureClass) -> Failure {
    Failure {
        class,
        message: format!(
            "{} stopped with `{}`: its turn is neither an answer nor a call",
            profile.remote.at(),
            answer.finish_raw
        ),
        again: None,
        cost: profile.cost(answer.usage),
        cost_is_estimated: false,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
