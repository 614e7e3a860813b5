//! Writing to one session: events are checked, committed, and only then applied.
//!
//! Invariants:
//! * what is in memory is the fold of what is on disk and of what is staged behind it, in that
//!   order; nothing leaves the host, and nothing is given to the loop as done, before all of it
//!   is on disk;
//! * an event that is not legal is refused before it is written;
//! * events are committed in the order in which they were handed over;
//! * after the first failed commit nothing more is written: the caller stops, and a new opening
//!   reads back what is true.
//!
//! Commits are joined: whoever gets to write takes along everything that is staged and that others
//! wait for. So a turn, what its reads saw, and the next intent are one commit when they meet.

use std::sync::{Arc, RwLock, RwLockWriteGuard};
use std::time::Duration;

use stoplog_model::digest::canonical_numbers;
use stoplog_model::event::{Event, IntentRecorded, ModelAsked, Observed, SessionStarted};
use stoplog_model::port::{Moment, Stage};
use stoplog_model::session::IllegalEvent;
use stoplog_model::state::{StateAsk, StateSeen};
use stoplog_model::turn::Turn;
use stoplog_model::{Position, Record, Request, Session, SessionId};
use stoplog_policy::Permit;
use tokio::sync::Mutex;

use crate::error::JournalError;
use crate::lease::{LEASE_TTL_MS, LeaseKeeper};
use crate::opening::{Opening, load_whole, read_one};
use crate::proof::{Intent, Observation, Settled};
use crate::store::{ActKeyRow, Batch, Lease, Link, Part, Store, StoreError, Which};
use crate::takeover::take_over;
use crate::{chain, codec};

/// A snapshot is written with the first commit that makes so many events since the one before:
/// a resume then reads a few hundred events at most, and the snapshot costs a few bytes an event.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 256;

/// How long a turn may wait for a commit to join, milliseconds. A call that takes longer must not
/// keep an answer that was paid for from the disk.
pub const TURN_LINGER_MS: u64 = 250;

/// How long a request to a model provider may be under way before it is on disk that it was made,
/// milliseconds. No model answers sooner, and a script makes no request: the commit is in nobody's
/// way. A host that is killed within it has asked off the record.
pub const ASK_LINGER_MS: u64 = 50;

/// How long an outcome may wait for the observation's commit, milliseconds. A tool that computes
/// on after its answer must not keep the outcome from the disk for longer.
pub const OUTCOME_LINGER_MS: u64 = 100;

/// The session in memory, and what of it is not on disk yet.
struct Live {
    session: Session,
    staged: Vec<Record>,
    /// How many events were ever handed over.
    taken: u64,
    /// An event was not legal: nothing more is written.
    illegal: Option<IllegalEvent>,
}

struct Writer {
    /// How many of the events that were handed over are durable.
    durable: u64,
    /// Link of the last durable event.
    chain: Link,
    /// `seq` of the last snapshot.
    snapshot_seq: u64,
    closed: Option<String>,
}

/// What one commit writes.
struct Commit {
    batch: Batch,
    records: Vec<Record>,
    /// How many events were handed over by then.
    taken: u64,
}

/// A leased session: the only way to write to it.
pub struct SessionJournal {
    id: SessionId,
    opening: Opening,
    lease: Lease,
    keeper: LeaseKeeper,
    live: RwLock<Live>,
    writer: Mutex<Writer>,
}

impl SessionJournal {
    /// Begins a session.
    pub async fn create(
        opening: Opening,
        started: SessionStarted,
    ) -> Result<SessionJournal, JournalError> {
        let id = started.session.clone();
        let there = opening.store.sessions(Which::One(&id)).await?;
        if !there.is_empty() {
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
        let before = chain::genesis(id.as_str());
        let cipher = opening.store.cipher();
        let records = std::slice::from_ref(&record);
        let batch = codec::batch(lease.epoch, records, &session, before, &cipher)?;
        let last = batch.rows.last().map_or(before, |r| r.chain);
        opening.reached(Stage::BatchAppended, Moment::Before, None);
        match opening.store.append(batch).await {
            Ok(()) => {}
            Err(StoreError::SeqTaken { .. }) => return Err(JournalError::Exists(id)),
            Err(e) => return Err(e.into()),
        }
        opening.reached(Stage::BatchAppended, Moment::After, None);
        for listener in &opening.listeners {
            listener.committed(&id, std::slice::from_ref(&record));
        }
        Ok(SessionJournal::over(opening, lease, session, last, 0))
    }

    /// Takes over a session that is there: see [`crate::take_over`].
    pub async fn open(opening: Opening, id: &SessionId) -> Result<SessionJournal, JournalError> {
        let listed = opening.store.sessions(Which::One(id)).await?;
        match take_over(&opening, &listed).await.pop() {
            Some(taken) => Ok(taken?.journal),
            None => Err(JournalError::NotFound(id.clone())),
        }
    }

    pub(crate) fn over(
        opening: Opening,
        lease: Lease,
        session: Session,
        chain: Link,
        snapshot_seq: u64,
    ) -> SessionJournal {
        let keeper = LeaseKeeper::start(&opening, lease.clone());
        SessionJournal {
            id: session.started.session.clone(),
            opening,
            lease,
            keeper,
            live: RwLock::new(Live {
                session,
                staged: Vec::new(),
                taken: 0,
                illegal: None,
            }),
            writer: Mutex::new(Writer {
                durable: 0,
                chain,
                snapshot_seq,
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
        self.opening.reached(stage, moment, position);
    }

    /// Looks at the session.
    pub fn read<T>(&self, look: impl FnOnce(&Session) -> T) -> T {
        let live = self
            .live
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        look(&live.session)
    }

    /// Reads the turns that a snapshot left out, so that every turn is in memory.
    pub async fn recall(&self) -> Result<(), JournalError> {
        if self.read(Session::is_whole) {
            return Ok(());
        }
        let writer = self.writer.lock().await;
        let whole = load_whole(&*self.opening.store, &self.id).await?;
        match whole.filter(|(_, chain)| *chain == writer.chain) {
            Some((mut session, _)) => {
                let mut live = self.live();
                for record in &live.staged {
                    session.apply(record)?;
                }
                live.session = session;
                Ok(())
            }
            // Somebody else has written: the next commit would be refused too.
            None => {
                let (had, now) = (self.lease.epoch, self.lease.epoch + 1);
                Err(StoreError::Fenced { had, now }.into())
            }
        }
    }

    /// Puts an event into the next commit, whoever makes it. For what may be lost with the
    /// process: reads, starts, outcomes (a lost outcome leaves its effect in doubt, as it was),
    /// turns (a lost turn caused nothing that left, and is asked for again).
    pub fn stage(&self, event: Event) {
        self.hand_over(vec![event]);
    }

    /// The same, and a commit of its own when no other comes within so many milliseconds.
    fn stage_for(self: &Arc<Self>, event: Event, linger_ms: u64) {
        let ticket = self.hand_over(vec![event]);
        self.commit_within(ticket, linger_ms);
    }

    fn commit_within(self: &Arc<Self>, ticket: u64, linger_ms: u64) {
        let journal = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(linger_ms)).await;
            // A failure closes the journal; whoever writes next is told.
            let _ = journal.commit_through(ticket).await;
        });
    }

    /// Makes everything that is staged durable.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.append(Vec::new()).await
    }

    /// Makes these events durable, together with all that is staged.
    pub async fn append(&self, events: Vec<Event>) -> Result<(), JournalError> {
        let ticket = self.hand_over(events);
        self.commit_through(ticket).await
    }

    /// Takes note of a request to a model provider, which leaves next. It waits a moment for a
    /// commit to join.
    pub fn ask(self: &Arc<Self>, asked: ModelAsked) {
        self.reached(Stage::ModelAsked, Moment::Before, None);
        self.stage_for(Event::ModelAsked(asked), ASK_LINGER_MS);
        self.reached(Stage::ModelAsked, Moment::After, None);
    }

    /// Takes a turn. It is durable before, or in the same commit as, anything that it causes. Whole
    /// numbers in its arguments become integers: schema, key, digest, approver and tool see the same.
    pub fn take_turn(self: &Arc<Self>, turn: Turn) {
        let turn = with_whole_numbers(turn);
        self.reached(Stage::TurnTaken, Moment::Before, None);
        self.stage_for(Event::TurnTaken(turn), TURN_LINGER_MS);
        self.reached(Stage::TurnTaken, Moment::After, None);
    }

    /// Takes a turn that somebody else than the loop has decided on: it gets the next number. Two at
    /// once get two.
    pub fn take_next_turn(self: &Arc<Self>, turn: impl FnOnce(u32) -> Turn) -> u32 {
        self.reached(Stage::TurnTaken, Moment::Before, None);
        let at_ms = self.now_ms();
        let (ticket, iteration) = {
            let mut live = self.live();
            let iteration = live.session.iterations() + 1;
            let event = Event::TurnTaken(with_whole_numbers(turn(iteration)));
            live.stage(event, self.lease.epoch, at_ms);
            (live.taken, iteration)
        };
        self.commit_within(ticket, TURN_LINGER_MS);
        self.reached(Stage::TurnTaken, Moment::After, None);
        iteration
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
        self.commit_alone(Event::IntentRecorded(recorded.clone()))
            .await?;
        self.reached(Stage::IntentDurable, Moment::After, position);
        if consumes {
            self.reached(Stage::ApprovalConsumed, Moment::After, position);
        }
        Ok(Intent::durable(recorded))
    }

    /// Takes what came of an intent. It waits a moment for the observation's commit.
    pub fn settle(self: &Arc<Self>, settled: Settled) {
        let position = Some(settled.recorded.position);
        self.reached(Stage::OutcomeSettled, Moment::Before, position);
        self.stage_for(Event::OutcomeRecorded(settled.recorded), OUTCOME_LINGER_MS);
        self.reached(Stage::OutcomeSettled, Moment::After, position);
    }

    /// Makes an observation durable; then, and only then, the loop goes on.
    pub async fn observe(&self, observed: Observed) -> Result<Observation, JournalError> {
        let position = Some(observed.position);
        self.reached(Stage::ObservationDurable, Moment::Before, position);
        self.append(vec![Event::Observed(observed.clone())]).await?;
        self.reached(Stage::ObservationDurable, Moment::After, position);
        Ok(Observation::durable(observed))
    }

    /// What a tool keeps for this session's tenant, as of now.
    pub async fn state(&self, tool: &str, ask: &StateAsk) -> Result<StateSeen, JournalError> {
        let tenant = self.read(|s| s.started.tenant.clone());
        let seen = self.opening.store.state(tenant.as_str(), tool, ask).await?;
        Ok(seen)
    }

    /// Who claims an act.
    pub async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, JournalError> {
        Ok(self.opening.store.act_key(scope, key).await?)
    }

    /// The observation at a place of any session, its link checked; none if another event, or
    /// nothing, is there.
    pub async fn observed_at(
        &self,
        id: &SessionId,
        seq: u64,
    ) -> Result<Option<Observed>, JournalError> {
        let reading = read_one(&*self.opening.store, id, Part::Event(seq)).await?;
        Ok(codec::observed_at(id, &reading, seq)?)
    }

    /// Writes what is staged and gives the session back. A straggler that writes later is fenced
    /// as soon as somebody else has leased the session.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.flush().await?;
        self.keeper.stop();
        self.reached(Stage::LeaseReleased, Moment::Before, None);
        self.opening.store.release(&self.lease).await?;
        self.reached(Stage::LeaseReleased, Moment::After, None);
        Ok(())
    }

    fn live(&self) -> RwLockWriteGuard<'_, Live> {
        self.live
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Queues events; the ticket is durable when so many events are.
    fn hand_over(&self, events: Vec<Event>) -> u64 {
        let at_ms = self.now_ms();
        let mut live = self.live();
        for event in events {
            live.stage(event, self.lease.epoch, at_ms);
        }
        live.taken
    }

    /// Comes back when everything up to the ticket is durable, whoever committed it.
    async fn commit_through(&self, ticket: u64) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        if writer.durable >= ticket {
            return Ok(());
        }
        writer.check_open()?;
        let commit = self.take_commit(&writer);
        self.commit(&mut writer, commit).await
    }

    /// Commits an event that another session may forestall, with all that is staged. If it does,
    /// nothing is written, the event is taken back, and what was staged stays staged.
    async fn commit_alone(&self, event: Event) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        writer.check_open()?;
        let (before, commit) = {
            let at_ms = self.now_ms();
            let mut live = self.live();
            let before = live.session.clone();
            live.stage(event, self.lease.epoch, at_ms);
            (before, self.commit_of(&mut live, &writer))
        };
        let mut staged = commit
            .as_ref()
            .map(|c| c.records.clone())
            .unwrap_or_default();
        let result = self.commit(&mut writer, commit).await;
        if let Err(JournalError::Store(StoreError::ActTaken(_))) = &result {
            staged.pop();
            self.live().go_back(before, staged);
        }
        result
    }

    /// Everything that is staged, as a commit.
    fn take_commit(&self, writer: &Writer) -> Result<Commit, JournalError> {
        self.commit_of(&mut self.live(), writer)
    }

    fn commit_of(&self, live: &mut Live, writer: &Writer) -> Result<Commit, JournalError> {
        if let Some(illegal) = &live.illegal {
            return Err(illegal.clone().into());
        }
        let records = std::mem::take(&mut live.staged);
        let session = &live.session;
        let cipher = self.opening.store.cipher();
        let (epoch, before) = (self.lease.epoch, writer.chain);
        let mut batch = codec::batch(epoch, &records, session, before, &cipher)?;
        if session.last_seq >= writer.snapshot_seq + SNAPSHOT_EVERY_EVENTS {
            let last = batch.rows.last().map_or(writer.chain, |r| r.chain);
            batch.snapshot = Some(codec::freeze(session, last)?);
        }
        Ok(Commit {
            batch,
            records,
            taken: live.taken,
        })
    }

    async fn commit(
        &self,
        writer: &mut Writer,
        commit: Result<Commit, JournalError>,
    ) -> Result<(), JournalError> {
        let result = match commit {
            Ok(commit) => self.try_commit(writer, commit).await,
            Err(error) => Err(error),
        };
        match &result {
            // Another call was first: nothing is written.
            Ok(()) | Err(JournalError::Store(StoreError::ActTaken(_))) => {}
            Err(error) => writer.closed = Some(error.to_string()),
        }
        result
    }

    async fn try_commit(&self, writer: &mut Writer, commit: Commit) -> Result<(), JournalError> {
        let last = commit.batch.rows.last().map(|r| (r.seq, r.chain));
        let Some((last_seq, chain)) = last else {
            return Ok(());
        };
        let has_snapshot = commit.batch.snapshot.is_some();
        self.append_batch(commit.batch, has_snapshot).await?;
        writer.chain = chain;
        writer.durable = commit.taken;
        if has_snapshot {
            writer.snapshot_seq = last_seq;
        }
        for listener in &self.opening.listeners {
            listener.committed(&self.id, &commit.records);
        }
        Ok(())
    }

    async fn append_batch(&self, batch: Batch, has_snapshot: bool) -> Result<(), StoreError> {
        if has_snapshot {
            self.reached(Stage::SnapshotWritten, Moment::Before, None);
        }
        self.reached(Stage::BatchAppended, Moment::Before, None);
        self.opening.store.append(batch).await?;
        self.reached(Stage::BatchAppended, Moment::After, None);
        if has_snapshot {
            self.reached(Stage::SnapshotWritten, Moment::After, None);
        }
        Ok(())
    }
}

impl Writer {
    fn check_open(&self) -> Result<(), JournalError> {
        match &self.closed {
            Some(why) => Err(JournalError::Closed(why.clone())),
            None => Ok(()),
        }
    }
}

impl Live {
    /// Applies the next event and queues it.
    fn stage(&mut self, event: Event, epoch: u64, at_ms: u64) {
        let record = Record {
            seq: self.session.last_seq + 1,
            epoch,
            at_ms,
            event,
        };
        self.taken += 1;
        match self.session.apply(&record) {
            Ok(()) => self.staged.push(record),
            Err(illegal) => {
                self.illegal.get_or_insert(illegal);
            }
        }
    }

    /// Takes the last event of a commit back: the session is as before it, these are staged again,
    /// and what was handed over since comes behind them.
    fn go_back(&mut self, before: Session, staged: Vec<Record>) {
        let later = std::mem::replace(&mut self.staged, staged);
        self.session = before;
        // The event that was taken back counts as handed over: a ticket behind it still comes due.
        self.taken -= later.len() as u64;
        for record in later {
            self.stage(record.event, record.epoch, record.at_ms);
        }
    }
}

pub(crate) async fn take_lease(opening: &Opening, id: &SessionId) -> Result<Lease, JournalError> {
    let now_ms = opening.clock.now_ms();
    let dead = opening.holders_are_dead;
    opening.reached(Stage::LeaseTaken, Moment::Before, None);
    let lease = opening
        .store
        .lease(id, &opening.holder, now_ms, LEASE_TTL_MS, dead)
        .await?;
    opening.reached(Stage::LeaseTaken, Moment::After, None);
    Ok(lease)
}

/// The turn with whole numbers in its arguments as integers.
fn with_whole_numbers(mut turn: Turn) -> Turn {
    for call in &mut turn.calls {
        canonical_numbers(&mut call.arguments);
    }
    turn
}
