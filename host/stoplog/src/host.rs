//! The host: what all sessions of a process share, and one session taken as far as it gets.
//!
//! Invariants:
//! * one journal, one sandbox, one way out and one model, however many sessions are at work;
//! * a session's failure is its own: it is told with its reason, and the others go on;
//! * a session's tools are those that it began with, whatever the lock says today;
//! * once the shutdown is asked for nothing is begun.

mod at_work;
mod closing;
mod crew;
mod edges;
mod front;
mod journal;
mod measure;
mod projection;
mod wiring;

use std::sync::{Arc, Mutex, PoisonError};

use stoplog_agent::{Driver, Ended, RunSpec};
use stoplog_journal::{JournalError, SessionJournal, Store, load};
use stoplog_model::event::SessionStarted;
use stoplog_model::port::Watch;
use stoplog_model::session::Status;
use stoplog_model::{Reason, SessionId};
use tokio_util::sync::CancellationToken;

use self::projection::Projection;
use crate::config::Config;
use crate::error::CliError;

use at_work::AtWork;
pub(crate) use closing::{Left, Step, Told};
pub(crate) use crew::{Came, Crew, Serving};
pub(crate) use edges::{SystemClock, holder, look, new_trace_id};
use front::Spoken;
pub(crate) use front::{CLIENT_SESSION, Doors, Front, Line, Plan};
pub(crate) use journal::Journal;
pub(crate) use projection::{following, look_after, traces};
pub(crate) use wiring::{
    Tools, Voice, adding_sandbox, authors_sandbox, egress, model, reach, users_cache,
};

/// What the sessions of a process share.
pub(crate) struct Host {
    journal: Journal,
    /// Follows the journal; none when the trace store cannot be used.
    projection: Mutex<Option<Projection>>,
    driver: Driver,
    tools: Tools,
    /// What models are saying, for who watches.
    spoken: Spoken,
    watch: Arc<dyn Watch>,
    shutdown: CancellationToken,
    at_work: Arc<AtWork>,
}

/// A session to take as far as it gets.
pub(crate) enum Work {
    /// Begin it.
    Begin(Box<SessionStarted>),
    /// Go on with it.
    GoOn(SessionId),
}

impl Work {
    /// Which session.
    pub(crate) fn session(&self) -> &SessionId {
        match self {
            Work::Begin(started) => &started.session,
            Work::GoOn(id) => id,
        }
    }
}

/// A run that is over, and durable.
pub(crate) struct Ran {
    /// The session as the run left it.
    pub(crate) session: Arc<SessionJournal>,
    /// How the run ended.
    pub(crate) ended: Ended,
    /// How giving the session back went; none if that is still to be done.
    pub(crate) given_back: Option<Result<(), JournalError>>,
}

impl Ran {
    /// Writes what is staged and gives the lease back.
    async fn give_back(&mut self) {
        if self.given_back.is_none() {
            self.given_back = Some(self.session.close().await);
        }
    }
}

impl Host {
    /// Whether this process has the session open to write.
    pub(crate) fn is_at_work_on(&self, session: &SessionId) -> bool {
        self.at_work.has(session)
    }

    /// The rows.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.journal.store
    }

    /// A host over an open journal. `shutdown` is asked for by whoever owns the process.
    pub(crate) fn new(
        journal: Journal,
        config: Config,
        voice: Voice<'_>,
        watch: Arc<dyn Watch>,
        shutdown: CancellationToken,
    ) -> Result<Host, CliError> {
        let (driver, tools) = wiring::driver(config, &journal.data, voice)?;
        let (store, nudge) = (journal.store.clone(), journal.nudge.clone());
        let projection = Projection::begin(&journal.data, store, nudge);
        let spoken = Spoken::new();
        let driver = driver.with_hearing(Arc::new(spoken.clone()));
        Ok(Host {
            journal,
            projection: Mutex::new(projection),
            driver: driver.with_shutdown(shutdown.clone()),
            tools,
            spoken,
            watch,
            shutdown,
            at_work: Arc::default(),
        })
    }

    /// Who follows the journal, for whoever ends it.
    fn take_projection(&self) -> Option<Projection> {
        let mut projection = self
            .projection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        projection.take()
    }

    /// Takes a session as far as it gets. None: the host is shutting down, and it was not run.
    async fn work(&self, work: Work) -> Result<Option<Ran>, CliError> {
        if self.shutdown.is_cancelled() {
            return Ok(None);
        }
        let _held = self.at_work.hold(work.session()).await?;
        let session = match work {
            Work::Begin(started) => self.begin(*started).await?,
            Work::GoOn(id) => self.take_over(&id).await?,
        };
        if self.shutdown.is_cancelled() {
            session.close().await?;
            return Ok(None);
        }
        let spec = RunSpec {
            trace_id: new_trace_id()?,
            host: holder(),
        };
        let ended = match self.driver.run(&session, spec).await {
            Ok(ended) => ended,
            Err(error) => {
                // What ended the run says more than what closing it meets afterwards.
                let _ = session.close().await;
                return Err(error.into());
            }
        };
        let mut ran = Ran {
            session,
            ended,
            given_back: None,
        };
        // In a shutdown all sessions are given back in one step, behind the last call.
        if !self.shutdown.is_cancelled() {
            ran.give_back().await;
        }
        Ok(Some(ran))
    }

    async fn begin(&self, started: SessionStarted) -> Result<Arc<SessionJournal>, CliError> {
        self.tools.ready(&self.journal.data, &started.tools).await?;
        let opening = self.journal.opening(self.watch.clone());
        Ok(Arc::new(SessionJournal::create(opening, started).await?))
    }

    async fn take_over(&self, id: &SessionId) -> Result<Arc<SessionJournal>, CliError> {
        let Some((records, known)) = load(&*self.journal.store, id).await? else {
            let message = format!("there is no session {id}");
            return Err(CliError::new(Reason::SessionNotFound, message));
        };
        if known.status() == Status::Ended {
            // A host that died right behind the last commit has left the last spans unwritten.
            self.journal.prime(&records)?;
            let message = format!("session {id} has its answer already");
            return Err(CliError::new(Reason::SessionEnded, message));
        }
        let pins = &known.started.tools;
        self.tools.ready(&self.journal.data, pins).await?;
        self.journal.open(id, self.watch.clone()).await
    }
}

/// Gives a session back.
pub(crate) async fn close(journal: Arc<SessionJournal>) -> Result<(), CliError> {
    Ok(journal.close().await?)
}
