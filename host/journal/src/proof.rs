//! The proofs: values that exist only because something is durable.
//!
//! * [`Intent`]: an intent is on disk. Only the journal makes one; whoever fires a request takes
//!   it by value, so one durable intent is one request.
//! * [`Settled`]: what came of an intent, on its way back to the journal.
//! * [`Observation`]: an observation is on disk, so the loop may go on.
//!
//! None of them is `Clone`, and none has a public field.

use stoplog_model::event::{IntentRecorded, Observed, OutcomeRecorded};
use stoplog_model::{Outcome, Position, Request};

/// Proof that an intent is durable: the right to fire its request, once.
#[derive(Debug)]
#[must_use = "a durable intent that is not fired leaves its effect in doubt"]
pub struct Intent {
    recorded: IntentRecorded,
}

impl Intent {
    /// Only after the commit that holds it.
    pub(crate) fn durable(recorded: IntentRecorded) -> Intent {
        Intent { recorded }
    }

    /// The request to fire, placeholders not yet replaced.
    pub fn request(&self) -> &Request {
        &self.recorded.request
    }

    /// The text of the `Idempotency-Key` header.
    pub fn key(&self) -> &str {
        &self.recorded.key
    }

    /// The call.
    pub fn position(&self) -> Position {
        self.recorded.position
    }

    /// What came of it. Takes the intent: it is spent.
    pub fn settle(self, outcome: Outcome, latency_ms: u64) -> Settled {
        Settled {
            recorded: OutcomeRecorded {
                position: self.recorded.position,
                label: self.recorded.label,
                attempt: self.recorded.attempt,
                outcome,
                latency_ms,
            },
        }
    }
}

/// What came of an intent; to be recorded.
#[derive(Debug)]
#[must_use = "an outcome that is not recorded leaves its effect in doubt"]
pub struct Settled {
    pub(crate) recorded: OutcomeRecorded,
}

impl Settled {
    /// What the guest gets to see.
    pub fn outcome(&self) -> &Outcome {
        &self.recorded.outcome
    }
}

/// Proof that an observation is durable: the loop may act on it.
#[derive(Debug)]
#[must_use = "the loop goes on with the observation"]
pub struct Observation {
    observed: Observed,
}

impl Observation {
    /// Only after the commit that holds it.
    pub(crate) fn durable(observed: Observed) -> Observation {
        Observation { observed }
    }

    /// What was observed.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }
}
