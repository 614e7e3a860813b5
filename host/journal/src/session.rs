//! Writing to one session: events are checked, committed, and only then applied.
//!
//! Invariants:
//! * what is in memory is the fold of what is on disk, never more;
//! * an event that is not legal is refused before it is written;
//! * after the first failed commit nothing more is written: the caller stops, and a new opening
//!   reads back what is true.

use std::sync::{Arc, RwLock};

use stoplog_model::event::{Event, IntentRecorded, Observed, SessionStarted};
use stoplog_model::port::{Clock, Moment, Stage, Watch};
use stoplog_model::session::IllegalEvent;
use stoplog_model::turn::Turn;
use stoplog_model::{Position, Reason, Record, Request, Session, SessionId};
use stoplog_policy::Permit;
use tokio::sync::Mutex;

use crate::codec;
use crate::lease::{LEASE_TTL_MS, LeaseKeeper};
use crate::proof::{Intent, Observation, Settled};
use crate::store::{ActKeyRow, Lease, Store, StoreError};

/// Why something could not be journalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event does not fit the session: a defect, or a damaged journal.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// There is one already.
    #[error("session {0} exists already")]
    Exists(SessionId),
    /// An earlier commit failed: this journal is closed.
    #[error("the journal of this session is closed since a commit failed: {0}")]
    Closed(String),
}

impl JournalError {
    /// The reason code.
    pub fn reason(&self) -> Reason {
        match self {
            JournalError::Store(e) => match e {
                StoreError::Leased(_) => Reason::SessionLeased,
                StoreError::Fenced { .. } | StoreError::SeqTaken { .. } => Reason::LeaseLost,
                StoreError::ActTaken(_) => Reason::KeyInFlight,
                StoreError::Unwritable(_) => Reason::JournalUnwritable,
                StoreError::Corrupt(_) => Reason::JournalCorrupt,
                StoreError::Newer { .. } => Reason::JournalNewer,
                StoreError::NotDurable(_) => Reason::JournalNotDurable,
                StoreError::Locked(_) => Reason::DataDirLocked,
            },
            JournalError::Illegal(_) => Reason::JournalCorrupt,
            JournalError::NotFound(_) => Reason::SessionNotFound,
            JournalError::Exists(_) => Reason::SessionExists,
            JournalError::Closed(_) => Reason::JournalUnwritable,
        }
    }
}

/// Told of every commit, in order, after it is durable.
pub trait OnCommit: Send + Sync {
    /// These records are durable; `session` has them applied.
    fn committed(&self, session: &Session, records: &[Record]);
}

/// What it takes to open a session.
#[derive(Clone)]
pub struct Opening {
    /// Where the rows are.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told of every stage.
    pub watch: Arc<dyn Watch>,
    /// Told of every commit.
    pub listeners: Vec<Arc<dyn OnCommit>>,
    /// The name of this host, for the lease.
    pub holder: String,
    /// Whether this process has the data directory's lock: then every other holder is dead.
    pub holders_are_dead: bool,
}

/// Reads a session without leasing it: its records, and their fold.
pub async fn load(
    store: &dyn Store,
    id: &SessionId,
) -> Result<Option<(Vec<Record>, Session)>, JournalError> {
    let rows = store.read(id, 1).await?;
    let records = rows
        .iter()
        .map(codec::decode)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Session::fold(&records)?.map(|session| (records, session)))
}

struct Writer {
    staged: Vec<Event>,
    closed: Option<String>,
}

/// A leased session: the only way to write to it.
pub struct SessionJournal {
    opening: Opening,
    lease: Lease,
    _keeper: LeaseKeeper,
    session: RwLock<Session>,
    writer: Mutex<Writer>,
}

impl SessionJournal {
    /// Begins a session.
    pub async fn create(
        opening: Opening,
        started: SessionStarted,
    ) -> Result<SessionJournal, JournalError> {
        let id = started.session.clone();
        if !opening.store.read(&id, 1).await?.is_empty() {
            return Err(JournalError::Exists(id));
        }
        let lease = take_lease(&opening, &id).await?;
        let record = Record {
            seq: 1,
            epoch: lease.epoch,
            at_ms: opening.clock.now_ms(),
            event: Event::SessionStarted(started),
        };
        let session = Session::begin(&record)?;
        let batch = codec::batch(lease.epoch, std::slice::from_ref(&record), &session)?;
        match opening.store.append(batch).await {
            Ok(()) => {}
            Err(StoreError::SeqTaken { .. }) => return Err(JournalError::Exists(id)),
            Err(e) => return Err(e.into()),
        }
        for listener in &opening.listeners {
            listener.committed(&session, std::slice::from_ref(&record));
        }
        Ok(SessionJournal::over(opening, lease, session))
    }

    /// Takes over a session that is there. The lease comes first, so nothing changes between
    /// reading and writing.
    pub async fn open(opening: Opening, id: &SessionId) -> Result<SessionJournal, JournalError> {
        if opening.store.sessions(Some(id)).await?.is_empty() {
            return Err(JournalError::NotFound(id.clone()));
        }
        let lease = take_lease(&opening, id).await?;
        match load(&*opening.store, id).await? {
            Some((_, session)) => Ok(SessionJournal::over(opening, lease, session)),
            None => Err(JournalError::NotFound(id.clone())),
        }
    }

    fn over(opening: Opening, lease: Lease, session: Session) -> SessionJournal {
        let keeper =
            LeaseKeeper::start(opening.store.clone(), opening.clock.clone(), lease.clone());
        SessionJournal {
            opening,
            lease,
            _keeper: keeper,
            session: RwLock::new(session),
            writer: Mutex::new(Writer {
                staged: Vec::new(),
                closed: None,
            }),
        }
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.opening.clock.now_ms()
    }

    /// The rows, for questions that cross sessions.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.opening.store
    }

    /// Tells the watcher of a stage.
    pub fn reached(&self, stage: Stage, moment: Moment, position: Option<Position>) {
        self.opening.watch.reached(stage, moment, position);
    }

    /// Looks at the session as it is on disk.
    pub fn read<T>(&self, look: impl FnOnce(&Session) -> T) -> T {
        let guard = self
            .session
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        look(&guard)
    }

    /// Puts an event into the next commit, whoever makes it. For what may be lost with the
    /// process: reads, starts, outcomes (a lost outcome leaves its effect in doubt, as it was).
    pub async fn stage(&self, event: Event) {
        self.writer.lock().await.staged.push(event);
    }

    /// Makes everything that is staged durable.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.append(Vec::new()).await
    }

    /// Makes these events durable, together with all that is staged.
    pub async fn append(&self, events: Vec<Event>) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        self.commit(&mut writer, events).await
    }

    /// Makes a turn durable, before anything that it causes.
    pub async fn take_turn(&self, turn: Turn) -> Result<(), JournalError> {
        self.reached(Stage::TurnTaken, Moment::Before, None);
        self.append(vec![Event::TurnTaken(turn)]).await?;
        self.reached(Stage::TurnTaken, Moment::After, None);
        Ok(())
    }

    /// Makes an intent durable: the permit is spent, the approval in it consumed, the act claimed,
    /// in one commit. [`StoreError::ActTaken`] when another call claimed the act first: then
    /// nothing is written and nothing may leave.
    pub async fn intend(
        &self,
        permit: Permit,
        attempt: u32,
        request: Request,
        one_of_several: bool,
    ) -> Result<Intent, JournalError> {
        let grant = permit.spend();
        let position = Some(grant.position);
        let consumes = grant.approval.is_some();
        let recorded = IntentRecorded {
            position: grant.position,
            label: grant.label,
            attempt,
            key: grant.key,
            act_key: grant.act_key,
            args_digest: grant.args_digest,
            fingerprint: request.fingerprint(),
            request,
            approval: grant.approval,
            one_of_several,
        };
        if consumes {
            self.reached(Stage::ApprovalConsumed, Moment::Before, position);
        }
        self.reached(Stage::IntentDurable, Moment::Before, position);
        self.append(vec![Event::IntentRecorded(recorded.clone())])
            .await?;
        self.reached(Stage::IntentDurable, Moment::After, position);
        if consumes {
            self.reached(Stage::ApprovalConsumed, Moment::After, position);
        }
        Ok(Intent::durable(recorded))
    }

    /// Stages what came of an intent.
    pub async fn settle(&self, settled: Settled) {
        self.stage(Event::OutcomeRecorded(settled.recorded)).await;
    }

    /// Makes an observation durable; then, and only then, the loop goes on.
    pub async fn observe(&self, observed: Observed) -> Result<Observation, JournalError> {
        let position = Some(observed.position);
        self.reached(Stage::ObservationDurable, Moment::Before, position);
        self.append(vec![Event::Observed(observed.clone())]).await?;
        self.reached(Stage::ObservationDurable, Moment::After, position);
        Ok(Observation::durable(observed))
    }

    /// Who claims an act.
    pub async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, JournalError> {
        Ok(self.opening.store.act_key(scope, key).await?)
    }

    /// Writes what is staged and gives the session back. A straggler that writes later is fenced
    /// as soon as somebody else has leased the session.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.flush().await?;
        self.opening.store.release(&self.lease).await?;
        Ok(())
    }

    async fn commit(&self, writer: &mut Writer, events: Vec<Event>) -> Result<(), JournalError> {
        if let Some(why) = &writer.closed {
            return Err(JournalError::Closed(why.clone()));
        }
        if writer.staged.is_empty() && events.is_empty() {
            return Ok(());
        }
        let all = writer.staged.iter().cloned().chain(events).collect();
        match self.try_commit(all).await {
            Ok(()) => writer.staged.clear(),
            // Another call was first: nothing is written, and what was staged stays staged.
            Err(error @ JournalError::Store(StoreError::ActTaken(_))) => return Err(error),
            Err(error) => {
                writer.closed = Some(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    async fn try_commit(&self, events: Vec<Event>) -> Result<(), JournalError> {
        let mut next = self.read(Session::clone);
        let at_ms = self.now_ms();
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let record = Record {
                seq: next.last_seq + 1,
                epoch: self.lease.epoch,
                at_ms,
                event,
            };
            next.apply(&record)?;
            records.push(record);
        }
        let batch = codec::batch(self.lease.epoch, &records, &next)?;
        self.opening.store.append(batch).await?;
        for listener in &self.opening.listeners {
            listener.committed(&next, &records);
        }
        *self
            .session
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = next;
        Ok(())
    }
}

async fn take_lease(opening: &Opening, id: &SessionId) -> Result<Lease, JournalError> {
    let now_ms = opening.clock.now_ms();
    let dead = opening.holders_are_dead;
    Ok(opening
        .store
        .lease(id, &opening.holder, now_ms, LEASE_TTL_MS, dead)
        .await?)
}
