//! What a session asked of model providers, and what of its conversation it leaves out.
//!
//! Invariants:
//! * a request is in `unanswered` from its event to the event that says what came of it, or to the
//!   end of its run: then nobody reads the answer any more, and what it may have cost counts;
//! * what was spent is of the session: a resumed run gets no fresh budget (requirement 139);
//! * trims only ever leave out more.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::Session;
use crate::event::{ContextTrimmed, ModelAsked, ModelFailed};
use crate::money::UsdMicros;
use crate::turn::Turn;

/// What was asked of providers. A turn of a script counts as one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Requests, those that failed included.
    pub requests: u64,
    /// Of these, those that repeated one.
    pub retries: u64,
    /// Tokens read, of requests that were answered.
    pub input_tokens: u64,
    /// Tokens written, of requests that were answered.
    pub output_tokens: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
    }
}

impl Session {
    /// What all runs of the session have spent so far.
    pub fn spent(&self) -> Spent {
        let mut all = Spent::default();
        for run in &self.runs {
            all += run.spent;
        }
        all
    }

    /// Requests that no event has answered yet. Behind the end of their run there are none: read
    /// them before that is applied.
    pub fn unanswered(&self) -> &[ModelAsked] {
        &self.unanswered
    }

    /// What requests cost that nobody will read the answer of: those that failed in a known way,
    /// and the last one as it was estimated.
    pub fn cost_of(unanswered: &[ModelAsked]) -> UsdMicros {
        let failed = unanswered.iter().filter_map(|a| a.after.as_ref());
        let last = unanswered.last().map(|a| a.cost);
        failed.map(|f| f.cost).chain(last).sum()
    }

    pub(super) fn ask(&mut self, asked: ModelAsked) -> Result<(), String> {
        self.is_to_be(asked.iteration)?;
        let number = self.unanswered.last().map_or(0, |a| a.attempt) + 1;
        if asked.attempt != number {
            return Err(format!("attempt {number} was expected"));
        }
        let spent = &mut self.running()?.spent;
        spent.requests += 1;
        spent.retries += u64::from(asked.again);
        self.unanswered.push(asked);
        Ok(())
    }

    pub(super) fn trim(&mut self, trimmed: ContextTrimmed) -> Result<(), String> {
        self.running()?;
        self.is_to_be(trimmed.iteration)?;
        let dropped = self.trims.last().map_or(0, |t| t.dropped_through);
        if trimmed.dropped_through < dropped {
            return Err(format!("turns up to {dropped} are left out already"));
        }
        if trimmed.dropped_through >= trimmed.iteration {
            return Err("a turn cannot be left out that is not taken".into());
        }
        self.trims.push(trimmed);
        Ok(())
    }

    /// Takes what a turn cost, usable or not, and gives the profile that it came from.
    pub(super) fn answered(&mut self, turn: &Turn) -> Result<String, String> {
        let asked = std::mem::take(&mut self.unanswered);
        let run = self.running()?;
        run.cost += turn.cost;
        run.spent.input_tokens += turn.input_tokens;
        run.spent.output_tokens += turn.output_tokens;
        run.spent.requests += u64::from(asked.is_empty());
        Ok(asked
            .into_iter()
            .last()
            .map_or_else(String::new, |a| a.profile))
    }

    pub(super) fn failed_to_ask(&mut self, failed: &ModelFailed) -> Result<(), String> {
        self.unanswered.clear();
        self.running()?.cost += failed.attempts.iter().map(|a| a.cost).sum();
        Ok(())
    }

    /// Nobody waits for an answer any more.
    pub(super) fn give_up_asking(&mut self) {
        let unanswered = std::mem::take(&mut self.unanswered);
        if let Some(run) = self.runs.last_mut() {
            run.cost += Session::cost_of(&unanswered);
        }
    }

    fn is_to_be(&self, iteration: u32) -> Result<(), String> {
        if iteration != self.iterations() + 1 {
            return Err(format!("iteration {} was expected", self.iterations() + 1));
        }
        match self.unobserved() {
            Some(position) => Err(format!("call {position} is not observed yet")),
            None => Ok(()),
        }
    }
}
