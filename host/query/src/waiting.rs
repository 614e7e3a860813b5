//! What waits for a person.

use stoplog_model::event::Parked;
use stoplog_model::session::{ApprovalState, CallState, EffectState, Session};
use stoplog_model::{ApprovalId, Position, SessionId};

use crate::Loaded;

/// One approval with its place.
pub struct Asked<'a> {
    /// The session.
    pub session: &'a Session,
    /// The call.
    pub position: Position,
    /// The question, and what became of it.
    pub state: &'a ApprovalState,
}

impl Asked<'_> {
    /// How far it is, in one word.
    pub fn status(&self, now_ms: u64) -> &'static str {
        use stoplog_model::event::Verdict;
        match self.state.verdict() {
            Some(Verdict::Approved) if self.state.consumed => "consumed",
            Some(Verdict::Approved) => "approved",
            Some(Verdict::Rejected) => "rejected",
            Some(Verdict::Expired) => "expired",
            None if self.state.has_expired(now_ms) => "expired",
            None => "pending",
        }
    }
}

/// Every approval of these sessions.
pub fn approvals(loaded: &[Loaded]) -> Vec<Asked<'_>> {
    let mut found = Vec::new();
    for Loaded { session, .. } in loaded {
        for (position, call) in session.calls() {
            if let Some(state) = &call.approval {
                found.push(Asked {
                    session,
                    position,
                    state,
                });
            }
        }
    }
    found
}

/// The session that an approval belongs to.
pub fn session_of(loaded: &[Loaded], id: &ApprovalId) -> Option<SessionId> {
    approvals(loaded)
        .into_iter()
        .find(|a| a.state.approval.id == *id)
        .map(|a| a.session.started.session.clone())
}

/// One parked call with its place.
pub struct ParkedCall<'a> {
    /// The session.
    pub session: &'a Session,
    /// The call's position.
    pub position: Position,
    /// The call.
    pub call: &'a CallState,
    /// Why.
    pub parked: &'a Parked,
}

impl ParkedCall<'_> {
    /// `SESSION/ITERATION.ORDINAL`: what `parked show` and `parked resolve` take.
    pub fn id(&self) -> String {
        format!("{}/{}", self.session.started.session, self.position)
    }

    /// The effects that the person has to judge.
    pub fn effects(&self) -> &[EffectState] {
        &self.call.effects
    }
}

/// Every parked call of these sessions.
pub fn parked(loaded: &[Loaded]) -> Vec<ParkedCall<'_>> {
    let mut found = Vec::new();
    for Loaded { session, .. } in loaded {
        for (position, call) in session.calls() {
            if let Some(parked) = &call.parked {
                found.push(ParkedCall {
                    session,
                    position,
                    call,
                    parked,
                });
            }
        }
    }
    found
}

/// The session and position in an id such as `sess_88/4.0`.
pub fn parse_id(id: &str) -> Option<(SessionId, Position)> {
    let (session, position) = id.rsplit_once('/')?;
    let (iteration, ordinal) = position.split_once('.')?;
    let position = Position {
        iteration: iteration.parse().ok()?,
        ordinal: ordinal.parse().ok()?,
    };
    Some((SessionId::new(session).ok()?, position))
}
