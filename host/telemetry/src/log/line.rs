//! A line, as it is written: one JSON object, or a line of text for people.

use std::fmt;

use serde::Serialize;
use stoplog_model::event::RunEnded;
use stoplog_model::turn::FailureClass;
use stoplog_model::{SessionId, Tenant, TraceId, UsdMicros};

use super::{Count, Run, Step};
use crate::span::{Outcome, StepStatus, dollars};

/// How much a line matters: the first the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A run failed, or its host died.
    Error,
    /// A step failed.
    Warn,
    /// Everything else.
    Info,
}

/// What counts up. `cost_usd` is in dollars, `cost_usd_micros` is exact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tally {
    /// The model that was asked last.
    pub model: String,
    /// The profile behind it, until whoever writes the line puts the provider's name there.
    pub provider: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Calls that ended.
    pub tool_calls: u64,
    /// Those of them that failed.
    pub tool_errors: u64,
    /// What the model cost.
    pub cost_usd: f64,
    /// The same, exact.
    pub cost_usd_micros: UsdMicros,
}

/// What is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A step: one turn of the model, and its calls.
    Step {
        /// What kind of step. There is one.
        node: &'static str,
        /// Counted from 0.
        step_index: u32,
        /// How it ended.
        outcome: StepStatus,
        /// Messages of the conversation by then: the task, turns, results.
        message_count: u64,
        /// Whose the last one is.
        last_role: &'static str,
        /// What it took.
        #[serde(flatten)]
        tally: Tally,
        /// Milliseconds.
        duration_ms: u64,
        /// Why the model's turn could not be used.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_class: Option<FailureClass>,
    },
    /// A run.
    Run {
        /// How it ended.
        outcome: Outcome,
        /// The class of the failure, on error; `crashed` is in the outcome.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_class: Option<FailureClass>,
        /// Why, if not success: a reason code, with its page in `docs/reasons`.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        /// What to do about that. What others said of it stays in the journal.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_message: Option<&'static str>,
        /// Steps in this run.
        steps: u64,
        /// What it took.
        #[serde(flatten)]
        tally: Tally,
        /// Milliseconds.
        duration_ms: u64,
        /// The trace that it went on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        resumed_from: Option<TraceId>,
        /// Whether that one's host had died.
        after_crash: bool,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// When it was over, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// The session: what everything that belongs together has in common (requirement 90).
    pub thread_id: SessionId,
    /// The same, under its own name.
    pub session_id: SessionId,
    /// The run.
    pub trace_id: TraceId,
    /// Whose it is.
    pub tenant_id: Tenant,
    /// Who talks.
    pub user_id: String,
    /// The workflow.
    pub feature: String,
    /// What is over.
    #[serde(flatten)]
    pub what: What,
}

impl Line {
    /// What it took, whatever it was.
    pub fn tally_mut(&mut self) -> &mut Tally {
        match &mut self.what {
            What::Step { tally, .. } | What::Run { tally, .. } => tally,
        }
    }
}

/// What is told, before the session's part is put in front.
pub(super) struct Told {
    pub(super) at_ms: u64,
    pub(super) level: Level,
    pub(super) what: What,
}

impl Told {
    pub(super) fn step(
        (iteration, step): (u32, &Step),
        status: StepStatus,
        (message_count, last_role): (u64, &'static str),
        at_ms: u64,
    ) -> Told {
        let level = match status {
            StepStatus::Failed | StepStatus::Crashed => Level::Warn,
            StepStatus::Complete | StepStatus::Interrupted | StepStatus::Running => Level::Info,
        };
        Told {
            at_ms,
            level,
            what: What::Step {
                node: "agent_step",
                step_index: iteration.saturating_sub(1),
                outcome: status,
                message_count,
                last_role,
                tally: step.count.tally(),
                duration_ms: at_ms.saturating_sub(step.began_ms),
                error_class: step.failure,
            },
        }
    }

    pub(super) fn run(run: &Run, ended: Option<&RunEnded>, outcome: Outcome, at_ms: u64) -> Told {
        let level = match outcome {
            Outcome::Error | Outcome::Crashed => Level::Error,
            Outcome::Success | Outcome::Interrupt | Outcome::Running => Level::Info,
        };
        let reason = ended.and_then(|e| e.reason);
        Told {
            at_ms,
            level,
            what: What::Run {
                outcome,
                error_class: ended.and_then(|e| e.failure),
                reason: reason.map(|r| r.code()),
                error_message: reason.map(|r| r.hint()),
                steps: run.steps,
                tally: run.count.tally(),
                duration_ms: at_ms.saturating_sub(run.began_ms),
                resumed_from: run.started.resumed_from.clone(),
                after_crash: run.started.after_crash,
            },
        }
    }
}

impl Count {
    fn tally(&self) -> Tally {
        Tally {
            model: self.model.clone(),
            provider: self.profile.clone(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            tool_calls: self.tool_calls,
            tool_errors: self.tool_errors,
            cost_usd: dollars(self.cost),
            cost_usd_micros: self.cost,
        }
    }
}

/// For people, without the time: whoever prints it knows where they are.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (thread, tenant) = (&self.thread_id, &self.tenant_id);
        match &self.what {
            What::Step {
                step_index,
                outcome,
                tally,
                duration_ms,
                ..
            } => {
                write!(
                    f,
                    "{thread} ({tenant})  step {step_index} {}",
                    word(outcome)
                )?;
                tally_for_people(f, tally, *duration_ms)
            }
            What::Run {
                outcome,
                reason,
                steps,
                tally,
                duration_ms,
                ..
            } => {
                write!(f, "{thread} ({tenant})  run {}", word(outcome))?;
                if let Some(reason) = reason {
                    write!(f, " ({reason})")?;
                }
                write!(f, ": {steps} step(s),")?;
                tally_for_people(f, tally, *duration_ms)
            }
        }
    }
}

fn tally_for_people(f: &mut fmt::Formatter<'_>, tally: &Tally, ms: u64) -> fmt::Result {
    write!(f, " {} call(s)", tally.tool_calls)?;
    if tally.tool_errors > 0 {
        write!(f, ", {} failed", tally.tool_errors)?;
    }
    let (read, written) = (tally.prompt_tokens, tally.completion_tokens);
    write!(
        f,
        ", {read}+{written} tokens, ${}, {ms} ms",
        tally.cost_usd_micros
    )
}

/// The word of an outcome, as in JSON.
fn word(outcome: &impl Serialize) -> String {
    let value = serde_json::to_value(outcome).ok();
    let word = value.and_then(|v| v.as_str().map(str::to_owned));
    word.unwrap_or_default()
}
