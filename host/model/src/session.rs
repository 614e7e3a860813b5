//! The state of a session: the fold of its events, and nothing else.
//!
//! Invariants kept here, whatever is written:
//! * a turn begins only when every call of the turn before is observed, unless a client takes the
//!   turns;
//! * an effect changes only by [`EffectState::next`];
//! * an approval is decided once and consumed once;
//! * a call is observed once, and then only a person's correction of a mismatch changes it.

mod asking;
mod effect;
mod frozen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use asking::Spent;
pub use effect::{EffectEvent, EffectState, IllegalTransition};
pub use frozen::Frozen;
use serde::{Deserialize, Serialize};

use crate::call::{Call, Position};
use crate::event::*;
use crate::id::ApprovalId;
use crate::key::UNDO_LABEL;
use crate::money::UsdMicros;
use crate::outcome::{Aftermath, Disposition, ErrorCode, Finding, ToolError};
use crate::reason::Reason;
use crate::state::StateRead;
use crate::turn::Turn;

/// An event that is not legal in the state that it meets: the journal is damaged, or two hosts
/// wrote. Never applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} ({kind}) is not legal here: {why}")]
pub struct IllegalEvent {
    /// Its place.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// What is wrong.
    pub why: String,
}

/// An approval and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalState {
    /// The packet.
    pub approval: Approval,
    /// The decision, if there is one.
    pub decision: Option<ApprovalDecided>,
    /// An intent has consumed it.
    pub consumed: bool,
}

impl ApprovalState {
    /// Whether it can still be decided at this time.
    pub fn is_pending(&self, now_ms: u64) -> bool {
        self.decision.is_none() && now_ms < self.approval.expires_at_ms
    }

    /// Whether the clock has run out undecided.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.decision.is_none() && now_ms >= self.approval.expires_at_ms
    }

    /// The verdict, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.decision.as_ref().map(|d| d.verdict)
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallState {
    /// As the model asked.
    pub call: Call,
    /// The approval, if one was asked for.
    pub approval: Option<ApprovalState>,
    /// Recorded start, if it has started.
    pub started_at_ms: Option<u64>,
    /// How often it has been started.
    pub starts: u32,
    /// Recorded reads, in order.
    pub reads: Vec<ReadRecorded>,
    /// Recorded looks at the tool's state, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_reads: Vec<StateRead>,
    /// Effects in the order of their first intent.
    pub effects: Vec<EffectState>,
    /// The last probe in a recovery.
    pub last_probe: Option<Probed>,
    /// It was confirmed at the far side after a crash.
    pub confirmed: bool,
    /// Waiting for a person.
    pub parked: Option<Parked>,
    /// How often it has been undone.
    pub undone: u32,
    /// A person resolved its park: how.
    pub resolution: Option<ParkResolved>,
    /// How it ended.
    pub observed: Option<Observed>,
    /// `seq` of the observation.
    pub observed_seq: u64,
}

impl CallState {
    fn new(call: Call) -> CallState {
        CallState {
            call,
            approval: None,
            started_at_ms: None,
            starts: 0,
            reads: Vec::new(),
            state_reads: Vec::new(),
            effects: Vec::new(),
            last_probe: None,
            confirmed: false,
            parked: None,
            undone: 0,
            resolution: None,
            observed: None,
            observed_seq: 0,
        }
    }

    /// The same happens to every effect of the call.
    fn all_effects(&mut self, event: EffectEvent<'_>) -> Result<(), IllegalTransition> {
        for effect in &mut self.effects {
            *effect = EffectState::next(Some(effect), &event)?;
        }
        Ok(())
    }

    /// One effect of the call changes, or is intended for the first time.
    fn one_effect(&mut self, label: &str, event: EffectEvent<'_>) -> Result<(), IllegalTransition> {
        let place = self.effects.iter().position(|e| e.intent.label == label);
        let next = EffectState::next(place.map(|i| &self.effects[i]), &event)?;
        match place {
            Some(i) => self.effects[i] = next,
            None => self.effects.push(next),
        }
        Ok(())
    }

    /// A person found that the call was not done. Effects that the far side answered with success
    /// stay in force, unless it was the far side itself that did not know them any more, or an
    /// undo that may have been done has taken them back.
    fn found_not_done(&mut self, parked_for: Reason) -> Result<(), IllegalTransition> {
        let denied = matches!(parked_for, Reason::LedgerMismatch | Reason::FoundSeveral)
            || self
                .effect(UNDO_LABEL)
                .is_some_and(|undo| undo.aftermath() != Aftermath::Untouched);
        self.all_effects(EffectEvent::FoundNotDone { denied })?;
        if self.effects.iter().all(|e| e.void) {
            self.reads.clear();
            self.state_reads.clear();
        }
        Ok(())
    }

    /// Whether it is not observed, or waits for a person.
    fn is_open(&self) -> bool {
        self.observed.is_none() || self.parked.is_some()
    }

    /// The effect under a label.
    pub fn effect(&self, label: &str) -> Option<&EffectState> {
        self.effects.iter().find(|e| e.intent.label == label)
    }

    /// The first effect that is in doubt.
    pub fn doubt(&self) -> Option<&EffectState> {
        self.effects.iter().find(|e| e.in_doubt())
    }

    /// Whether the call was done as far as the journal knows: it executed and returned output.
    pub fn settled_write(&self) -> bool {
        let Some(observed) = &self.observed else {
            return false;
        };
        matches!(observed.result, CallResult::Ok(_))
            && matches!(
                observed.disposition,
                Disposition::Executed | Disposition::Probed
            )
            && !self.effects.is_empty()
    }
}

/// One turn and its calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnState {
    /// The turn.
    pub turn: Turn,
    /// The profile that gave it; empty for the first of the configuration, or for no provider.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Its calls, by ordinal.
    pub calls: Vec<CallState>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Its start.
    pub started: RunStarted,
    /// When it began, milliseconds since the Unix epoch.
    pub began_at_ms: u64,
    /// What its turns cost, those that could not be used and requests that nobody read the answer
    /// of included.
    pub cost: UsdMicros,
    /// What it asked of model providers.
    #[serde(default)]
    pub spent: Spent,
    /// Its end; none if it died.
    pub ended: Option<RunEnded>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A run is under way, or died.
    Active,
    /// A person is asked for an approval.
    WaitingApproval,
    /// A person must resolve a parked call.
    Parked,
    /// The last run ended with an error; it may be resumed.
    Failed,
    /// The final answer is given.
    Ended,
}

impl Status {
    /// The word in the `sessions` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::WaitingApproval => "waiting_approval",
            Status::Parked => "parked",
            Status::Failed => "failed",
            Status::Ended => "ended",
        }
    }
}

/// Turns that a session taken from a snapshot has not read: all their calls are observed, and none
/// waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Archived {
    /// How many, from the first turn on.
    pub turns: u32,
    /// Settled writes in them that were not confirmed at the far side yet.
    pub unconfirmed_writes: u32,
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// How it began. Shared, as are the turns: a copy of a session is cheap, so an event can be
    /// tried on a copy before it is written.
    pub started: Arc<SessionStarted>,
    /// Its runs, in order.
    pub runs: Vec<RunState>,
    /// Its turns, in order. `turns[0]` is iteration 1 of a session that is whole, and the one
    /// behind the archived ones of a session from a snapshot.
    pub turns: Vec<Arc<TurnState>>,
    /// The turns before these, which are not in memory.
    pub archived: Archived,
    /// `seq` of the last event.
    pub last_seq: u64,
    /// A person abandoned a mismatch: the session cannot go on.
    pub abandoned: bool,
    /// What of the conversation is left out of the prompt, in order.
    pub trims: Vec<ContextTrimmed>,
    /// Requests to providers for the turn that is to be, which no event has answered.
    unanswered: Vec<ModelAsked>,
    pins: Arc<BTreeMap<String, usize>>,
    /// The calls that are not observed, or wait for a person: what a session is doing is told by
    /// these few, however long it is.
    open: BTreeSet<Position>,
}

impl Session {
    /// The session that its first event begins.
    pub fn begin(record: &Record) -> Result<Session, IllegalEvent> {
        match &record.event {
            Event::SessionStarted(started) if record.seq == 1 => Ok(Session {
                pins: pins_of(started),
                started: Arc::new(started.clone()),
                runs: Vec::new(),
                turns: Vec::new(),
                archived: Archived::default(),
                last_seq: 1,
                abandoned: false,
                trims: Vec::new(),
                unanswered: Vec::new(),
                open: BTreeSet::new(),
            }),
            event => Err(IllegalEvent {
                seq: record.seq,
                kind: event.kind(),
                why: "a session begins with session_started at seq 1".into(),
            }),
        }
    }

    /// The fold of all records of a session; none for no records. Takes what it keeps.
    pub fn folded(
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Option<Session>, IllegalEvent> {
        let mut records = records.into_iter();
        let Some(first) = records.next() else {
            return Ok(None);
        };
        let mut session = Session::begin(&first)?;
        for record in records {
            session.take(record)?;
        }
        Ok(Some(session))
    }

    /// The fold of all records of a session; none for no records.
    pub fn fold(records: &[Record]) -> Result<Option<Session>, IllegalEvent> {
        Session::folded(records.iter().cloned())
    }

    /// The pinned tool of this name.
    pub fn pin(&self, tool: &str) -> Option<&Arc<Pin>> {
        self.pins.get(tool).and_then(|i| self.started.tools.get(*i))
    }

    /// Turns taken so far, archived ones included.
    pub fn iterations(&self) -> u32 {
        self.archived.turns + self.turns.len() as u32
    }

    /// Whether every turn is in memory.
    pub fn is_whole(&self) -> bool {
        self.archived.turns == 0
    }

    /// The turn of an iteration, counted from 1; none if it is not taken yet, or archived.
    pub fn turn(&self, iteration: u32) -> Option<&TurnState> {
        let index = iteration.checked_sub(1 + self.archived.turns)?;
        self.turns.get(index as usize).map(|t| &**t)
    }

    /// The call at a position; none if there is none, or if it is archived.
    pub fn call(&self, position: Position) -> Option<&CallState> {
        let turn = self.turn(position.iteration)?;
        turn.calls.get(position.ordinal as usize)
    }

    /// Every call that is in memory with its position, in order.
    pub fn calls(&self) -> impl Iterator<Item = (Position, &CallState)> {
        self.turns.iter().flat_map(|turn| {
            turn.calls.iter().map(|c| {
                (
                    Position {
                        iteration: turn.turn.iteration,
                        ordinal: c.call.ordinal,
                    },
                    c,
                )
            })
        })
    }

    /// The iteration to go on with: that of the first call without an observation, else the next.
    pub fn current_iteration(&self) -> u32 {
        self.unobserved()
            .map_or(self.iterations() + 1, |p| p.iteration)
    }

    /// The first call without an observation.
    fn unobserved(&self) -> Option<Position> {
        let mut open = self.open_calls();
        open.find(|(_, c)| c.observed.is_none()).map(|(p, _)| p)
    }

    /// The calls that are not observed, or wait for a person, in order.
    fn open_calls(&self) -> impl Iterator<Item = (Position, &CallState)> {
        let open = self.open.iter();
        open.filter_map(|p| self.call(*p).map(|c| (*p, c)))
    }

    /// The approval of this id, with its call; none if its call is archived.
    pub fn approval(&self, id: &ApprovalId) -> Option<(Position, &ApprovalState)> {
        self.calls().find_map(|(p, c)| {
            let state = c.approval.as_ref().filter(|a| a.approval.id == *id)?;
            Some((p, state))
        })
    }

    /// The last run, if there is one.
    pub fn last_run(&self) -> Option<&RunState> {
        self.runs.last()
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        let ended = self.last_run().and_then(|r| r.ended.as_ref());
        if ended.is_some_and(|e| e.outcome == RunOutcome::Success) {
            return Status::Ended;
        }
        if self.open_calls().any(|(_, c)| c.parked.is_some()) {
            return Status::Parked;
        }
        let held = |c: &CallState| {
            c.observed.is_none() && c.approval.as_ref().is_some_and(|a| a.decision.is_none())
        };
        if self.open_calls().any(|(_, c)| held(c)) {
            return Status::WaitingApproval;
        }
        match ended {
            Some(e) if e.outcome == RunOutcome::Error => Status::Failed,
            _ => Status::Active,
        }
    }

    /// Applies the next event.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalEvent> {
        self.take(record.clone())
    }

    /// Applies the next event, and keeps of it what counts. The only way in which a session
    /// changes.
    pub fn take(&mut self, record: Record) -> Result<(), IllegalEvent> {
        let (seq, kind) = (record.seq, record.event.kind());
        let illegal = |why: String| IllegalEvent { seq, kind, why };
        if seq != self.last_seq + 1 {
            return Err(illegal(format!("seq {} was expected", self.last_seq + 1)));
        }
        let position = record.event.position();
        self.fold_one(record).map_err(illegal)?;
        if let Some(position) = position {
            self.look_after(position);
        }
        self.last_seq = seq;
        Ok(())
    }

    /// Notes whether a call is open after an event about it.
    fn look_after(&mut self, position: Position) {
        match self.call(position) {
            Some(call) if call.is_open() => drop(self.open.insert(position)),
            _ => drop(self.open.remove(&position)),
        }
    }

    fn fold_one(&mut self, record: Record) -> Result<(), String> {
        match record.event {
            Event::SessionStarted(_) => Err("the session has begun already".into()),
            Event::RunStarted(started) => {
                if self.status() == Status::Ended {
                    return Err("the session has ended".into());
                }
                // The run before died while it waited for an answer.
                self.give_up_asking();
                self.runs.push(RunState {
                    started,
                    began_at_ms: record.at_ms,
                    cost: UsdMicros(0),
                    spent: Spent::default(),
                    ended: None,
                });
                Ok(())
            }
            Event::ModelAsked(asked) => self.ask(asked),
            Event::ContextTrimmed(trimmed) => self.trim(trimmed),
            Event::TurnTaken(turn) => self.take_turn(turn),
            Event::TurnRejected(rejected) => self.answered(&rejected.turn).map(drop),
            Event::ModelFailed(failed) => self.failed_to_ask(&failed),
            Event::RunEnded(ended) => {
                self.running()?;
                // A host that is told to stop waits for no answer.
                self.give_up_asking();
                self.running()?.ended = Some(ended);
                Ok(())
            }
            Event::ApprovalDecided(decided) => self.decide(decided),
            Event::ParkResolved(resolved) => self.resolve(resolved),
            event => {
                let position = event.position().ok_or("it names no call")?;
                let call = self.call_mut(position)?;
                apply_to_call(call, event, record.seq, record.at_ms)
            }
        }
    }

    fn running(&mut self) -> Result<&mut RunState, String> {
        match self.runs.last_mut() {
            Some(run) if run.ended.is_none() => Ok(run),
            _ => Err("no run is under way".into()),
        }
    }

    fn call_mut(&mut self, position: Position) -> Result<&mut CallState, String> {
        let index = position.iteration.checked_sub(1 + self.archived.turns);
        index
            .and_then(|i| self.turns.get_mut(i as usize))
            .and_then(|t| Arc::make_mut(t).calls.get_mut(position.ordinal as usize))
            .ok_or_else(|| format!("there is no call {position}"))
    }

    fn take_turn(&mut self, turn: Turn) -> Result<(), String> {
        self.running()?;
        if turn.iteration != self.iterations() + 1 {
            return Err(format!("iteration {} was expected", self.iterations() + 1));
        }
        // A client's calls do not wait for each other.
        if self.started.client.is_none()
            && let Some(position) = self.unobserved()
        {
            return Err(format!("call {position} is not observed yet"));
        }
        if turn
            .calls
            .iter()
            .enumerate()
            .any(|(i, c)| c.ordinal as usize != i)
        {
            return Err("the ordinals of its calls are not 0, 1, 2, ...".into());
        }
        let profile = self.answered(&turn)?;
        let positions = turn.calls.iter().map(|c| Position {
            iteration: turn.iteration,
            ordinal: c.ordinal,
        });
        self.open.extend(positions);
        self.turns.push(Arc::new(TurnState {
            calls: turn.calls.iter().cloned().map(CallState::new).collect(),
            profile,
            turn,
        }));
        Ok(())
    }

    fn decide(&mut self, decided: ApprovalDecided) -> Result<(), String> {
        let call = self.call_mut(decided.position)?;
        let state = call
            .approval
            .as_mut()
            .filter(|a| a.approval.id == decided.id)
            .ok_or_else(|| format!("the call has no approval {}", decided.id))?;
        if state.decision.is_some() {
            return Err(format!("approval {} is decided already", decided.id));
        }
        state.decision = Some(decided);
        Ok(())
    }

    fn resolve(&mut self, resolved: ParkResolved) -> Result<(), String> {
        let call = self.call_mut(resolved.position)?;
        let parked = call.parked.take().ok_or("the call is not parked")?;
        let resolution = resolved.resolution.clone();
        call.resolution = Some(resolved);
        match (&mut call.observed, resolution) {
            // The loop has not seen the call yet: the dispatcher observes it from here.
            (None, Resolution::NotDone) => {
                call.found_not_done(parked.reason)
                    .map_err(|e| e.to_string())?;
            }
            (None, Resolution::Done(_) | Resolution::Abandon) => {}
            // The loop acted on an observation that the far side does not know.
            (Some(_), Resolution::Done(_)) => call.confirmed = true,
            (Some(observed), Resolution::NotDone) => {
                call.confirmed = true;
                observed.result = CallResult::Err(ToolError {
                    code: ErrorCode::Conflict,
                    reason: Some(parked.reason),
                    message: "corrected: a person found that this was not done after all".into(),
                    hint: Some("plan again with this in mind".into()),
                    retry_after_ms: None,
                    aftermath: Aftermath::Untouched,
                });
                call.all_effects(EffectEvent::FoundNotDone { denied: true })
                    .map_err(|e| e.to_string())?;
            }
            (Some(_), Resolution::Abandon) => self.abandoned = true,
        }
        Ok(())
    }
}

fn pins_of(started: &SessionStarted) -> Arc<BTreeMap<String, usize>> {
    let names = started.tools.iter().enumerate();
    Arc::new(
        names
            .map(|(i, pin)| (pin.contract.name.to_string(), i))
            .collect(),
    )
}

fn apply_to_call(call: &mut CallState, event: Event, seq: u64, at_ms: u64) -> Result<(), String> {
    let confirming = matches!(
        event,
        Event::Probed(Probed {
            purpose: ProbePurpose::Confirm,
            ..
        }) | Event::Parked(Parked {
            reason: Reason::LedgerMismatch | Reason::FoundSeveral,
            ..
        })
    );
    if call.observed.is_some() && !confirming {
        return Err("the call is observed already".into());
    }
    match event {
        Event::ApprovalRequested(approval) => {
            if call.approval.is_some() {
                return Err("the call has an approval already".into());
            }
            call.approval = Some(ApprovalState {
                approval,
                decision: None,
                consumed: false,
            });
        }
        Event::CallStarted(started) => {
            call.started_at_ms.get_or_insert(started.started_at_ms);
            call.starts += 1;
        }
        Event::ReadRecorded(read) => {
            if read.index as usize != call.reads.len() {
                return Err(format!("read {} was expected", call.reads.len()));
            }
            call.reads.push(read);
        }
        Event::StateRead(read) => {
            if read.index as usize != call.state_reads.len() {
                let expected = call.state_reads.len();
                return Err(format!("look {expected} at the state was expected"));
            }
            call.state_reads.push(read);
        }
        Event::IntentRecorded(intent) => intend(call, &intent, at_ms)?,
        Event::OutcomeRecorded(recorded) => {
            let settled = EffectEvent::Settled {
                recorded: &recorded,
                at_ms,
            };
            call.one_effect(&recorded.label, settled)
                .map_err(|e| e.to_string())?;
        }
        Event::Probed(probed) => match probed.purpose {
            ProbePurpose::Recovery => call.last_probe = Some(probed),
            ProbePurpose::Confirm => {
                call.confirmed = matches!(probed.finding, Finding::Once { .. });
            }
        },
        Event::Undone(_) => {
            call.undone += 1;
            call.all_effects(EffectEvent::TakenBack)
                .map_err(|e| e.to_string())?;
        }
        Event::Observed(mut observed) => {
            // The store has it, and nobody asks the session for it.
            observed.state = Vec::new();
            call.observed = Some(observed);
            call.observed_seq = seq;
        }
        Event::Parked(parked) => {
            if call.parked.is_some() {
                return Err("the call is parked already".into());
            }
            call.parked = Some(parked);
        }
        other => return Err(format!("{} is not about a call", other.kind())),
    }
    Ok(())
}

fn intend(call: &mut CallState, intent: &IntentRecorded, at_ms: u64) -> Result<(), String> {
    if let Some(id) = &intent.approval {
        let state = call
            .approval
            .as_mut()
            .filter(|a| a.approval.id == *id)
            .ok_or_else(|| format!("the call has no approval {id}"))?;
        if state.verdict() != Some(Verdict::Approved) {
            return Err(format!("approval {id} is not given"));
        }
        if state.approval.args_digest != intent.args_digest {
            return Err(format!("approval {id} is for other arguments"));
        }
        if state.consumed {
            return Err(format!("approval {id} is consumed already"));
        }
        state.consumed = true;
    }
    // A settled `absent` since the last sending clears up every attempt before it.
    let after_absent = call
        .last_probe
        .take()
        .is_some_and(|p| p.settled && p.finding == Finding::Absent);
    let intended = EffectEvent::Intended {
        intent,
        at_ms,
        after_absent,
    };
    call.one_effect(&intent.label, intended)
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
