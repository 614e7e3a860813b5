//! The desk of one turn: what a model tells while it is asked, into the journal and to who watches.
//!
//! Invariant: a request is handed to the journal before it leaves. Text that is heard goes nowhere
//! but to people who watch; it is true when the turn's event is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stoplog_journal::SessionJournal;
use stoplog_llm::Desk;
use stoplog_model::SessionId;
use stoplog_model::event::ModelAsked;
use stoplog_model::port::{Clock, Hearing};

/// See the module.
pub(crate) struct TurnDesk<'a> {
    journal: &'a Arc<SessionJournal>,
    session: &'a SessionId,
    iteration: u32,
    clock: &'a dyn Clock,
    hearing: &'a dyn Hearing,
    /// The attempt of which text was heard, and not taken back; 0 for none.
    heard: AtomicU32,
}

impl<'a> TurnDesk<'a> {
    /// A desk for the next turn.
    pub(crate) fn new(
        journal: &'a Arc<SessionJournal>,
        session: &'a SessionId,
        iteration: u32,
        clock: &'a dyn Clock,
        hearing: &'a dyn Hearing,
    ) -> TurnDesk<'a> {
        TurnDesk {
            journal,
            session,
            iteration,
            clock,
            hearing,
            heard: AtomicU32::new(0),
        }
    }

    /// Takes back what was heard and is not taken back yet: nobody will say it after all.
    pub(crate) fn retract(&self) {
        let attempt = self.heard.swap(0, Ordering::SeqCst);
        if attempt > 0 {
            self.hearing
                .retracted(self.session, self.iteration, attempt);
        }
    }
}

impl Desk for TurnDesk<'_> {
    fn clock(&self) -> &dyn Clock {
        self.clock
    }

    fn asked(&self, asked: ModelAsked) {
        self.journal.ask(asked);
    }

    fn heard(&self, attempt: u32, text: &str) {
        self.heard.store(attempt, Ordering::SeqCst);
        self.hearing
            .provisional(self.session, self.iteration, attempt, text);
    }

    fn retracted(&self, attempt: u32) {
        if self.heard.load(Ordering::SeqCst) == attempt {
            self.retract();
        }
    }
}
