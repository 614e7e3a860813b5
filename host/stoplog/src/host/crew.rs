//! Sessions at work beside each other on one host, a task each.
//!
//! Invariants:
//! * no more than the crew has room for are at work at once;
//! * whoever begins a session is told how it ended, also when its task panicked;
//! * a crew is closed, never just dropped: see `closing.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use stoplog_journal::SessionRow;
use stoplog_model::SessionId;
use tokio::task::{Id, JoinSet};

use super::{Host, Ran, Work};
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
        }
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
            let taken = self.host.take_over_all(&listed).await;
            for (row, taken) in listed.into_iter().zip(taken) {
                let Ok(session) = SessionId::new(row.session) else {
                    continue;
                };
                match taken {
                    Ok(taken) => self.begin(Work::Taken(session, Box::new(taken))),
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
        let session = work.session().clone();
        let host = self.host.clone();
        let task = self.tasks.spawn(async move { host.work(work).await });
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
