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
mod exporting;
mod front;
mod journal;
mod logging;
mod measure;
mod projection;
mod wiring;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stoplog_agent::{Driver, Ended, RunSpec};
use stoplog_journal::{
    JournalError, SessionJournal, SessionRow, Store, Taken, Which, load, take_over,
};
use stoplog_model::event::SessionStarted;
use stoplog_model::port::Watch;
use stoplog_model::session::Status;
use stoplog_model::{Reason, SessionId, TraceContext};
use tokio_util::sync::CancellationToken;

use self::exporting::Collecting;
use self::logging::RunLog;
use self::projection::{Projection, Sinks};
use crate::config::Config;
use crate::error::CliError;

use at_work::{AtWork, Held};
pub(crate) use closing::{Left, Step, Told};
pub(crate) use crew::{Came, Crew, Serving};
pub(crate) use edges::{SystemClock, holder, keys_or_none, look, new_trace_id};
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
    /// Whose span the first run of a session belongs below, until it has begun.
    callers: Mutex<HashMap<SessionId, TraceContext>>,
    at_work: Arc<AtWork>,
}

/// A session to take as far as it gets.
pub(crate) enum Work {
    /// Begin it.
    Begin(Box<SessionStarted>),
    /// Go on with it.
    GoOn(SessionId),
    /// Go on with it: it is held, and taken over already.
    Taken(SessionId, Held, Box<Taken>),
}

impl Work {
    /// Which session.
    pub(crate) fn session(&self) -> &SessionId {
        match self {
            Work::Begin(started) => &started.session,
            Work::GoOn(id) | Work::Taken(id, ..) => id,
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
        mut journal: Journal,
        config: Config,
        voice: Voice<'_>,
        watch: Arc<dyn Watch>,
        shutdown: CancellationToken,
    ) -> Result<Host, CliError> {
        let sinks = Sinks {
            file: config
                .telemetry
                .spans_file
                .map(|r| (journal.data.spans(), r)),
            collector: match &config.telemetry.collector {
                Some(collector) => Some(Collecting::new(collector)?),
                None => None,
            },
        };
        journal.log = RunLog::open(&config.log, config.model.providers())?;
        let (driver, tools) = wiring::driver(config, &journal.data, voice)?;
        let (store, nudge) = (journal.store.clone(), journal.nudge.clone());
        let projection = Projection::begin(&journal.data, store, nudge, sinks);
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
            callers: Mutex::default(),
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

    /// The next run of this session belongs below somebody's span. A host that dies before that
    /// forgets it: the run is then a trace of its own.
    fn begun_by(&self, session: &SessionId, remote: TraceContext) {
        self.callers().insert(session.clone(), remote);
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<SessionId, TraceContext>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session as far as it gets. None: the host is shutting down, and it was not run.
    async fn work(
        &self,
        work: Work,
        remote: Option<TraceContext>,
    ) -> Result<Option<Ran>, CliError> {
        if self.shutdown.is_cancelled() {
            if let Work::Taken(_, _held, taken) = work {
                taken.journal.close().await?;
            }
            return Ok(None);
        }
        let caller = self.callers().remove(work.session());
        let (_held, session) = match work {
            Work::Begin(started) => {
                let held = self.at_work.hold(&started.session).await?;
                (held, self.begin(*started).await?)
            }
            Work::GoOn(id) => {
                let held = self.at_work.hold(&id).await?;
                let taken = self.take_over(&id).await?;
                (held, self.ready(&id, taken).await?)
            }
            Work::Taken(id, held, taken) => (held, self.ready(&id, *taken).await?),
        };
        if self.shutdown.is_cancelled() {
            session.close().await?;
            return Ok(None);
        }
        let spec = RunSpec {
            trace_id: new_trace_id()?,
            host: holder(),
            remote: remote.or(caller),
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

    async fn take_over(&self, id: &SessionId) -> Result<Taken, CliError> {
        let not_found = || {
            let message = format!("there is no session {id}");
            CliError::new(Reason::SessionNotFound, message)
        };
        let listed = self.journal.store.sessions(Which::One(id)).await?;
        if listed
            .iter()
            .any(|row| row.head.status == Status::Ended.as_str())
        {
            return Err(has_ended(id));
        }
        let taken = self.take_over_all(&listed).await.pop();
        Ok(taken.ok_or_else(not_found)??)
    }

    /// Takes over sessions that were listed, in their order: none waits for the tools of another.
    async fn take_over_all(&self, listed: &[SessionRow]) -> Vec<Result<Taken, JournalError>> {
        take_over(&self.journal.opening(self.watch.clone()), listed).await
    }

    /// Makes a session that is taken over ready to go on; one that cannot is given back.
    async fn ready(&self, id: &SessionId, taken: Taken) -> Result<Arc<SessionJournal>, CliError> {
        let Taken { journal, records } = taken;
        let (pins, status) = journal.read(|s| (s.started.clone(), s.status()));
        let ready = async {
            self.journal.prime(&journal);
            if let Some(log) = &self.journal.log {
                // A snapshot has left the first records out, and the log counts messages.
                let whole = match records {
                    Some(records) => Some(records),
                    None => load(&*self.journal.store, id).await?.map(|(r, _)| r),
                };
                log.take_over(id, &whole.unwrap_or_default());
            }
            if status == Status::Ended {
                return Err(has_ended(id));
            }
            self.tools.ready(&self.journal.data, &pins.tools).await
        };
        match ready.await {
            Ok(()) => Ok(Arc::new(journal)),
            Err(error) => {
                let _ = journal.close().await;
                Err(error)
            }
        }
    }
}

fn has_ended(id: &SessionId) -> CliError {
    let message = format!("session {id} has its answer already");
    CliError::new(Reason::SessionEnded, message)
}

/// Gives a session back.
pub(crate) async fn close(journal: Arc<SessionJournal>) -> Result<(), CliError> {
    Ok(journal.close().await?)
}
