//! A provider and its fallbacks: the one place that repeats a request to a model.
//!
//! Invariants:
//!
//! * Requirement 95: at most [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS) requests to a profile for one turn, with waits between
//!   them. Repeats are paid from a budget that all runs of a session share (requirement 139).
//! * A fallback is asked only if it is armed, only for the failure classes that it is for, and only
//!   behind the profiles before it. It has a prompt, limits and a price of its own (135), and the
//!   turn says so: model, version and prompt hash are those of who answered (64).
//! * A session that has written stays with the profile of its last turn: it never goes back to the
//!   first one because that is well again, and it goes on to another only if that one says that it
//!   may take over behind a write. Who wrote does not hand a half-done matter on unasked.
//! * What was heard of an attempt that failed is taken back. The next attempt is the whole request
//!   again; no prompt asks anybody to go on with half an answer.
//!
//! What may go wrong: the waits are on this host's clock; a host that dies in one asks anew.

mod asking;

use async_trait::async_trait;
use stoplog_model::event::ModelAsked;
use stoplog_model::port::Clock;
use stoplog_model::turn::{FailureClass, Turn};

use crate::backoff::Backoff;
use crate::remote::Remote;
use crate::{Course, Desk, Model, ModelError, TurnRequest};
use asking::{Asking, Profile};

/// Repeats that all runs of a session may make together, unless the configuration says otherwise:
/// two turns that never come, and a few hiccups.
pub const DEFAULT_RETRIES: u64 = 16;

/// What all runs of a session may ask for together. What they have asked for is in the journal, so
/// a resumed run gets no fresh budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests that repeat one.
    pub retries: u64,
    /// Requests in all; `None` for as many as there are turns and retries.
    pub requests: Option<u64>,
    /// Tokens read and written, of requests that were answered; `None` for any number.
    pub tokens: Option<u64>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            retries: DEFAULT_RETRIES,
            requests: None,
            tokens: None,
        }
    }
}

/// How much a model can hold, and what is done when that fills up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Tokens for the prompt: all that the model can hold, less what its answer may have.
    pub tokens: u64,
    /// Percent of that which a prompt may have before it is made shorter.
    pub trim_at_percent: u64,
    /// The newest turns that are never touched.
    pub keep_turns: u32,
    /// Bytes that stay of an output that is cut.
    pub keep_output_bytes: u64,
}

/// A profile that is asked when those before it fail.
#[derive(Debug)]
pub struct Fallback {
    /// Its name, in the journal and in spans.
    pub name: String,
    /// Its provider.
    pub remote: Remote,
    /// Its own system prompt; the session's if it has none.
    pub system_prompt: Option<String>,
    /// Whether it may be asked at all.
    pub armed: bool,
    /// The failures that it is for.
    pub on: Vec<FailureClass>,
    /// Whether it may take over in a session in which another profile has written.
    pub after_write: bool,
}

/// A provider and its fallbacks.
#[derive(Debug)]
pub struct Chain {
    first: Remote,
    fallbacks: Vec<Fallback>,
    backoff: Backoff,
    budget: Budget,
    /// How a prompt is kept within the context window; the tokens are each profile's own.
    trimming: Window,
}

impl Chain {
    /// A provider without fallbacks.
    pub fn new(first: Remote, backoff: Backoff, budget: Budget, trimming: Window) -> Chain {
        Chain {
            first,
            fallbacks: Vec::new(),
            backoff,
            budget,
            trimming,
        }
    }

    /// The same with one more fallback, behind those that it has.
    pub fn with_fallback(mut self, fallback: Fallback) -> Chain {
        self.fallbacks.push(fallback);
        self
    }

    /// The first provider, and every fallback.
    pub fn remotes(&self) -> impl Iterator<Item = (&str, &Remote)> {
        let rest = self.fallbacks.iter().map(|f| (f.name.as_str(), &f.remote));
        std::iter::once(("", &self.first)).chain(rest)
    }

    /// Where a turn begins: at the first profile, or at the one that a session is bound to.
    fn begins_at(&self, course: &Course) -> usize {
        let bound = course.wrote && !course.profile.is_empty();
        let place = self.fallbacks.iter().position(|f| f.name == course.profile);
        match place {
            Some(place) if bound => place + 1,
            _ => 0,
        }
    }

    fn profile(&self, place: usize) -> Profile<'_> {
        match place.checked_sub(1).and_then(|i| self.fallbacks.get(i)) {
            None => Profile {
                name: "",
                remote: &self.first,
                system_prompt: None,
            },
            Some(fallback) => Profile {
                name: &fallback.name,
                remote: &fallback.remote,
                system_prompt: fallback.system_prompt.as_deref(),
            },
        }
    }

    /// The profile behind this one that may take over after a failure.
    fn next(&self, place: usize, class: FailureClass, wrote: bool) -> Option<usize> {
        let rest = self.fallbacks.iter().enumerate().skip(place);
        let fits = |f: &Fallback| f.armed && f.on.contains(&class) && (f.after_write || !wrote);
        rest.filter(|(_, f)| fits(f)).map(|(i, _)| i + 1).next()
    }
}

#[async_trait]
impl Model for Chain {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        self.ask(request, &Silent(clock)).await
    }

    async fn ask(&self, request: &TurnRequest, desk: &dyn Desk) -> Result<Turn, ModelError> {
        let mut asking = Asking::begin(desk, &self.budget, request);
        asking.check_tokens(&self.budget)?;
        let wrote = request.course.wrote;
        let mut place = self.begins_at(&request.course);
        loop {
            let profile = self.profile(place);
            let own = profile.request(request);
            // Somebody behind this one who is for a failure makes an answer that cannot be used a
            // failure too. Without one it is the turn: its words and its cost are told as they came.
            let is_for = |class| self.next(place, class, wrote).is_some();
            let error = match asking.at(profile, &own, self.backoff, &is_for).await {
                Ok(answer) => return Ok(asking.taken(profile, &own, answer)),
                Err(error) => error,
            };
            match self.next(place, error.failure, wrote) {
                Some(next) => place = next,
                None => return Err(error),
            }
        }
    }

    fn window(&self, course: &Course) -> Option<Window> {
        let profile = self.profile(self.begins_at(course));
        let settings = profile.remote.settings();
        let all = settings.context_window_tokens;
        (all > 0).then(|| Window {
            tokens: all - u64::from(settings.max_tokens),
            ..self.trimming
        })
    }

    fn model_id(&self) -> &str {
        &self.first.settings().model
    }
}

/// Nobody is told of anything.
struct Silent<'a>(&'a dyn Clock);

impl Desk for Silent<'_> {
    fn clock(&self) -> &dyn Clock {
        self.0
    }
    fn asked(&self, _: ModelAsked) {}
    fn heard(&self, _: u32, _: &str) {}
    fn retracted(&self, _: u32) {}
}

#[cfg(test)]
mod tests;
