//! One call from its place in a turn to its observation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stoplog_admission::{Place, Places};
use stoplog_egress::{Egress, Grant};
use stoplog_journal::{JournalError, Observation, SessionJournal};
use stoplog_model::event::{
    Approval, ApprovalDecided, CallResult, Event, Observed, Parked, Pin, Resolution, Verdict,
};
use stoplog_model::key::{ActKey, CallKey};
use stoplog_model::outcome::{Aftermath, Disposition, ErrorCode, ToolError};
use stoplog_model::port::{Clock, Entry, Returned, Runner};
use stoplog_model::session::CallState;
use stoplog_model::{ApprovalId, Digest, Position, Reason, Session};
use stoplog_policy::{ApprovalRules, Clearance, Facts, Judgement, judge};
use tokio_util::sync::CancellationToken;

use crate::execute::{Executed, Mode};
use crate::gate::Rights;
use crate::place::{Admission, default_bounds};
use crate::recover::undo_answered;
use crate::schema::Schemas;

/// What the operator lets a tool reach.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Origins.
    pub grants: Arc<[Grant]>,
    /// Whether it may keep state between its calls.
    pub state: bool,
}

/// A call that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// For an approval.
    Approval(ApprovalId),
    /// For a decision about a parked call.
    Parked(Reason),
    /// For the next host: this one is shutting down, and would have sent something again. Nothing
    /// is under way.
    ShuttingDown,
}

/// How far a call got.
#[derive(Debug)]
#[must_use = "the loop goes on with an observation, and stops at a wait"]
pub enum Dispatched {
    /// It ended, and that is durable.
    Observed(Observation),
    /// It waits.
    Waits(Wait),
}

/// Runs calls. One for all sessions of a host.
pub struct Dispatcher {
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) egress: Egress,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rules: Arc<ApprovalRules>,
    pub(crate) access: BTreeMap<String, Access>,
    pub(crate) schemas: Schemas,
    pub(crate) places: Places,
    pub(crate) shutdown: CancellationToken,
}

/// A call on its way: what every step needs to know.
pub(crate) struct Passage {
    pub(crate) journal: Arc<SessionJournal>,
    pub(crate) position: Position,
    pub(crate) pin: Arc<Pin>,
    pub(crate) call: CallState,
    pub(crate) header_key: String,
    pub(crate) act_key: Option<ActKey>,
    pub(crate) args_digest: Digest,
}

impl Passage {
    /// The call as the journal has it now.
    pub(crate) fn refresh(&mut self) {
        if let Some(call) = self.journal.read(|s| s.call(self.position).cloned()) {
            self.call = call;
        }
    }
}

impl Dispatcher {
    /// A dispatcher. `access` is by tool name; a tool that is not in it reaches nothing.
    pub fn new(
        runner: Arc<dyn Runner>,
        egress: Egress,
        clock: Arc<dyn Clock>,
        rules: impl Into<Arc<ApprovalRules>>,
        access: BTreeMap<String, Access>,
    ) -> Dispatcher {
        Dispatcher {
            runner,
            egress,
            clock,
            rules: rules.into(),
            access,
            schemas: Schemas::default(),
            places: Places::new(default_bounds()),
            shutdown: CancellationToken::new(),
        }
    }

    /// The same, with other places for calls than [`default_bounds`].
    pub fn with_places(self, places: Places) -> Dispatcher {
        Dispatcher { places, ..self }
    }

    /// The same, told when the host shuts down: then no recovery waits to send again.
    pub fn with_shutdown(self, shutdown: CancellationToken) -> Dispatcher {
        Dispatcher { shutdown, ..self }
    }

    /// Waits before something is sent or asked again. `false`: the host is shutting down, nothing
    /// is under way, and the next host goes on from the journal.
    pub(crate) async fn pause(&self, ms: u64) -> bool {
        let pause = tokio::time::sleep(Duration::from_millis(ms));
        self.shutdown.run_until_cancelled(pause).await.is_some()
    }

    /// Takes a call as far as it gets. Safe to call again after a crash, or after a wait.
    pub async fn dispatch(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
    ) -> Result<Dispatched, JournalError> {
        let mut waited = None;
        loop {
            let judged = journal.read(|session| self.judge(session, position));
            let next = match judged {
                Judged::Parked(reason) => return Ok(Dispatched::Waits(Wait::Parked(reason))),
                Judged::Resolved(result) => {
                    return self
                        .observe_plain(journal, position, Disposition::Parked, result)
                        .await;
                }
                Judged::By(Judgement::Refuse(error)) => {
                    let result = CallResult::Err(error);
                    return self
                        .observe_plain(journal, position, Disposition::Refused, result)
                        .await;
                }
                Judged::By(Judgement::Expire { approval }) => {
                    let expired = ApprovalDecided {
                        id: approval,
                        position,
                        verdict: Verdict::Expired,
                        by: "clock".into(),
                        note: "nobody decided in time".into(),
                    };
                    journal
                        .append(vec![Event::ApprovalDecided(expired)])
                        .await?;
                    continue;
                }
                Judged::By(Judgement::Wait { approval }) => {
                    return Ok(Dispatched::Waits(Wait::Approval(approval)));
                }
                Judged::By(Judgement::Hold { why }) => Next::Ask(why),
                Judged::By(Judgement::Clear(clearance)) => Next::Run(clearance),
            };
            let place = match waited.take() {
                Some(place) => place,
                None => match self.admit(journal, position).await? {
                    Admission::Over(dispatched) => return Ok(dispatched),
                    // What was judged before a wait in line is judged again behind it.
                    Admission::Place(place) if place.was_waited_for() => {
                        waited = Some(place);
                        continue;
                    }
                    Admission::Place(place) => place,
                },
            };
            return match next {
                Next::Ask(why) => self.ask(journal, position, why, place).await,
                Next::Run(clearance) => self.run(journal, position, clearance, place).await,
            };
        }
    }

    fn judge(&self, session: &Session, position: Position) -> Judged {
        let call = session.call(position);
        if let Some(call) = call {
            if let Some(parked) = &call.parked {
                return Judged::Parked(parked.reason);
            }
            if let Some(result) = resolved(call) {
                return Judged::Resolved(result);
            }
        }
        let input_problem = call.and_then(|call| {
            let pin = session.pin(&call.call.tool)?;
            self.schemas.input_problem(pin, &call.call.arguments)
        });
        Judged::By(judge(Facts {
            session,
            position,
            input_problem: input_problem.as_deref(),
            rules: &self.rules,
            now_ms: self.clock.now_ms(),
        }))
    }

    /// A cleared call: looked up, run, and cured if it ends in doubt.
    async fn run(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
        clearance: Clearance,
        place: Place,
    ) -> Result<Dispatched, JournalError> {
        let Some(mut passage) = self.cleared(journal, &clearance) else {
            let error = ToolError::of_host(
                ErrorCode::Internal,
                Reason::UnknownTool,
                "the call is gone from the session",
            );
            let result = CallResult::Err(error);
            return self
                .observe_plain(journal, position, Disposition::Refused, result)
                .await;
        };
        if passage.call.effects.is_empty()
            && let Some(observation) = self.act_done_before(&passage).await?
        {
            return Ok(Dispatched::Observed(observation));
        }
        // An effect in doubt, or half an undo, from a run that died: find out before anything runs
        // again.
        if passage.call.doubt().is_some() || undo_answered(&passage.call) {
            drop(place);
            return self.recover(&mut passage, None, true).await;
        }
        let ran = self.execute(&mut passage, clearance, Mode::Replay, place);
        match ran.await? {
            Executed::Over(dispatched) => Ok(dispatched),
            Executed::Doubt(error) => self.recover(&mut passage, error, false).await,
        }
    }

    /// Everything that the steps need of a call whose tool is known and whose key can be filled.
    pub(crate) fn passage(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
    ) -> Option<Passage> {
        journal.read(|session| {
            let call = session.call(position)?.clone();
            let pin = session.pin(&call.call.tool)?.clone();
            let (header_key, act_key) =
                stoplog_policy::judge::keys(session, position, &call, &pin).ok()?;
            Some(Passage {
                journal: journal.clone(),
                position,
                args_digest: stoplog_policy::judge::args_digest(&call),
                pin,
                call,
                header_key,
                act_key,
            })
        })
    }

    /// The same of a call that was judged: its keys and its digest are known.
    fn cleared(&self, journal: &Arc<SessionJournal>, clearance: &Clearance) -> Option<Passage> {
        let position = clearance.position();
        let (call, pin) = journal.read(|session| {
            let call = session.call(position)?;
            Some((call.clone(), session.pin(&call.call.tool)?.clone()))
        })?;
        Some(Passage {
            journal: journal.clone(),
            position,
            pin,
            call,
            header_key: clearance.header_key().to_owned(),
            act_key: clearance.act_key().cloned(),
            args_digest: clearance.args_digest().clone(),
        })
    }

    /// A call that a person is to be asked about, unless its act is done already.
    async fn ask(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
        why: String,
        place: Place,
    ) -> Result<Dispatched, JournalError> {
        let Some(passage) = self.passage(journal, position) else {
            return Ok(Dispatched::Waits(Wait::Parked(Reason::UnknownTool)));
        };
        match self.act_done_before(&passage).await? {
            Some(observation) => Ok(Dispatched::Observed(observation)),
            None => self.ask_approval(&passage, why, place).await,
        }
    }

    /// The packet for a person, and the wait for it. The preview is the tool's own, made with
    /// read-only rights; a tool that cannot preview still asks, and says why.
    async fn ask_approval(
        &self,
        passage: &Passage,
        why: String,
        place: Place,
    ) -> Result<Dispatched, JournalError> {
        let (journal, position) = (&passage.journal, passage.position);
        let preview = self.preview(passage, place).await;
        let now_ms = self.clock.now_ms();
        let args_digest = passage.args_digest.clone();
        let session = journal.read(|s| s.started.session.clone());
        let id = ApprovalId::derived(&session, position, &args_digest);
        let approval = Approval {
            id: id.clone(),
            position,
            tool: passage.call.call.tool.clone(),
            tool_version: passage.pin.contract.version.clone(),
            component: passage.pin.component.clone(),
            class: passage.pin.class,
            preview,
            arguments: passage.call.call.arguments.clone(),
            args_digest,
            why,
            requested_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(self.rules.expiry_ms()),
        };
        journal
            .append(vec![Event::ApprovalRequested(approval)])
            .await?;
        Ok(Dispatched::Waits(Wait::Approval(id)))
    }

    async fn preview(&self, passage: &Passage, place: Place) -> String {
        if !passage.pin.class.held_by_default() {
            return "(tools of this class have no preview; see the arguments)".into();
        }
        let input = passage.call.call.arguments.to_string();
        let ran = self
            .run_entry(passage, Entry::Preview { input }, Rights::Look, place)
            .await
            .0;
        match ran.result {
            Ok(Returned::Text(text)) => text,
            Ok(Returned::Error(error)) => format!("(the tool has no preview: {})", error.message),
            Ok(Returned::Finding(_)) => "(the tool gave no preview)".into(),
            Err(error) => format!("(the tool has no preview: {error})"),
        }
    }

    /// Parks a call: nothing more happens to it until a person has decided.
    pub(crate) async fn park(
        &self,
        passage: &Passage,
        reason: Reason,
        detail: String,
    ) -> Result<Dispatched, JournalError> {
        let parked = Parked {
            position: passage.position,
            reason,
            detail,
        };
        passage.journal.append(vec![Event::Parked(parked)]).await?;
        Ok(Dispatched::Waits(Wait::Parked(reason)))
    }

    /// Observes a call for which nothing ran in this run.
    pub(crate) async fn observe_plain(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
        disposition: Disposition,
        result: CallResult,
    ) -> Result<Dispatched, JournalError> {
        let now_ms = self.clock.now_ms();
        let observed = journal.read(|session| {
            let call = session.call(position)?;
            let keys = session
                .pin(&call.call.tool)
                .and_then(|pin| stoplog_policy::judge::keys(session, position, call, pin).ok());
            let (key, act_key) = keys.unwrap_or_else(|| {
                let started = &session.started;
                let tool = &call.call.tool;
                (
                    CallKey::new(&started.tenant, &started.session, position, tool).to_string(),
                    None,
                )
            });
            Some(Observed {
                position,
                tool: call.call.tool.clone(),
                disposition,
                result,
                key,
                act_key,
                args_digest: stoplog_policy::judge::args_digest(call),
                started_at_ms: call.started_at_ms.unwrap_or(now_ms),
                latency_ms: 0,
                timed_out: false,
                log: String::new(),
                annotations: Vec::new(),
                spans: Vec::new(),
                state: Vec::new(),
            })
        });
        match observed {
            Some(observed) => Ok(Dispatched::Observed(journal.observe(observed).await?)),
            None => Ok(Dispatched::Waits(Wait::Parked(Reason::UnknownTool))),
        }
    }
}

/// What a judged call needs a place for.
enum Next {
    /// To show a person what it would do.
    Ask(String),
    /// To be done.
    Run(Clearance),
}

enum Judged {
    By(Judgement),
    Parked(Reason),
    Resolved(CallResult),
}

/// What a person's decision about a parked call makes of it, if the loop has not seen it yet.
fn resolved(call: &CallState) -> Option<CallResult> {
    let resolved = call
        .resolution
        .as_ref()
        .filter(|_| call.observed.is_none())?;
    let error = |aftermath, message: String| {
        CallResult::Err(ToolError {
            code: ErrorCode::Upstream,
            reason: None,
            message,
            hint: None,
            retry_after_ms: None,
            aftermath,
        })
    };
    match &resolved.resolution {
        Resolution::Done(Some(output)) => Some(CallResult::Ok(output.clone())),
        Resolution::Done(None) => Some(error(
            Aftermath::Changed,
            format!(
                "{} confirmed that this was done; its output is not known",
                resolved.by
            ),
        )),
        Resolution::Abandon => Some(error(
            Aftermath::Unknown,
            format!(
                "{} gave this call up; nobody knows whether it was done",
                resolved.by
            ),
        )),
        Resolution::NotDone => None,
    }
}
