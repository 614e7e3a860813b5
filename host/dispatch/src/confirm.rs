//! Settled writes, confirmed at the far side after a crash (requirement 16).
//!
//! Reads are trusted. A write that the journal calls done is asked for by key; when the far side
//! says that it has nothing, journal and far side disagree, and the session parks instead of
//! building on sand.

use std::sync::Arc;

use stoplog_journal::{JournalError, SessionJournal};
use stoplog_model::event::ProbePurpose;
use stoplog_model::outcome::Finding;
use stoplog_model::{Position, Reason};

use crate::dispatcher::{Dispatched, Dispatcher, Wait};

impl Dispatcher {
    /// Confirms one settled write. `Some`: the two disagree, and the call is parked; or the host
    /// is shutting down, and it is not confirmed.
    pub async fn confirm(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
    ) -> Result<Option<Wait>, JournalError> {
        let Some(passage) = self.passage(journal, position) else {
            return Ok(None);
        };
        let touched_ms = passage
            .call
            .effects
            .iter()
            .map(|e| e.touched_at_ms)
            .max()
            .unwrap_or(0);
        let settled_at = touched_ms + u64::from(passage.pin.contract.settles_within_ms);
        // As it is before the far side is asked: what it shows says nothing about the time since.
        let settled = self.clock.now_ms() >= settled_at;
        let mut finding = self.probe(&passage, ProbePurpose::Confirm, settled).await?;
        if finding == Finding::Absent && !settled {
            let wait_ms = settled_at.saturating_sub(self.clock.now_ms());
            if !self.pause(wait_ms).await {
                return Ok(Some(Wait::ShuttingDown));
            }
            finding = self.probe(&passage, ProbePurpose::Confirm, true).await?;
        }
        let (reason, detail) = match finding {
            Finding::Once { .. } | Finding::Unknown { .. } => return Ok(None),
            Finding::Absent => (
                Reason::LedgerMismatch,
                "the journal says that this was done; the far side has nothing under its key"
                    .into(),
            ),
            Finding::Several { times } => (
                Reason::FoundSeveral,
                format!("the far side has this {times} times under one key"),
            ),
        };
        match self.park(&passage, reason, detail).await? {
            Dispatched::Waits(wait) => Ok(Some(wait)),
            Dispatched::Observed(_) => Ok(None),
        }
    }
}
