//! A place for a run of a tool: every instance takes one, and tenants share them fairly.
//!
//! Invariants:
//! * a call that is refused for want of room was not begun: nothing of it ran, nothing left, no
//!   approval is spent;
//! * what has begun is never refused: an effect in doubt, a call that a person has approved, a
//!   rerun. It waits for as long as it takes;
//! * who waits for a place holds nothing that another could need: no thread, no place, no commit.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stoplog_admission::{Bounds, Busy, Place, Share};
use stoplog_journal::{JournalError, SessionJournal};
use stoplog_model::event::{CallResult, Verdict};
use stoplog_model::outcome::{Disposition, ErrorCode, ToolError};
use stoplog_model::session::CallState;
use stoplog_model::{Position, Reason};

use crate::dispatcher::{Dispatched, Dispatcher, Passage, Wait};

/// Runs of tools at once, of all tenants: as many as the sandbox has room for.
pub const CALLS_AT_ONCE: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Of one tenant: three quarters, so that whoever comes next finds a place, however long the calls
/// of one tenant take.
pub const CALLS_AT_ONCE_PER_TENANT: NonZeroU32 = NonZeroU32::new(48).unwrap();

/// Calls in line, of all tenants. One costs a few KiB.
pub const CALLS_WAITING: u32 = 8_192;

/// Of one tenant. A tenant with more than that is told so, and others still find room in line.
pub const CALLS_WAITING_PER_TENANT: u32 = 1_024;

/// How long a call stands in line before the model is told to come again: as long as people think
/// about whether something hangs.
pub const CALL_WAIT: Duration = Duration::from_secs(30);

/// The bounds of calls if nobody says otherwise.
pub fn default_bounds() -> Bounds {
    Bounds {
        each: Share {
            places: CALLS_AT_ONCE_PER_TENANT,
            waiting: CALLS_WAITING_PER_TENANT,
        },
        ..Bounds::open(CALLS_AT_ONCE, CALLS_WAITING, CALL_WAIT)
    }
}

/// How a call fared in line.
pub(crate) enum Admission {
    /// It may run.
    Place(Place),
    /// It is over: observed as refused, or the host is shutting down.
    Over(Dispatched),
}

/// Whether a refusal would leave something behind: it says that nothing was done.
fn has_begun(call: &CallState) -> bool {
    let approved = call.approval.as_ref().and_then(|a| a.verdict()) == Some(Verdict::Approved);
    approved || call.starts > 0 || !call.effects.is_empty()
}

impl Dispatcher {
    /// Stands in line for a place.
    pub(crate) async fn admit(
        &self,
        journal: &Arc<SessionJournal>,
        position: Position,
    ) -> Result<Admission, JournalError> {
        let (tenant, begun) = journal.read(|session| {
            let begun = session.call(position).is_some_and(has_begun);
            (session.started.tenant.clone(), begun)
        });
        let turn = async {
            match begun {
                true => Ok(self.places.regain(&tenant).await),
                false => self.places.acquire(&tenant).await,
            }
        };
        match self.shutdown.run_until_cancelled(turn).await {
            Some(Ok(place)) => Ok(Admission::Place(place)),
            Some(Err(busy)) => {
                tracing::warn!(%position, tenant = %busy.tenant, "{busy}");
                let result = CallResult::Err(refusal(&busy));
                let over = self.observe_plain(journal, position, Disposition::Refused, result);
                Ok(Admission::Over(over.await?))
            }
            None => Ok(Admission::Over(Dispatched::Waits(Wait::ShuttingDown))),
        }
    }

    /// A place for a call that goes on.
    pub(crate) async fn place_again(&self, passage: &Passage) -> Place {
        let tenant = passage.journal.read(|s| s.started.tenant.clone());
        self.places.regain(&tenant).await
    }
}

/// What the model is told.
fn refusal(busy: &Busy) -> ToolError {
    let message = format!("the host is busy: {busy}");
    ToolError::of_host(ErrorCode::RateLimited, Reason::HostBusy, message)
        .retry_after(busy.retry_after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_no_tenant_can_take_every_place() {
        let bounds = default_bounds();
        assert!(bounds.each.places < bounds.places);
        assert!(bounds.each.waiting < bounds.waiting);
    }
}
