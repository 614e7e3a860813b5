//! Lanes: the session that a client's calls go to for as long as they keep coming.
//!
//! Invariants:
//! * a lane's session is open exactly while a call is under way in it, and for a moment behind the
//!   last one, so that the next call finds it;
//! * no lane is closed under a call, and no call comes into one that is being closed;
//! * a call that waits for a person closes its lane behind it: whoever decides finds the session
//!   free, and later calls go to another session;
//! * a session has a bounded number of calls, so it is never large, and nothing that is kept of a
//!   busy client grows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stoplog_agent::RunSpec;
use stoplog_dispatch::Wait;
use stoplog_journal::SessionJournal;
use stoplog_model::event::{Client, SessionStarted};
use stoplog_model::{SessionId, Tenant, TraceId};
use stoplog_serve::Caller;

use super::{Front, lock};
use crate::error::CliError;
use crate::host::at_work::Held;
use crate::host::edges::{holder, new_trace_id};

/// Calls in one session at most: a resume and its spans cost by the length of a session.
pub(super) const CALLS_A_SESSION: u32 = 256;

/// How long a lane without calls is kept open: a client that works calls again within that. What
/// looks for the lease of its session meanwhile has to wait.
pub(super) const LINGER: Duration = Duration::from_millis(1000);

/// What names of clients' sessions begin with.
pub(crate) const CLIENT_SESSION: &str = "client_";

/// Whose calls belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) tenant: Tenant,
    pub(super) user: String,
    pub(super) conversation: String,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Lane>>>>;

/// The lanes that are open.
#[derive(Default)]
pub(super) struct Lanes {
    open: Mutex<HashMap<Who, Slot>>,
}

/// One session that takes calls.
pub(super) struct Lane {
    pub(super) journal: Arc<SessionJournal>,
    pub(super) session: SessionId,
    pub(super) trace_id: TraceId,
    state: Mutex<State>,
    held: Mutex<Option<Held>>,
}

#[derive(Default)]
struct State {
    under_way: u32,
    calls: u32,
    closing: bool,
    wait: Option<Wait>,
    /// The journal failed under it: nothing more can be written, and the next run recovers it.
    failed: bool,
}

/// A call in a lane. One that is dropped without a word met a defect: its lane is closed as if its
/// journal had failed, and the next run recovers it.
pub(super) struct Inside {
    front: Arc<Front>,
    lane: Arc<Lane>,
    has_left: bool,
}

impl Inside {
    /// Where it is.
    pub(super) fn lane(&self) -> Arc<Lane> {
        self.lane.clone()
    }

    /// The call is over, or waits, or its journal failed.
    pub(super) fn leave(mut self, wait: Option<Wait>, failed: bool) {
        self.has_left = true;
        self.front.leave(self.lane.clone(), wait, failed);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if !self.has_left {
            self.front.leave(self.lane.clone(), None, true);
        }
    }
}

impl Lane {
    /// Comes in for a call; false when no more come in.
    fn enter(&self) -> bool {
        let mut state = lock(&self.state);
        if state.closing {
            return false;
        }
        state.under_way += 1;
        state.calls += 1;
        state.closing = state.calls >= CALLS_A_SESSION;
        true
    }
}

impl Front {
    /// The lane of a client, with a call counted in it.
    pub(super) async fn enter(
        self: &Arc<Self>,
        who: &Who,
        caller: &Caller,
    ) -> Result<Inside, CliError> {
        let inside = |lane: &Arc<Lane>| Inside {
            front: self.clone(),
            lane: lane.clone(),
            has_left: false,
        };
        let slot = lock(&self.lanes.open)
            .entry(who.clone())
            .or_default()
            .clone();
        let mut slot = slot.lock().await;
        if let Some(lane) = slot.as_ref().filter(|lane| lane.enter()) {
            return Ok(inside(lane));
        }
        let lane = Arc::new(self.open(who, caller).await?);
        lane.enter();
        let inside = inside(&lane);
        *slot = Some(lane);
        Ok(inside)
    }

    async fn open(&self, who: &Who, caller: &Caller) -> Result<Lane, CliError> {
        let id = format!("{CLIENT_SESSION}{}", uuid::Uuid::now_v7().simple());
        let session = SessionId::new(id).map_err(|e| CliError::internal(e.to_string()))?;
        let started = SessionStarted {
            client: Some(Client {
                conversation: who.conversation.clone(),
            }),
            ..self.started(caller, session.clone())
        };
        let held = self.host.at_work.hold(&session).await?;
        let journal = self.host.begin(started).await?;
        let spec = RunSpec {
            trace_id: new_trace_id()?,
            host: holder(),
        };
        let trace_id = spec.trace_id.clone();
        self.host.driver.open(&journal, spec);
        Ok(Lane {
            journal,
            session,
            trace_id,
            state: Mutex::default(),
            held: Mutex::new(Some(held)),
        })
    }

    /// A call is over, or waits, or met a journal that failed. The lane is closed behind it, or
    /// after a while without calls.
    fn leave(self: &Arc<Self>, lane: Arc<Lane>, wait: Option<Wait>, failed: bool) {
        let (empty, at_once, calls) = {
            let mut state = lock(&lane.state);
            state.under_way -= 1;
            state.closing |= wait.is_some() || failed || self.host.shutdown.is_cancelled();
            state.failed |= failed;
            state.wait = state.wait.take().or(wait);
            (state.under_way == 0, state.closing, state.calls)
        };
        if !empty {
            return;
        }
        let front = self.clone();
        self.tasks.spawn(async move {
            if !at_once {
                let shutdown = front.host.shutdown.clone();
                shutdown
                    .run_until_cancelled(tokio::time::sleep(LINGER))
                    .await;
                let mut state = lock(&lane.state);
                if state.closing || state.under_way > 0 || state.calls != calls {
                    return;
                }
                state.closing = true;
            }
            front.close_lane(&lane).await;
        });
    }

    /// Ends the lanes in which nothing is under way.
    pub(super) fn close_idle(self: &Arc<Self>) {
        let slots: Vec<Slot> = lock(&self.lanes.open).values().cloned().collect();
        for slot in slots {
            let Ok(slot) = slot.try_lock() else { continue };
            let Some(lane) = slot.clone() else { continue };
            let mut state = lock(&lane.state);
            let idle = state.under_way == 0 && !state.closing;
            state.closing = true;
            drop(state);
            if idle {
                let front = self.clone();
                self.tasks
                    .spawn(async move { front.close_lane(&lane).await });
            }
        }
    }

    /// Ends the run of a lane, and gives its session back.
    async fn close_lane(&self, lane: &Arc<Lane>) {
        let (wait, failed) = {
            let mut state = lock(&lane.state);
            (state.wait.take(), state.failed)
        };
        let closed = async {
            if !failed {
                self.host.driver.end_calls(&lane.journal, wait).await?;
            }
            lane.journal.close().await
        };
        if let Err(error) = closed.await {
            tracing::warn!(session = %lane.session, %error, "a client's session was not closed");
        }
        drop(lock(&lane.held).take());
        let mut open = lock(&self.lanes.open);
        open.retain(|_, slot| {
            let Ok(mut kept) = slot.try_lock() else {
                return true;
            };
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, lane)) {
                *kept = None;
            }
            // Whoever is about to come in has the slot too.
            kept.is_some() || Arc::strong_count(slot) > 1
        });
    }
}
