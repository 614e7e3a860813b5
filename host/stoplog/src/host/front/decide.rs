//! What waits for a person, over the doors: listed for a tenant, and decided in the name of a key.

use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_journal::{SessionJournal, Which, load};
use stoplog_model::port::Clock;
use stoplog_model::{ApprovalId, Reason, SessionId};
use stoplog_query::{Loaded, waiting};
use stoplog_serve::{Caller, Decision, Refusal, Settle};

use super::{Front, journal_refusal, refusal};
use crate::error::CliError;
use crate::host::SystemClock;
use crate::host::at_work::Held;
use crate::people::{self, By};

impl Front {
    /// The sessions of a tenant, as far as they are of a kind.
    async fn sessions_of(&self, caller: &Caller, which: Which<'_>) -> Result<Vec<Loaded>, Refusal> {
        let rows = self.store().sessions(which).await;
        let rows = rows.map_err(|e| journal_refusal(e.into()))?;
        let own = rows
            .into_iter()
            .filter(|row| row.head.tenant == caller.tenant.as_str());
        let mut loaded = Vec::new();
        for row in own {
            let Ok(id) = SessionId::new(row.session) else {
                continue;
            };
            let found = load(self.store(), &id).await.map_err(journal_refusal)?;
            loaded.extend(found.map(|(records, session)| Loaded { records, session }));
        }
        Ok(loaded)
    }

    pub(super) async fn approvals(
        &self,
        caller: &Caller,
        all: bool,
    ) -> Result<Vec<Value>, Refusal> {
        let which = if all { Which::All } else { Which::Unfinished };
        let loaded = self.sessions_of(caller, which).await?;
        let now_ms = SystemClock.now_ms();
        let mut asked = waiting::approvals(&loaded);
        asked.retain(|a| all || a.status(now_ms) == "pending");
        Ok(asked.iter().map(|a| people::packet(a, now_ms)).collect())
    }

    pub(super) async fn decide(
        &self,
        caller: &Caller,
        id: &ApprovalId,
        decision: Decision,
    ) -> Result<Value, Refusal> {
        let loaded = self.sessions_of(caller, Which::All).await?;
        let session = waiting::session_of(&loaded, id);
        let session = session.ok_or_else(|| refusal(people::no_approval(id)))?;
        let by = By {
            name: caller.name.clone(),
            note: decision.note,
        };
        let (_held, writer) = self.writer(&session).await.map_err(refusal)?;
        let decided = people::decide_in(&writer, id, decision.verdict, by).await;
        crate::host::close(writer).await.map_err(refusal)?;
        decided.map_err(refusal)?;
        self.line.put(&session);
        Ok(json!({"id": id, "session": session, "status": decision.verdict, "by": caller.name}))
    }

    pub(super) async fn parked(&self, caller: &Caller) -> Result<Vec<Value>, Refusal> {
        let loaded = self.sessions_of(caller, Which::All).await?;
        Ok(waiting::parked(&loaded)
            .iter()
            .map(people::parked)
            .collect())
    }

    pub(super) async fn settle(
        &self,
        caller: &Caller,
        id: &str,
        settle: Settle,
        note: String,
    ) -> Result<Value, Refusal> {
        let missing = || refusal(people::no_parked(id));
        let (session, position) = waiting::parse_id(id).ok_or_else(missing)?;
        let loaded = self.sessions_of(caller, Which::All).await?;
        let is_own = |l: &Loaded| l.session.started.session == session;
        if !loaded.iter().any(is_own) {
            return Err(missing());
        }
        let decision = people::Decision {
            resolution: match settle {
                Settle::Done(output) => people::Found::Done(output.map(|o| o.to_string())),
                Settle::NotDone => people::Found::NotDone,
                Settle::Abandon => people::Found::Abandon,
            },
            by: By {
                name: caller.name.clone(),
                note,
            },
        };
        let (_held, writer) = self.writer(&session).await.map_err(refusal)?;
        let resolved = people::resolve_in(&writer, position, decision).await;
        crate::host::close(writer).await.map_err(refusal)?;
        resolved.map_err(refusal)?;
        self.line.put(&session);
        Ok(json!({"id": id, "session": session, "by": caller.name}))
    }

    /// A session to write a decision to, and the right to have it open.
    async fn writer(&self, id: &SessionId) -> Result<(Held, Arc<SessionJournal>), CliError> {
        if self.host.shutdown.is_cancelled() {
            let message = "the host was told to stop: decide when it is back, or by command";
            return Err(CliError::new(Reason::ShuttingDown, message));
        }
        let held = self.host.at_work.hold(id).await?;
        let watch = self.host.watch.clone();
        let writer = self.host.journal.open(id, watch).await?;
        writer.recall().await?;
        Ok((held, writer))
    }
}
