//! What comes next. Pure.

use stoplog_model::session::{CallState, Session};
use stoplog_model::turn::FailureClass;
use stoplog_model::{Position, Reason};

/// One step of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the model for its next turn.
    AskModel {
        /// Which turn, counted from 1.
        iteration: u32,
    },
    /// Run these calls: several reads at once, or one call alone.
    Run(Vec<Position>),
    /// Deliver the answer.
    Finish {
        /// The model's last text.
        answer: String,
    },
    /// End the run: it cannot go on.
    Fail {
        /// The reason code.
        reason: Reason,
        /// The class of the failure.
        failure: FailureClass,
        /// In words.
        message: String,
    },
}

/// The next step of a session.
///
/// Calls run in the order of their turn: neighbouring reads together, every write alone and
/// after what stands before it. A half-finished turn goes on with its missing calls.
pub fn next(session: &Session) -> Step {
    if session.abandoned {
        return Step::Fail {
            reason: Reason::LedgerMismatch,
            failure: FailureClass::CheckpointConflict,
            message: "a person abandoned a call that journal and far side disagree on".into(),
        };
    }
    if let Some(positions) = calls_to_run(session) {
        return Step::Run(positions);
    }
    // A client's turns are not asked for: with all of its calls over, so is the session.
    if session.started.client.is_some() {
        return Step::Finish {
            answer: String::new(),
        };
    }
    let taken = session.iterations();
    if let Some(turn) = session.turns.last().filter(|t| t.calls.is_empty()) {
        return Step::Finish {
            answer: turn.turn.text.clone(),
        };
    }
    if taken >= session.started.max_iterations {
        return Step::Fail {
            reason: Reason::IterationLimit,
            failure: FailureClass::BudgetExhausted,
            message: format!("{taken} turns, and no answer; {taken} is the limit"),
        };
    }
    Step::AskModel {
        iteration: taken + 1,
    }
}

fn calls_to_run(session: &Session) -> Option<Vec<Position>> {
    // A call that waits for a person's decision about a mismatch is observed already.
    let mut open = session
        .calls()
        .filter(|(_, c)| c.observed.is_none() || c.parked.is_some());
    let (first, call) = open.next()?;
    let mut positions = vec![first];
    // A client's calls do not wait for each other, least of all for one that waits for a person.
    if session.started.client.is_some() {
        positions.extend(open.map(|(p, _)| p));
        return Some(positions);
    }
    if is_read(session, call) {
        let neighbours = open
            .take_while(|(p, c)| p.iteration == first.iteration && is_read(session, c))
            .enumerate()
            .take_while(|(i, (p, _))| p.ordinal == first.ordinal + 1 + *i as u32)
            .map(|(_, (p, _))| p);
        positions.extend(neighbours);
    }
    Some(positions)
}

/// A call of an unknown tool is refused without running, so it may stand among reads.
fn is_read(session: &Session, call: &CallState) -> bool {
    session
        .pin(&call.call.tool)
        .is_none_or(|pin| !pin.class.writes())
}

/// Whether settled writes have to be confirmed at the far side before a run goes on: a run died,
/// and no later one can be said to have confirmed them all. A run that was shut down may still
/// have been at it; one that ended in another way had done it first.
pub fn owes_confirmation(session: &Session) -> bool {
    for run in session.runs.iter().rev() {
        match &run.ended {
            None => return true,
            Some(ended) if ended.reason != Some(Reason::ShuttingDown) => return false,
            Some(_) if run.started.after_crash => return true,
            Some(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
