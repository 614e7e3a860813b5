//! Which sessions this process has open to write.
//!
//! Invariant: one at a time, for each session. The lease does not see to that: it is the process's,
//! and a process that has the directory's lock takes its own lease over without a word.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoplog_model::{Reason, SessionId};
use tokio::sync::Notify;

use crate::error::CliError;

/// How long somebody waits for a session that another part of the process has: most have it for
/// the time of one commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sessions that are open to write.
#[derive(Default)]
pub(crate) struct AtWork {
    sessions: Mutex<HashSet<SessionId>>,
    freed: Notify,
}

/// The right to open one. Given back by dropping it.
pub(crate) struct Held {
    of: Arc<AtWork>,
    session: SessionId,
}

impl AtWork {
    /// Waits for a session, and holds it.
    pub(crate) async fn hold(self: &Arc<Self>, session: &SessionId) -> Result<Held, CliError> {
        let held = async {
            loop {
                let freed = self.freed.notified();
                if let Some(held) = self.try_hold(session) {
                    return held;
                }
                freed.await;
            }
        };
        tokio::time::timeout(PATIENCE, held).await.map_err(|_| {
            let message = format!("session {session} is at work in this process");
            CliError::new(Reason::SessionLeased, message)
        })
    }

    fn try_hold(self: &Arc<Self>, session: &SessionId) -> Option<Held> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session.clone()).then(|| Held {
            of: self.clone(),
            session: session.clone(),
        })
    }

    /// How many somebody has.
    pub(crate) fn len(&self) -> u32 {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(sessions.len()).unwrap_or(u32::MAX)
    }

    /// Whether somebody has it.
    pub(crate) fn has(&self, session: &SessionId) -> bool {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.contains(session)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut sessions = self
            .of
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.session);
        drop(sessions);
        self.of.freed.notify_waiters();
    }
}
