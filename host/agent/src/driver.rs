//! Performs steps until the run ends.

use std::sync::Arc;

use futures::future::join_all;
use stoplog_dispatch::{Dispatched, Dispatcher, Wait};
use stoplog_journal::{JournalError, SessionJournal};
use stoplog_llm::Model;
use stoplog_model::event::{
    Event, ModelFailed, RunEnded, RunOutcome, RunStarted, TrimCause, TurnRejected,
};
use stoplog_model::port::{Clock, Hearing, Moment, Stage, Unheard};
use stoplog_model::turn::{Admission, FailureClass};
use stoplog_model::{ApprovalId, Position, Reason, TraceId};
use stoplog_policy::ClaimRules;
use stoplog_policy::claims::Unsupported;

use tokio_util::sync::CancellationToken;

use crate::context;
use crate::desk::TurnDesk;
use crate::prompt::{self, Frame};
use crate::step::{Step, next, owes_confirmation};
use crate::tally::{Calls, Tally};

/// What makes a run this one.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The run's trace: new for each run.
    pub trace_id: TraceId,
    /// Which host runs it.
    pub host: String,
}

/// How a run ended. Durable by the time that anybody holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// As in the journal.
    pub ended: RunEnded,
    /// The approval that it waits for, if it waits for one.
    pub approval: Option<ApprovalId>,
}

/// Runs sessions. One for all sessions of a host; keeps no state.
pub struct Driver {
    dispatcher: Dispatcher,
    model: Arc<dyn Model>,
    clock: Arc<dyn Clock>,
    hearing: Arc<dyn Hearing>,
    claims: ClaimRules,
    shutdown: CancellationToken,
    tally: Tally,
}

impl Driver {
    /// A driver.
    pub fn new(dispatcher: Dispatcher, model: Arc<dyn Model>, clock: Arc<dyn Clock>) -> Driver {
        Driver {
            dispatcher,
            model,
            clock,
            hearing: Arc::new(Unheard),
            claims: ClaimRules::default(),
            shutdown: CancellationToken::new(),
            tally: Tally::default(),
        }
    }

    /// The same, with the operator's rules about what an answer may say.
    pub fn with_claims(self, claims: ClaimRules) -> Driver {
        Driver { claims, ..self }
    }

    /// The same, told when the host shuts down. From then on nothing new is begun: every run ends
    /// with [`Reason::ShuttingDown`] as soon as its calls under way have ended.
    pub fn with_shutdown(self, shutdown: CancellationToken) -> Driver {
        Driver {
            dispatcher: self.dispatcher.with_shutdown(shutdown.clone()),
            shutdown,
            ..self
        }
    }

    /// The same, with somebody who hears the model's text while it comes.
    pub fn with_hearing(self, hearing: Arc<dyn Hearing>) -> Driver {
        Driver { hearing, ..self }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// How many calls began and ended, of all sessions.
    pub fn calls(&self) -> Calls {
        self.tally.calls()
    }

    /// Takes a session as far as it gets: its first run, or a resume. Everything that it needs to
    /// know is in the journal.
    pub async fn run(
        &self,
        journal: &Arc<SessionJournal>,
        spec: RunSpec,
    ) -> Result<Ended, JournalError> {
        let (started, to_confirm) = journal.read(|session| {
            let before = session.last_run();
            let started = RunStarted {
                trace_id: spec.trace_id,
                host: spec.host,
                resumed_from: before.map(|r| r.started.trace_id.clone()),
                at_iteration: session.current_iteration(),
                after_crash: before.is_some_and(|r| r.ended.is_none()),
            };
            (started, owes_confirmation(session))
        });
        journal.append(vec![Event::RunStarted(started)]).await?;
        if to_confirm && let Some(ended) = self.confirm_writes(journal).await? {
            return Ok(ended);
        }
        let frame = journal.read(Frame::new);
        loop {
            let step = journal.read(next);
            let ended = match step {
                // An answer that is there is delivered; nothing else is begun.
                Step::AskModel { .. } | Step::Run(_) if self.shutdown.is_cancelled() => {
                    Some(self.interrupt(journal, Wait::ShuttingDown).await?)
                }
                Step::AskModel { iteration } => self.ask_model(journal, &frame, iteration).await?,
                Step::Run(positions) => self.run_calls(journal, positions).await?,
                Step::Finish { answer } => Some(self.finish(journal, answer).await?),
                Step::Fail {
                    reason,
                    failure,
                    message,
                } => {
                    let ended = failed(Some(reason), failure, message);
                    Some(self.end(journal, ended, None).await?)
                }
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// After a crash every settled write is asked for at the far side (requirement 16). A shutdown
    /// in between leaves the rest to the next run: see [`owes_confirmation`].
    async fn confirm_writes(
        &self,
        journal: &Arc<SessionJournal>,
    ) -> Result<Option<Ended>, JournalError> {
        if journal.read(|s| s.archived.unconfirmed_writes > 0) {
            journal.recall().await?;
        }
        let settled: Vec<Position> = journal.read(|session| {
            let to_confirm = session
                .calls()
                .filter(|(_, c)| c.settled_write() && !c.confirmed && c.parked.is_none());
            to_confirm.map(|(position, _)| position).collect()
        });
        let mut wait = None;
        for position in settled {
            if self.shutdown.is_cancelled() {
                break;
            }
            let disagreement = self.dispatcher.confirm(journal, position).await?;
            wait = wait.or(disagreement);
        }
        if self.shutdown.is_cancelled() {
            wait = Some(Wait::ShuttingDown);
        }
        match wait {
            Some(wait) => Ok(Some(self.interrupt(journal, wait).await?)),
            None => Ok(None),
        }
    }

    /// Asks the model for a turn. A prompt that would fill too much of the context window is made
    /// shorter first; one that the provider refuses as too long, once more, and asked again once.
    async fn ask_model(
        &self,
        journal: &Arc<SessionJournal>,
        frame: &Frame,
        iteration: u32,
    ) -> Result<Option<Ended>, JournalError> {
        // The model is shown every turn, those that a snapshot left out too.
        journal.recall().await?;
        self.trim(journal, frame, iteration, TrimCause::Share);
        let failed = match self.ask_once(journal, frame, iteration).await {
            Asked::Over => return Ok(None),
            Asked::Failed(failed) => failed,
        };
        let is_long = failed.failure == Some(FailureClass::ContextPressure);
        if !is_long || !self.trim(journal, frame, iteration, TrimCause::Refused) {
            return Ok(Some(self.end(journal, failed, None).await?));
        }
        match self.ask_once(journal, frame, iteration).await {
            Asked::Over => Ok(None),
            Asked::Failed(failed) => Ok(Some(self.end(journal, failed, None).await?)),
        }
    }

    /// Makes the conversation shorter, if that is due and can be done. It is told before the prompt
    /// is built, and the prompt is built from what was told.
    fn trim(
        &self,
        journal: &Arc<SessionJournal>,
        frame: &Frame,
        iteration: u32,
        cause: TrimCause,
    ) -> bool {
        let plan = journal.read(|session| {
            let window = self.model.window(&prompt::course(session))?;
            context::plan(session, iteration, frame.bytes(), window, cause)
        });
        let Some(trimmed) = plan else {
            return false;
        };
        tracing::info!(
            session = %frame.session(),
            before = trimmed.before_tokens,
            after = trimmed.after_tokens,
            "the conversation is made shorter"
        );
        journal.stage(Event::ContextTrimmed(trimmed));
        true
    }

    async fn ask_once(
        &self,
        journal: &Arc<SessionJournal>,
        frame: &Frame,
        iteration: u32,
    ) -> Asked {
        let request = journal.read(|session| frame.request(session, iteration));
        let session = frame.session();
        let desk = TurnDesk::new(journal, session, iteration, &*self.clock, &*self.hearing);
        // Nothing durable depends on an answer that is still being written: it is dropped, and
        // asked for again by the next run.
        let asked = self.model.ask(&request, &desk);
        let turn = match self.shutdown.run_until_cancelled(asked).await {
            None => {
                desk.retract();
                return Asked::Over;
            }
            Some(Ok(turn)) => turn,
            Some(Err(error)) => {
                desk.retract();
                let reason = match error.failure {
                    FailureClass::BudgetExhausted => Reason::ModelBudgetExhausted,
                    _ => Reason::ModelUnavailable,
                };
                journal.stage(Event::ModelFailed(ModelFailed {
                    iteration,
                    model_id: self.model.model_id().to_owned(),
                    attempts: error.attempts,
                    failure: error.failure,
                }));
                return Asked::Failed(failed(Some(reason), error.failure, error.message));
            }
        };
        match turn.finish.admits(!turn.calls.is_empty()) {
            Admission::Dispatch | Admission::Answer => {
                journal.take_turn(turn);
                Asked::Over
            }
            Admission::Fail(failure) => {
                desk.retract();
                let message = format!(
                    "the model stopped with `{}`: its turn is neither an answer nor a call",
                    turn.finish_raw
                );
                journal.stage(Event::TurnRejected(TurnRejected { turn, failure }));
                Asked::Failed(failed(Some(Reason::ModelAnswerUnusable), failure, message))
            }
        }
    }

    /// Reads at once, a write alone. Every call is taken as far as it gets before the run ends,
    /// so that nothing is left half done by a neighbour's wait.
    async fn run_calls(
        &self,
        journal: &Arc<SessionJournal>,
        positions: Vec<Position>,
    ) -> Result<Option<Ended>, JournalError> {
        let all = positions.into_iter().map(|p| self.run_call(journal, p));
        let mut wait = None;
        for dispatched in join_all(all).await {
            if let Some(Dispatched::Waits(waits)) = dispatched? {
                wait = wait.or(Some(waits));
            }
        }
        journal.reached(Stage::ReplyGiven, Moment::After, None);
        match wait {
            Some(wait) => Ok(Some(self.interrupt(journal, wait).await?)),
            None => Ok(None),
        }
    }

    /// One call; none when the host is shutting down and it was not begun.
    pub(crate) async fn run_call(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
    ) -> Result<Option<Dispatched>, JournalError> {
        if self.shutdown.is_cancelled() {
            return Ok(None);
        }
        let _under_way = self.tally.begin();
        let dispatched = self.dispatcher.dispatch(journal, position).await?;
        journal.reached(Stage::ReplyGiven, Moment::Before, Some(position));
        Ok(Some(dispatched))
    }

    /// Delivers the answer, unless it says that something was done which nothing did. The text
    /// stays in its turn.
    async fn finish(
        &self,
        journal: &Arc<SessionJournal>,
        answer: String,
    ) -> Result<Ended, JournalError> {
        // What was done in a turn that a snapshot left out counts too.
        journal.recall().await?;
        let unsupported = journal.read(|s| self.claims.unsupported(s, &answer));
        let ended = match unsupported.is_empty() {
            true => success(answer),
            false => failed(
                Some(Reason::UnsupportedClaim),
                FailureClass::PolicyDenied,
                said_and_not_done(&unsupported),
            ),
        };
        self.end(journal, ended, None).await
    }

    pub(crate) async fn interrupt(
        &self,
        journal: &Arc<SessionJournal>,
        wait: Wait,
    ) -> Result<Ended, JournalError> {
        let (reason, message, approval) = match wait {
            Wait::Approval(id) => (
                Reason::ApprovalRequired,
                format!("waits for approval {id}"),
                Some(id),
            ),
            Wait::Parked(reason) => (reason, "a call is parked for a person".into(), None),
            Wait::ShuttingDown => (
                Reason::ShuttingDown,
                "the host was told to stop; nothing is under way".into(),
                None,
            ),
        };
        let ended = RunEnded {
            outcome: RunOutcome::Interrupt,
            answer: String::new(),
            reason: Some(reason),
            failure: None,
            message,
        };
        self.end(journal, ended, approval).await
    }

    pub(crate) async fn end(
        &self,
        journal: &Arc<SessionJournal>,
        ended: RunEnded,
        approval: Option<ApprovalId>,
    ) -> Result<Ended, JournalError> {
        tracing::info!(outcome = ?ended.outcome, "run ended");
        journal.append(vec![Event::RunEnded(ended.clone())]).await?;
        Ok(Ended { ended, approval })
    }
}

/// What came of asking the model.
enum Asked {
    /// A turn is taken, or the host shuts down: the next step says.
    Over,
    /// The run ends so, unless the prompt can be made shorter.
    Failed(RunEnded),
}

/// The words that nothing supports, and what would have.
fn said_and_not_done(unsupported: &[Unsupported]) -> String {
    let each = unsupported
        .iter()
        .map(|claim| match claim.tools.as_slice() {
            [] => format!("the answer says `{}`, which no tool can do", claim.words),
            tools => format!(
                "the answer says `{}`, and no call of {} succeeded in this session",
                claim.words,
                tools.join(" or ")
            ),
        });
    each.collect::<Vec<_>>().join("; ")
}

pub(crate) fn success(answer: String) -> RunEnded {
    RunEnded {
        outcome: RunOutcome::Success,
        answer,
        reason: None,
        failure: None,
        message: String::new(),
    }
}

fn failed(reason: Option<Reason>, failure: FailureClass, message: String) -> RunEnded {
    RunEnded {
        outcome: RunOutcome::Error,
        answer: String::new(),
        reason,
        failure: Some(failure),
        message,
    }
}
