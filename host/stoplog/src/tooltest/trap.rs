//! Where a host is killed: a point among the stages that it passes, and the one who waits there.
//!
//! A point is written `STAGE:MOMENT:COUNT`, such as `request_sent:after:1`. Behind a slash may stand
//! another point, from which on is counted: commits are joined and split by time, and only their
//! place behind a step is the same in every run.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use stoplog_model::Position;
use stoplog_model::port::{Moment, Stage, Watch};

/// The nth time that a stage is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) stage: Stage,
    pub(super) moment: Moment,
    pub(super) nth: u32,
}

/// Where a host dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) at: Mark,
    /// Counted from here on.
    pub(super) behind: Option<Mark>,
}

fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, moment) = (word(self.stage), word(self.moment));
        write!(f, "{stage}:{moment}:{}", self.nth)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.behind {
            None => self.at.fmt(f),
            Some(behind) => write!(f, "{}/{behind}", self.at),
        }
    }
}

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Mark, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [stage, moment, nth] = parts.as_slice() else {
            return Err(format!("`{text}` is not STAGE:MOMENT:COUNT"));
        };
        Ok(Mark {
            stage: serde_json::from_value((*stage).into()).map_err(|e| e.to_string())?,
            moment: serde_json::from_value((*moment).into()).map_err(|e| e.to_string())?,
            nth: nth.parse().map_err(|_| format!("`{nth}` is no count"))?,
        })
    }
}

impl Point {
    /// What the world looks like when the host dies there, for people.
    pub(super) fn in_words(&self) -> String {
        let before = self.at.moment == Moment::Before;
        let text = match (self.at.stage, before) {
            (Stage::TurnTaken, true) => "the model has decided; nothing is written",
            (Stage::TurnTaken, false) => "the model's decision waits for a commit",
            (Stage::IntentDurable, true) => "about to write down what is to be sent",
            (Stage::IntentDurable, false) => "what is to be sent is on disk; nothing has left",
            (Stage::ApprovalConsumed, true) => "about to spend the person's approval",
            (Stage::ApprovalConsumed, false) => "the approval is spent; nothing has left",
            (Stage::RequestSent, true) => "the request is about to leave",
            (Stage::RequestSent, false) => "the far side has done it; no answer is recorded",
            (Stage::AnswerReceived, _) => "the answer is there; it is not recorded",
            (Stage::OutcomeSettled, _) => "the answer waits for a commit",
            (Stage::ObservationDurable, true) => "the tool is done; its output is not on disk",
            (Stage::ObservationDurable, false) => {
                "the output is on disk; the model has not seen it"
            }
            (Stage::ReplyGiven, _) => "the model is given the output",
            (Stage::BatchAppended | Stage::TransactionCommitted, true) => "in front of a commit",
            (Stage::BatchAppended | Stage::TransactionCommitted, false) => "right behind a commit",
            _ => "on the way",
        };
        match self.behind.map(|b| b.stage) {
            None => text.to_owned(),
            Some(Stage::IntentDurable) => format!("{text}: that of what is to be sent"),
            Some(_) => format!("{text}: that of the answer"),
        }
    }
}

/// Kills this process at a point.
pub(super) struct Trap {
    point: Point,
    armed: AtomicBool,
    seen: AtomicU32,
    seen_behind: AtomicU32,
}

impl Trap {
    pub(super) fn new(point: Point) -> Trap {
        Trap {
            point,
            armed: AtomicBool::new(point.behind.is_none()),
            seen: AtomicU32::new(0),
            seen_behind: AtomicU32::new(0),
        }
    }
}

fn hits(mark: Mark, seen: &AtomicU32, stage: Stage, moment: Moment) -> bool {
    (stage, moment) == (mark.stage, mark.moment)
        && seen.fetch_add(1, Ordering::SeqCst) + 1 == mark.nth
}

impl Watch for Trap {
    fn reached(&self, stage: Stage, moment: Moment, _: Option<Position>) {
        if !self.armed.load(Ordering::SeqCst) {
            if let Some(behind) = self.point.behind
                && hits(behind, &self.seen_behind, stage, moment)
            {
                self.armed.store(true, Ordering::SeqCst);
            }
        } else if hits(self.point.at, &self.seen, stage, moment) {
            die();
        }
    }
}

/// SIGKILL: nothing is cleaned up, no destructor runs, as in a power cut of the process.
fn die() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Writes down what is passed.
#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<(Stage, Moment)>>);

impl Recorder {
    pub(super) fn passed(&self) -> Vec<(Stage, Moment)> {
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passed.clone()
    }
}

impl Watch for Recorder {
    fn reached(&self, stage: Stage, moment: Moment, _: Option<Position>) {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passed.push((stage, moment));
    }
}
