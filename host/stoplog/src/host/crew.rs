//! Sessions at work beside each other on one host, a task each.
//!
//! Invariants:
//! * no more than the crew has room for are at work at once;
//! * whoever begins a session is told how it ended, also when its task panicked;
//! * a crew is closed, never just dropped: see `closing.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use stoplog_journal::SessionRow;
use stoplog_model::{SessionId, TraceContext};
use tokio::task::{Id, JoinHandle, JoinSet};

use super::{Front, Host, Ran, Work};
use crate::error::CliError;

/// Sessions that are taken over in one go at most: enough that a commit and a read are shared by
/// many, and few enough that the first of them begins soon.
const TAKEN_AT_ONCE: usize = 64;

/// Sessions at work.
pub(crate) struct Crew {
    pub(super) host: Arc<Host>,
    room: usize,
    pub(super) tasks: JoinSet<Result<Option<Ran>, CliError>>,
    pub(super) at_work: HashMap<Id, SessionId>,
    /// Sessions that ended in the shutdown: given back when the crew is closed.
    pub(super) to_give_back: Vec<Came>,
    /// The doors by which clients come in, if there are any.
    pub(super) serving: Option<Serving>,
}

/// Doors that are open.
pub(crate) struct Serving {
    /// What is behind them.
    pub(crate) front: Arc<Front>,
    /// Ends when the shutdown is asked for and every client has been answered.
    pub(crate) task: JoinHandle<()>,
}

impl Serving {
    /// Waits until every client is answered and every session of a client is given back.
    pub(super) async fn drain(&mut self) {
        let _ = (&mut self.task).await;
        self.front.close().await;
    }
}

/// A session that is not at work any more.
pub(crate) struct Came {
    /// Which.
    pub(crate) session: SessionId,
    /// Its run; none if the host was told to stop before there was one.
    pub(crate) result: Result<Option<Ran>, CliError>,
}

impl Crew {
    /// Nobody at work yet, and room for so many.
    pub(crate) fn new(host: Host, room: usize) -> Crew {
        Crew {
            host: Arc::new(host),
            room,
            tasks: JoinSet::new(),
            at_work: HashMap::new(),
            to_give_back: Vec::new(),
            serving: None,
        }
    }

    /// The host that they are at work on.
    pub(crate) fn host(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// Lets clients in beside it. They are let go when the crew is closed.
    pub(crate) fn serve(&mut self, serving: Serving) {
        self.serving = Some(serving);
    }

    /// Whether a session is at work.
    pub(crate) fn has(&self, session: &SessionId) -> bool {
        self.at_work.values().any(|at_work| at_work == session)
    }

    /// Whether nobody is at work.
    pub(crate) fn is_idle(&self) -> bool {
        self.at_work.is_empty()
    }

    /// Whether another session may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.free() > 0
    }

    /// How many sessions may begin.
    fn free(&self) -> usize {
        match self.host.shutdown.is_cancelled() {
            true => 0,
            false => self.room.saturating_sub(self.at_work.len()),
        }
    }

    /// Takes over as many of the sessions that wait as there is room for, in their order, and puts
    /// them to work. Those that cannot be taken over come back at once.
    pub(crate) async fn go_on(&mut self, waiting: &mut VecDeque<SessionRow>) -> Vec<Came> {
        let mut came = Vec::new();
        loop {
            let portion = self.free().min(TAKEN_AT_ONCE).min(waiting.len());
            if portion == 0 {
                return came;
            }
            let listed: Vec<SessionRow> = waiting.drain(..portion).collect();
            let (mut listing, mut held) = (Vec::new(), Vec::new());
            for row in listed {
                let Ok(session) = SessionId::new(row.session.as_str()) else {
                    continue;
                };
                match self.host.at_work.hold(&session).await {
                    Ok(one) => {
                        listing.push(row);
                        held.push((session, one));
                    }
                    Err(error) => came.push(Came {
                        session,
                        result: Err(error),
                    }),
                }
            }
            let taken = self.host.take_over_all(&listing).await;
            for ((session, held), taken) in held.into_iter().zip(taken) {
                match taken {
                    Ok(taken) => self.begin(Work::Taken(session, held, Box::new(taken))),
                    Err(error) => came.push(Came {
                        session,
                        result: Err(error.into()),
                    }),
                }
            }
        }
    }

    /// Puts a session to work.
    pub(crate) fn begin(&mut self, work: Work) {
        self.begin_for(work, None);
    }

    /// The same, for somebody whose span the run belongs below.
    pub(crate) fn begin_for(&mut self, work: Work, remote: Option<TraceContext>) {
        let session = work.session().clone();
        let host = self.host.clone();
        let task = self
            .tasks
            .spawn(async move { host.work(work, remote).await });
        self.at_work.insert(task.id(), session);
    }

    /// The next session that ends. None: nobody is at work, or the shutdown is asked for.
    pub(crate) async fn next(&mut self) -> Option<Came> {
        let shutdown = self.host.shutdown.clone();
        let came = shutdown.run_until_cancelled(self.join()).await??;
        if let Ok(Some(ran)) = &came.result
            && ran.given_back.is_none()
        {
            self.to_give_back.push(came);
            return None;
        }
        Some(came)
    }

    /// The next session that ends, shutdown or not. May be dropped and asked again.
    pub(super) async fn join(&mut self) -> Option<Came> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(error) => {
                let message = format!("the task of this session ended early: {error}");
                (error.id(), Err(CliError::internal(message)))
            }
        };
        let session = self.at_work.remove(&id)?;
        Some(Came { session, result })
    }
}
