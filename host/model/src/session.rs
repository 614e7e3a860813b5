//! The state of a session: the fold of its events, and nothing else.
//!
//! Invariants kept here, whatever is written:
//! * a turn begins only when every call of the turn before is observed;
//! * an effect is intended again only under its own key, with the next attempt number, and only
//!   when the attempt before is over or given up in a recorded way;
//! * an approval is decided once and consumed once;
//! * a call is observed once, and then only a person's correction of a mismatch changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::call::{Call, Position};
use crate::effect::Outcome;
use crate::event::*;
use crate::id::ApprovalId;
use crate::key::UNDO_LABEL;
use crate::money::UsdMicros;
use crate::outcome::{Aftermath, Disposition, ErrorCode, Finding, ToolError};
use crate::reason::Reason;
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

/// One effect of a call.
#[derive(Debug, Clone, PartialEq)]
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

impl EffectState {
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
    pub fn answer(&self) -> Option<&crate::effect::Response> {
        match &self.outcome {
            Some(Outcome::Answered { response }) if !self.void => Some(response),
            _ => None,
        }
    }
}

/// An approval and what became of it.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
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

    /// The effect of an undo that may have taken something back, and of which no
    /// [`Event::Undone`] tells.
    pub fn unrecorded_undo(&self) -> Option<&EffectState> {
        self.effect(UNDO_LABEL)
            .filter(|e| e.aftermath() != Aftermath::Untouched)
    }

    /// A person found that the call was not done. Effects that the far side answered with success
    /// stay in force, unless it was the far side itself that did not know them any more, or an
    /// undo may have taken them back since.
    fn void_effects(&mut self, parked_for: Reason) {
        let denied = matches!(parked_for, Reason::LedgerMismatch | Reason::FoundSeveral)
            || self.unrecorded_undo().is_some();
        for effect in &mut self.effects {
            if denied || effect.aftermath() != Aftermath::Changed {
                effect.void = true;
            }
        }
        if self.effects.iter().all(|e| e.void) {
            self.reads.clear();
        }
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
#[derive(Debug, Clone, PartialEq)]
pub struct TurnState {
    /// The turn.
    pub turn: Turn,
    /// Its calls, by ordinal.
    pub calls: Vec<CallState>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// Its start.
    pub started: RunStarted,
    /// When it began, milliseconds since the Unix epoch.
    pub began_at_ms: u64,
    /// What its turns cost, those that could not be used included.
    pub cost: UsdMicros,
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

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// How it began. Shared, as are the turns: a copy of a session is cheap, so an event can be
    /// tried on a copy before it is written.
    pub started: Arc<SessionStarted>,
    /// Its runs, in order.
    pub runs: Vec<RunState>,
    /// Its turns, in order: `turns[0]` is iteration 1.
    pub turns: Vec<Arc<TurnState>>,
    /// `seq` of the last event.
    pub last_seq: u64,
    /// A person abandoned a mismatch: the session cannot go on.
    pub abandoned: bool,
    pins: Arc<BTreeMap<String, usize>>,
}

impl Session {
    /// The session that its first event begins.
    pub fn begin(record: &Record) -> Result<Session, IllegalEvent> {
        match &record.event {
            Event::SessionStarted(started) if record.seq == 1 => Ok(Session {
                pins: Arc::new(
                    started
                        .tools
                        .iter()
                        .enumerate()
                        .map(|(i, pin)| (pin.contract.name.to_string(), i))
                        .collect(),
                ),
                started: Arc::new(started.clone()),
                runs: Vec::new(),
                turns: Vec::new(),
                last_seq: 1,
                abandoned: false,
            }),
            event => Err(IllegalEvent {
                seq: record.seq,
                kind: event.kind(),
                why: "a session begins with session_started at seq 1".into(),
            }),
        }
    }

    /// The fold of all records of a session; none for no records.
    pub fn fold(records: &[Record]) -> Result<Option<Session>, IllegalEvent> {
        let Some((first, rest)) = records.split_first() else {
            return Ok(None);
        };
        let mut session = Session::begin(first)?;
        for record in rest {
            session.apply(record)?;
        }
        Ok(Some(session))
    }

    /// The pinned tool of this name.
    pub fn pin(&self, tool: &str) -> Option<&Pin> {
        self.pins.get(tool).and_then(|i| self.started.tools.get(*i))
    }

    /// The call at a position.
    pub fn call(&self, position: Position) -> Option<&CallState> {
        let turn = self
            .turns
            .get(position.iteration.checked_sub(1)? as usize)?;
        turn.calls.get(position.ordinal as usize)
    }

    /// Every call with its position, in order.
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
        self.calls()
            .find(|(_, c)| c.observed.is_none())
            .map_or(self.turns.len() as u32 + 1, |(p, _)| p.iteration)
    }

    /// The approval of this id, with its call.
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
        if self.calls().any(|(_, c)| c.parked.is_some()) {
            return Status::Parked;
        }
        let held = |c: &CallState| {
            c.observed.is_none() && c.approval.as_ref().is_some_and(|a| a.decision.is_none())
        };
        if self.calls().any(|(_, c)| held(c)) {
            return Status::WaitingApproval;
        }
        match ended {
            Some(e) if e.outcome == RunOutcome::Error => Status::Failed,
            _ => Status::Active,
        }
    }

    /// Applies the next event. The only way in which a session changes.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalEvent> {
        let illegal = |why: String| IllegalEvent {
            seq: record.seq,
            kind: record.event.kind(),
            why,
        };
        if record.seq != self.last_seq + 1 {
            return Err(illegal(format!("seq {} was expected", self.last_seq + 1)));
        }
        self.fold_one(record).map_err(illegal)?;
        self.last_seq = record.seq;
        Ok(())
    }

    fn fold_one(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::SessionStarted(_) => Err("the session has begun already".into()),
            Event::RunStarted(started) => {
                if self.status() == Status::Ended {
                    return Err("the session has ended".into());
                }
                self.runs.push(RunState {
                    started: started.clone(),
                    began_at_ms: record.at_ms,
                    cost: UsdMicros(0),
                    ended: None,
                });
                Ok(())
            }
            Event::TurnTaken(turn) => self.take_turn(turn),
            Event::TurnRejected(rejected) => {
                self.running()?.cost += rejected.turn.cost;
                Ok(())
            }
            Event::ModelFailed(_) => self.running().map(|_| ()),
            Event::RunEnded(ended) => {
                self.running()?.ended = Some(ended.clone());
                Ok(())
            }
            Event::ApprovalDecided(decided) => self.decide(decided),
            Event::ParkResolved(resolved) => self.resolve(resolved),
            event => {
                let position = event.position().ok_or("it names no call")?;
                let call = self.call_mut(position)?;
                apply_to_call(call, event, record)
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
        let index = position.iteration.checked_sub(1).map(|i| i as usize);
        index
            .and_then(|i| self.turns.get_mut(i))
            .and_then(|t| Arc::make_mut(t).calls.get_mut(position.ordinal as usize))
            .ok_or_else(|| format!("there is no call {position}"))
    }

    fn take_turn(&mut self, turn: &Turn) -> Result<(), String> {
        self.running()?;
        if turn.iteration as usize != self.turns.len() + 1 {
            return Err(format!("iteration {} was expected", self.turns.len() + 1));
        }
        if let Some((position, _)) = self.calls().find(|(_, c)| c.observed.is_none()) {
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
        self.running()?.cost += turn.cost;
        self.turns.push(Arc::new(TurnState {
            turn: turn.clone(),
            calls: turn.calls.iter().cloned().map(CallState::new).collect(),
        }));
        Ok(())
    }

    fn decide(&mut self, decided: &ApprovalDecided) -> Result<(), String> {
        let call = self.call_mut(decided.position)?;
        let state = call
            .approval
            .as_mut()
            .filter(|a| a.approval.id == decided.id)
            .ok_or_else(|| format!("the call has no approval {}", decided.id))?;
        if state.decision.is_some() {
            return Err(format!("approval {} is decided already", decided.id));
        }
        state.decision = Some(decided.clone());
        Ok(())
    }

    fn resolve(&mut self, resolved: &ParkResolved) -> Result<(), String> {
        let call = self.call_mut(resolved.position)?;
        let parked = call.parked.take().ok_or("the call is not parked")?;
        call.resolution = Some(resolved.clone());
        match (&mut call.observed, &resolved.resolution) {
            // The loop has not seen the call yet: the dispatcher observes it from here.
            (None, Resolution::NotDone) => call.void_effects(parked.reason),
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
                call.effects.iter_mut().for_each(|e| e.void = true);
            }
            (Some(_), Resolution::Abandon) => self.abandoned = true,
        }
        Ok(())
    }
}

fn apply_to_call(call: &mut CallState, event: &Event, record: &Record) -> Result<(), String> {
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
                approval: approval.clone(),
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
            call.reads.push(read.clone());
        }
        Event::IntentRecorded(intent) => intend(call, intent, record.at_ms)?,
        Event::OutcomeRecorded(recorded) => {
            let effect = call
                .effects
                .iter_mut()
                .find(|e| e.intent.label == recorded.label)
                .filter(|e| e.intent.attempt == recorded.attempt && e.outcome.is_none())
                .ok_or_else(|| format!("no open intent `{}`", recorded.label))?;
            effect.outcome = Some(recorded.outcome.clone());
            effect.touched_at_ms = record.at_ms;
        }
        Event::Probed(probed) => match probed.purpose {
            ProbePurpose::Recovery => call.last_probe = Some(probed.clone()),
            ProbePurpose::Confirm => {
                call.confirmed = matches!(probed.finding, Finding::Once { .. });
            }
        },
        Event::Undone(_) => {
            call.undone += 1;
            call.effects.iter_mut().for_each(|e| e.void = true);
        }
        Event::Observed(observed) => {
            call.observed = Some(observed.clone());
            call.observed_seq = record.seq;
        }
        Event::Parked(parked) => {
            if call.parked.is_some() {
                return Err("the call is parked already".into());
            }
            call.parked = Some(parked.clone());
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
    let absent = call
        .last_probe
        .take()
        .is_some_and(|p| p.settled && p.finding == Finding::Absent);
    let known = call.effects.iter().find(|e| e.intent.label == intent.label);
    let fresh = EffectState {
        intent: intent.clone(),
        touched_at_ms: at_ms,
        outcome: None,
        void: false,
        earlier_doubt: !absent && known.is_some_and(|e| e.aftermath() == Aftermath::Unknown),
    };
    match call
        .effects
        .iter_mut()
        .find(|e| e.intent.label == intent.label)
    {
        None if intent.attempt == 1 => call.effects.push(fresh),
        None => {
            return Err(format!(
                "attempt {} of an effect that was never intended",
                intent.attempt
            ));
        }
        Some(known) => {
            if known.intent.key != intent.key {
                return Err("an effect sent again must keep its key".into());
            }
            if intent.attempt != known.intent.attempt + 1 {
                return Err(format!("attempt {} was expected", known.intent.attempt + 1));
            }
            *known = fresh;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
