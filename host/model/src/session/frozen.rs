//! A session as a snapshot keeps it: constant in size, however long the session is.
//!
//! Invariant: thawing what was frozen and applying the events behind it gives the same decisions
//! as folding all events. What is left out is over: turns whose calls are all observed, with none
//! parked. Whoever needs their text (the prompt), or asks the far side about them, reads the
//! events.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Archived, CallState, RunState, Session, TurnState, pins_of};
use crate::event::{ContextTrimmed, ModelAsked, SessionStarted};

/// A session without its first event and without the turns that are over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    runs: Vec<RunState>,
    turns: Vec<Arc<TurnState>>,
    archived: Archived,
    last_seq: u64,
    abandoned: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trims: Vec<ContextTrimmed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<ModelAsked>,
}

impl Frozen {
    /// `seq` of the last event in it.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }
}

/// Whether nothing about a turn can change any more, but a confirmation at the far side.
fn is_over(turn: &TurnState) -> bool {
    let over = |c: &CallState| !c.is_open();
    !turn.calls.is_empty() && turn.calls.iter().all(over)
}

impl Session {
    /// The session as a snapshot keeps it. The last turn always stays.
    pub fn freeze(&self) -> Frozen {
        let last = self.turns.len().saturating_sub(1);
        let over = self.turns[..last].iter().take_while(|t| is_over(t)).count();
        let unconfirmed = self.turns[..over]
            .iter()
            .flat_map(|t| &t.calls)
            .filter(|c| c.settled_write() && !c.confirmed)
            .count();
        Frozen {
            runs: self.runs.clone(),
            turns: self.turns[over..].to_vec(),
            archived: Archived {
                turns: self.archived.turns + over as u32,
                unconfirmed_writes: self.archived.unconfirmed_writes + unconfirmed as u32,
            },
            last_seq: self.last_seq,
            abandoned: self.abandoned,
            trims: self.trims.clone(),
            unanswered: self.unanswered.clone(),
        }
    }

    /// The session that was frozen, with its first event.
    pub fn thaw(started: SessionStarted, frozen: Frozen) -> Session {
        let mut session = Session {
            pins: pins_of(&started),
            started: Arc::new(started),
            runs: frozen.runs,
            turns: frozen.turns,
            archived: frozen.archived,
            last_seq: frozen.last_seq,
            abandoned: frozen.abandoned,
            trims: frozen.trims,
            unanswered: frozen.unanswered,
            open: BTreeSet::new(),
        };
        session.open = session
            .calls()
            .filter(|(_, c)| c.is_open())
            .map(|(position, _)| position)
            .collect();
        session
    }
}
