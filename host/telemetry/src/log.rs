//! Records to lines of a log: one at the end of each step, and one at the end of each run
//! (requirements 88 to 92).
//!
//! Invariants:
//! * a line is a fold of committed records: it says nothing that the journal does not say;
//! * no field is a text of a person, a model, a tool or a provider: words of ours, ids, names from the
//!   configuration, numbers;
//! * `thread_id`, which is the session's id, is on every line.
//!
//! A run whose host died has its lines too: whoever goes on with the session writes them.

mod line;

use std::collections::{BTreeMap, BTreeSet};

use stoplog_model::event::{
    CallResult, Event, ModelAsked, Observed, RunEnded, RunOutcome, RunStarted, SessionStarted,
};
use stoplog_model::session::Session;
use stoplog_model::turn::{FailureClass, Turn};
use stoplog_model::{Record, UsdMicros};

pub use line::{Level, Line, Tally, What};

use crate::span::{Outcome, StepStatus};
use line::Told;

/// What counts up, in a step and in a run.
#[derive(Debug, Clone, Default)]
struct Count {
    model: String,
    profile: String,
    prompt_tokens: u64,
    completion_tokens: u64,
    tool_calls: u64,
    tool_errors: u64,
    cost: UsdMicros,
}

impl Count {
    fn add_turn(&mut self, turn: &Turn, profile: &str) {
        profile.clone_into(&mut self.profile);
        self.model.clone_from(&turn.model_id);
        self.prompt_tokens += turn.input_tokens;
        self.completion_tokens += turn.output_tokens;
        self.cost += turn.cost;
    }

    fn add_call(&mut self, observed: &Observed) {
        self.tool_calls += 1;
        self.tool_errors += u64::from(matches!(observed.result, CallResult::Err(_)));
    }
}

/// A step that is not over.
#[derive(Debug)]
struct Step {
    began_ms: u64,
    count: Count,
    failure: Option<FailureClass>,
}

/// The present run.
#[derive(Debug)]
struct Run {
    started: RunStarted,
    began_ms: u64,
    count: Count,
    /// Steps that are over.
    steps: u64,
    /// Those that are not. One at most, unless a client takes the turns.
    open: BTreeMap<u32, Step>,
}

impl Run {
    fn step(&mut self, iteration: u32, began_ms: u64) -> &mut Step {
        self.open.entry(iteration).or_insert_with(|| Step {
            began_ms,
            count: Count::default(),
            failure: None,
        })
    }
}

/// Folds the records of one session into lines.
#[derive(Debug)]
pub struct LogMaker {
    session: SessionStarted,
    run: Option<Run>,
    /// Calls that the loop has not seen the end of, by iteration.
    waiting: BTreeMap<u32, BTreeSet<u32>>,
    unanswered: Vec<ModelAsked>,
    messages: u64,
    last_role: &'static str,
    last_at_ms: u64,
}

impl LogMaker {
    /// A session that begins. None: it does not begin with this record.
    pub fn begin(first: &Record) -> Option<LogMaker> {
        let Event::SessionStarted(started) = &first.event else {
            return None;
        };
        let session = SessionStarted {
            task: String::new(),
            system_prompt: String::new(),
            tools: Vec::new(),
            ..started.clone()
        };
        Some(LogMaker {
            session,
            run: None,
            waiting: BTreeMap::new(),
            unanswered: Vec::new(),
            messages: 1,
            last_role: "user",
            last_at_ms: first.at_ms,
        })
    }

    /// A session that is there: what its records say was told by others. None: there is no record.
    pub fn over(records: &[Record]) -> Option<LogMaker> {
        let (first, rest) = records.split_first()?;
        let mut maker = LogMaker::begin(first)?;
        for record in rest {
            maker.push(record);
        }
        Some(maker)
    }

    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Takes the next record, and gives the lines that it completes.
    pub fn push(&mut self, record: &Record) -> Vec<Line> {
        let at_ms = record.at_ms;
        let lines = match &record.event {
            Event::RunStarted(started) => self.run_started(started, at_ms),
            Event::ModelAsked(asked) => {
                self.unanswered.push(asked.clone());
                Vec::new()
            }
            Event::TurnTaken(turn) => self.turn(turn),
            Event::TurnRejected(rejected) => {
                self.asked(&rejected.turn, Some(rejected.failure));
                Vec::new()
            }
            Event::ModelFailed(failed) => {
                self.unanswered.clear();
                let began_ms = failed.attempts.first().map_or(at_ms, |a| a.started_at_ms);
                let cost = failed.attempts.iter().map(|a| a.cost).sum();
                self.paid(failed.iteration, began_ms, cost);
                if let Some(run) = &mut self.run {
                    run.step(failed.iteration, began_ms).failure = Some(failed.failure);
                }
                Vec::new()
            }
            Event::Observed(observed) => self.observed(observed, at_ms),
            Event::RunEnded(ended) => self.run_ended(ended, at_ms),
            _ => Vec::new(),
        };
        self.last_at_ms = at_ms;
        lines
    }

    fn run_started(&mut self, started: &RunStarted, at_ms: u64) -> Vec<Line> {
        let lines = self.ended(
            (StepStatus::Crashed, Outcome::Crashed),
            None,
            self.last_at_ms,
        );
        let mut run = Run {
            started: started.clone(),
            began_ms: at_ms,
            count: Count::default(),
            steps: 0,
            open: BTreeMap::new(),
        };
        // A run that goes on in the middle of a turn is in that step from its first moment.
        for iteration in self.waiting.keys() {
            run.step(*iteration, at_ms);
        }
        self.run = Some(run);
        lines
    }

    /// The model answered, with what can be used or not.
    fn asked(&mut self, turn: &Turn, failure: Option<FailureClass>) {
        let asked = std::mem::take(&mut self.unanswered);
        let profile = asked.last().map(|a| a.profile.clone()).unwrap_or_default();
        if let Some(run) = &mut self.run {
            run.count.add_turn(turn, &profile);
            let step = run.step(turn.iteration, turn.started_at_ms);
            step.count.add_turn(turn, &profile);
            step.failure = failure;
        }
    }

    fn turn(&mut self, turn: &Turn) -> Vec<Line> {
        self.asked(turn, None);
        self.messages += 1;
        self.last_role = "assistant";
        if turn.calls.is_empty() {
            let at_ms = turn.started_at_ms + turn.latency_ms;
            return self.close(turn.iteration, StepStatus::Complete, at_ms);
        }
        let ordinals = turn.calls.iter().map(|call| call.ordinal);
        self.waiting.insert(turn.iteration, ordinals.collect());
        Vec::new()
    }

    fn observed(&mut self, observed: &Observed, at_ms: u64) -> Vec<Line> {
        self.messages += 1;
        self.last_role = "tool";
        let position = observed.position;
        if let Some(run) = &mut self.run {
            run.count.add_call(observed);
            run.step(position.iteration, at_ms).count.add_call(observed);
        }
        let Some(waiting) = self.waiting.get_mut(&position.iteration) else {
            return Vec::new();
        };
        waiting.remove(&position.ordinal);
        if !waiting.is_empty() {
            return Vec::new();
        }
        self.waiting.remove(&position.iteration);
        self.close(position.iteration, StepStatus::Complete, at_ms)
    }

    /// Money for requests that brought no turn.
    fn paid(&mut self, iteration: u32, at_ms: u64, cost: UsdMicros) {
        if let Some(run) = &mut self.run {
            run.count.cost += cost;
            run.step(iteration, at_ms).count.cost += cost;
        }
    }

    fn run_ended(&mut self, ended: &RunEnded, at_ms: u64) -> Vec<Line> {
        let how = match ended.outcome {
            RunOutcome::Success => (StepStatus::Complete, Outcome::Success),
            RunOutcome::Error => (StepStatus::Failed, Outcome::Error),
            RunOutcome::Interrupt => (StepStatus::Interrupted, Outcome::Interrupt),
        };
        self.ended(how, Some(ended), at_ms)
    }

    /// The lines of a run that is over, if there is one.
    fn ended(
        &mut self,
        (status, outcome): (StepStatus, Outcome),
        ended: Option<&RunEnded>,
        at_ms: u64,
    ) -> Vec<Line> {
        let unanswered = std::mem::take(&mut self.unanswered);
        if let Some(last) = unanswered.last() {
            self.paid(last.iteration, at_ms, Session::cost_of(&unanswered));
        }
        let open = self.run.iter().flat_map(|run| run.open.keys().copied());
        let mut lines = Vec::new();
        for iteration in open.collect::<Vec<u32>>() {
            lines.extend(self.close(iteration, status, at_ms));
        }
        let Some(run) = self.run.take() else {
            return lines;
        };
        let told = Told::run(&run, ended, outcome, at_ms);
        lines.push(self.line(&run, told));
        lines
    }

    fn close(&mut self, iteration: u32, status: StepStatus, at_ms: u64) -> Vec<Line> {
        let Some(run) = &mut self.run else {
            return Vec::new();
        };
        let Some(step) = run.open.remove(&iteration) else {
            return Vec::new();
        };
        run.steps += 1;
        let Some(run) = &self.run else {
            return Vec::new();
        };
        let conversation = (self.messages, self.last_role);
        let told = Told::step((iteration, &step), status, conversation, at_ms);
        vec![self.line(run, told)]
    }

    fn line(&self, run: &Run, told: Told) -> Line {
        Line {
            timestamp_ms: told.at_ms,
            level: told.level,
            thread_id: self.session.session.clone(),
            session_id: self.session.session.clone(),
            trace_id: run.started.trace_id.clone(),
            tenant_id: self.session.tenant.clone(),
            user_id: self.session.user.clone(),
            feature: self.session.feature.clone(),
            what: told.what,
        }
    }
}

#[cfg(test)]
mod tests;
