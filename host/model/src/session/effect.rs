//! One effect of a call, and the only function that changes it.
//!
//! Invariants kept here, whatever is written:
//! * an effect is intended first with attempt 1, and again only under its own key, with the next
//!   attempt number;
//! * an attempt has one outcome at most;
//! * a doubt about an attempt ends by that attempt's outcome. Sending it again does not end it: the
//!   doubt goes on as [`EffectState::earlier_doubt`], and then only an answer of success, a settled
//!   `absent`, an undo or a person clears it up;
//! * what is void is not in force, and may be intended again without a doubt.

use crate::effect::{Outcome, Response};
use crate::event::{IntentRecorded, OutcomeRecorded};
use crate::outcome::Aftermath;

/// One effect of a call.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EffectState {
    /// The latest intent.
    pub intent: IntentRecorded,
    /// When something was last recorded of it, milliseconds since the Unix epoch.
    pub touched_at_ms: u64,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// A person or an undo has settled that it is not in force: it may be intended again.
    pub void: bool,
    /// An earlier attempt under this key is in doubt. That this attempt was not sent, or was
    /// refused, then says nothing about the effect.
    pub earlier_doubt: bool,
}

/// What happens to an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EffectEvent<'a> {
    /// It is about to be sent: for the first time, or again.
    Intended {
        /// What is about to be sent.
        intent: &'a IntentRecorded,
        /// When this was recorded, milliseconds since the Unix epoch.
        at_ms: u64,
        /// The last look at the far side since the last sending showed a settled `absent`, which
        /// clears up every attempt before this one. A look alone changes nothing: until the next
        /// intent, another look may show something else.
        after_absent: bool,
    },
    /// What came of its attempt.
    Settled {
        /// The outcome, with the attempt that it belongs to.
        recorded: &'a OutcomeRecorded,
        /// When this was recorded, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Its call was undone.
    TakenBack,
    /// A person found that its call was not done.
    FoundNotDone {
        /// The far side itself does not know it, or has it too often: then its answer of success
        /// counts for nothing. Otherwise such an answer stays in force.
        denied: bool,
    },
}

/// An event that is not legal in the state that it meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// Its first attempt is not number 1.
    #[error("attempt {attempt} of an effect that was never intended")]
    NeverIntended {
        /// The attempt that was to be.
        attempt: u32,
    },
    /// It would be sent again under another key.
    #[error("an effect sent again must keep its key")]
    OtherKey,
    /// Attempts are counted without gaps.
    #[error("attempt {expected} was expected")]
    OtherAttempt {
        /// The next attempt.
        expected: u32,
    },
    /// Never intended, settled already, or of another attempt.
    #[error("no open intent `{label}`")]
    NoOpenIntent {
        /// The effect.
        label: String,
    },
    /// Nothing was ever intended that could be taken back, or found not done.
    #[error("there is no effect that could be void")]
    NothingToVoid,
}

impl EffectState {
    /// The state behind an event. Pure, and the only way in which an effect changes; `known` is
    /// none before its first intent.
    pub fn next(
        known: Option<&EffectState>,
        event: &EffectEvent<'_>,
    ) -> Result<EffectState, IllegalTransition> {
        match *event {
            EffectEvent::Intended {
                intent,
                at_ms,
                after_absent,
            } => {
                follows(known, intent)?;
                Ok(EffectState {
                    intent: intent.clone(),
                    touched_at_ms: at_ms,
                    outcome: None,
                    void: false,
                    earlier_doubt: !after_absent
                        && known.is_some_and(|e| e.aftermath() == Aftermath::Unknown),
                })
            }
            EffectEvent::Settled { recorded, at_ms } => {
                let open = known
                    .filter(|e| e.intent.attempt == recorded.attempt && e.outcome.is_none())
                    .ok_or_else(|| IllegalTransition::NoOpenIntent {
                        label: recorded.label.clone(),
                    })?;
                Ok(EffectState {
                    outcome: Some(recorded.outcome.clone()),
                    touched_at_ms: at_ms,
                    ..open.clone()
                })
            }
            EffectEvent::TakenBack => {
                let known = known.ok_or(IllegalTransition::NothingToVoid)?;
                Ok(EffectState {
                    void: true,
                    ..known.clone()
                })
            }
            EffectEvent::FoundNotDone { denied } => {
                let known = known.ok_or(IllegalTransition::NothingToVoid)?;
                Ok(EffectState {
                    void: denied || known.aftermath() != Aftermath::Changed,
                    ..known.clone()
                })
            }
        }
    }

    /// Nobody knows whether it was done: no attempt under its key has an answer.
    pub fn in_doubt(&self) -> bool {
        let open = match &self.outcome {
            None | Some(Outcome::Unanswered { .. }) => true,
            Some(Outcome::NotSent { .. }) => self.earlier_doubt,
            Some(Outcome::Answered { .. }) => false,
        };
        open && !self.void
    }

    /// What this effect may have changed, as the gate saw it.
    ///
    /// An answer of class 2xx or 3xx changed something. A 4xx did not: the far side says that it
    /// refused (but 408, which says that it gave up waiting). A 5xx may come from before or
    /// behind the change. A void effect was taken back, or found not done. Behind an earlier
    /// attempt in doubt, only an answer of success tells anything.
    pub fn aftermath(&self) -> Aftermath {
        if self.void {
            return Aftermath::Untouched;
        }
        let refused = match self.earlier_doubt {
            true => Aftermath::Unknown,
            false => Aftermath::Untouched,
        };
        match &self.outcome {
            Some(Outcome::Answered { response }) => match response.status {
                408 | 500.. => Aftermath::Unknown,
                400..=499 => refused,
                _ => Aftermath::Changed,
            },
            Some(Outcome::NotSent { .. }) => refused,
            Some(Outcome::Unanswered { .. }) | None => Aftermath::Unknown,
        }
    }

    /// The recorded answer, if the effect is in force and has one.
    pub fn answer(&self) -> Option<&Response> {
        match &self.outcome {
            Some(Outcome::Answered { response }) if !self.void => Some(response),
            _ => None,
        }
    }
}

/// Whether an intent may follow what is known.
fn follows(known: Option<&EffectState>, intent: &IntentRecorded) -> Result<(), IllegalTransition> {
    let Some(known) = known else {
        return match intent.attempt {
            1 => Ok(()),
            attempt => Err(IllegalTransition::NeverIntended { attempt }),
        };
    };
    if known.intent.key != intent.key {
        return Err(IllegalTransition::OtherKey);
    }
    let expected = known.intent.attempt + 1;
    if intent.attempt != expected {
        return Err(IllegalTransition::OtherAttempt { expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
