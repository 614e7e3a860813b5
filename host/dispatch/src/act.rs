//! The same act again: the stored result, a conflict, or in flight. Nothing runs.

use stoplog_journal::{ActKeyRow, ActKeyState, JournalError, Observation, codec};
use stoplog_model::event::{CallResult, Observed};
use stoplog_model::outcome::{Disposition, ErrorCode, ToolError};
use stoplog_model::{Reason, SessionId};

use crate::dispatcher::{Dispatched, Dispatcher, Passage};

/// What the model is told to wait for an act that is in flight, milliseconds.
const IN_FLIGHT_RETRY_MS: u64 = 1000;

impl Dispatcher {
    /// Looks the call's act up. `None`: nobody else has claimed it, the call may run.
    pub(crate) async fn act_done_before(
        &self,
        passage: &Passage,
    ) -> Result<Option<Observation>, JournalError> {
        let (journal, position) = (&passage.journal, passage.position);
        let Some(act) = &passage.act_key else {
            return Ok(None);
        };
        let Some(row) = journal.act_key(&act.scope, &act.key).await? else {
            return Ok(None);
        };
        let session = journal.read(|s| s.started.session.to_string());
        // What was kept of a pruned session is not this one's, though it may have the name.
        let own = row.kept.is_none()
            && (row.session.as_str(), row.iteration, row.ordinal)
                == (session.as_str(), position.iteration, position.ordinal);
        if own {
            return Ok(None);
        }
        match self.observe_claimed(passage, &row).await? {
            Dispatched::Observed(observation) => Ok(Some(observation)),
            Dispatched::Waits(_) => Ok(None),
        }
    }

    /// Observes a call whose act another call has claimed. The arguments are compared before
    /// anything else: other arguments never get the stored result.
    pub(crate) async fn observe_claimed(
        &self,
        passage: &Passage,
        row: &ActKeyRow,
    ) -> Result<Dispatched, JournalError> {
        let digest = &passage.args_digest;
        let same = row.tool == passage.call.call.tool && row.args_digest == digest.as_str();
        let refused = |code, reason, message: String| {
            (
                Disposition::Refused,
                CallResult::Err(ToolError::of_host(code, reason, message)),
            )
        };
        let (disposition, result) = if !same {
            refused(
                ErrorCode::Conflict,
                Reason::KeyConflict,
                format!(
                    "`{}` was decided on before with other arguments (iteration {} of session {})",
                    row.key, row.iteration, row.session
                ),
            )
        } else if row.state == ActKeyState::InFlight {
            let (disposition, result) = refused(
                ErrorCode::Conflict,
                Reason::KeyInFlight,
                format!("`{}` is under way in session {}", row.key, row.session),
            );
            let result = match result {
                CallResult::Err(e) => CallResult::Err(e.retry_after(IN_FLIGHT_RETRY_MS)),
                ok => ok,
            };
            (disposition, result)
        } else {
            match stored(passage, row).await? {
                Some(observed) => (Disposition::Deduplicated, observed.result),
                None => refused(
                    ErrorCode::Internal,
                    Reason::JournalCorrupt,
                    format!("the result of `{}` is not where the journal says", row.key),
                ),
            }
        };
        self.observe_plain(&passage.journal, passage.position, disposition, result)
            .await
    }
}

/// The observation that an act points at, or that was kept of it when its session was pruned.
async fn stored(passage: &Passage, row: &ActKeyRow) -> Result<Option<Observed>, JournalError> {
    if let Some(body) = &row.kept {
        return Ok(Some(codec::kept_observation(body)?));
    }
    match SessionId::new(row.session.clone()) {
        Ok(session) => passage.journal.observed_at(&session, row.seq).await,
        Err(_) => Ok(None),
    }
}
