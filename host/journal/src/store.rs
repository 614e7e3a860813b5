//! What a store does: rows in, rows out. All meaning lives above it.

use async_trait::async_trait;
use stoplog_model::SessionId;

use crate::cipher::{Cipher, KeyId, Place};
use crate::state::{StateRow, States};

/// Newest encoding of events and snapshots that is known. Older ones are read for ever. The tables
/// around them have a version of their own, which is the store's.
pub const FORMAT: u32 = ENCRYPTED_FORMAT;

/// Encoding of an event that is stored as it is.
pub const CLEAR_FORMAT: u32 = 1;

/// The same event, encrypted ([`crate::cipher`]).
pub const ENCRYPTED_FORMAT: u32 = 2;

/// Version of what a snapshot holds. Another one is passed over for the events, which say the same;
/// so it may change whenever the fold learns something. 2: what was asked of model providers.
pub const SNAPSHOT_FORMAT: u32 = 2;

/// A link of a session's chain: SHA-256 over the link before and the row.
pub type Link = [u8; 32];

/// Bodies larger than this are kept apart, by digest: 64 KiB, so that a page of the events table
/// stays a page, and equal payloads are kept once.
pub const PAYLOAD_APART_BYTES: usize = 64 * 1024;

/// One event as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Counted from 1 in the session.
    pub seq: u64,
    /// Version of the encoding of `body`.
    pub format: u32,
    /// Epoch of the lease that wrote it.
    pub epoch: u64,
    /// Wall clock, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Kind of the event.
    pub kind: String,
    /// Position, if the event is about a call.
    pub iteration: Option<u32>,
    /// Position, if the event is about a call.
    pub ordinal: Option<u32>,
    /// For `observed`: the tool's name.
    pub tool: Option<String>,
    /// For `observed`: digest of the arguments.
    pub args_digest: Option<String>,
    /// For `observed`: the idempotency key.
    pub key: Option<String>,
    /// For `observed`: the result in short, redacted.
    pub summary: Option<String>,
    /// The event, encoded.
    pub body: String,
    /// The same as it is stored, if it is encrypted.
    pub encrypted: Option<String>,
    /// Its link (`chain::link`). All zero in a journal that is older than the chain.
    pub chain: Link,
}

impl Row {
    /// The body as it is stored: what the link is made of.
    pub fn stored(&self) -> &str {
        self.encrypted.as_deref().unwrap_or(&self.body)
    }

    /// Makes the body of a row that was just read readable. On an error the row stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Encrypted`] without the key, [`StoreError::Corrupt`] if it is damaged.
    pub fn decrypt(&mut self, session: &str, cipher: &Cipher) -> Result<(), StoreError> {
        let place = Place::Event(session, self.seq);
        let clear = cipher.decrypt(place, &self.body)?;
        // What a newer format says is for who decodes it to refuse.
        if self.format <= FORMAT && clear.is_some() != (self.format == ENCRYPTED_FORMAT) {
            let why = format!("{place} is not in the format that is written beside it");
            return Err(StoreError::Corrupt(why));
        }
        if let Some(clear) = clear {
            self.encrypted = Some(std::mem::replace(&mut self.body, clear));
        }
        Ok(())
    }
}

/// The fold of a session up to an event, so that opening it reads the tail alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// `seq` of the last event in it.
    pub seq: u64,
    /// Version of the encoding of `body`.
    pub format: u32,
    /// Link of that event.
    pub chain: Link,
    /// SHA-256 over `chain` and `body` (`chain::seal`).
    pub seal: Link,
    /// The fold, encoded.
    pub body: String,
}

/// Which rows of a session to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// The first one, the snapshot, and what came behind it; all of them if there is no snapshot.
    Tail,
    /// This one, and the one before it: enough to check its link.
    Event(u64),
}

/// What a store has of a session, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// How it is listed; none for a session that has no events.
    pub row: Option<SessionRow>,
    /// Its snapshot, if [`Part::Tail`] was asked for and there is one.
    pub snapshot: Option<SnapshotRow>,
    /// The rows that were asked for, in order.
    pub rows: Vec<Row>,
}

/// Everything that a store has of a session, as of one moment: for checking it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dossier {
    /// How it is listed; none for a session that has no events.
    pub listed: Option<SessionRow>,
    /// The largest epoch that was ever given to a lease of it.
    pub lease_epoch: u64,
    /// Its snapshot.
    pub snapshot: Option<SnapshotRow>,
    /// Its rows, in order, up to the first that cannot be read.
    pub rows: Vec<Row>,
    /// The number of each row among those of all sessions, in the order of their commits.
    pub places: Vec<i64>,
    /// Its open intents, by position and label.
    pub open_intents: Vec<OpenIntentRow>,
    /// Its claims, without what was kept of an earlier session of this name.
    pub act_keys: Vec<ActKeyRow>,
    /// What of it cannot be read, the first thing first.
    pub unreadable: Vec<String>,
}

/// Which sessions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All with at least one event.
    All,
    /// This one.
    One(&'a SessionId),
    /// All that have not had their final answer. Read by an index: closed ones cost nothing.
    Unfinished,
}

/// What the sessions table shows of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Whose it is.
    pub tenant: String,
    /// Who talks.
    pub user: String,
    /// Which workflow.
    pub feature: String,
    /// What it is doing (`Status::as_str`).
    pub status: String,
    /// Trace of the last run, or empty.
    pub trace_id: String,
}

/// One session as the table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: String,
    /// Its head.
    pub head: Head,
    /// `seq` of its last event.
    pub last_seq: u64,
    /// Link of its last event; none in a journal that is older than the chain.
    pub chain: Option<Link>,
    /// Time of its last event, milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// Who has it, if anybody.
    pub lease: Option<Lease>,
}

/// The right to write to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The session.
    pub session: String,
    /// Who has it.
    pub holder: String,
    /// Counted up with every change of hands; each append checks it.
    pub epoch: u64,
    /// Good until then, milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// An intent without an outcome. Recovery reads these, not the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntentRow {
    /// The session.
    pub session: String,
    /// Position of the call.
    pub iteration: u32,
    /// Position of the call.
    pub ordinal: u32,
    /// The effect.
    pub label: String,
    /// Its key.
    pub key: String,
    /// How often it was sent.
    pub attempt: u32,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What is known of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActKeyState {
    /// Its call is under way, or in doubt.
    InFlight,
    /// Its call ended with a result that counts: the observation is at `seq`.
    Done,
}

/// Who claims an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActKeyRow {
    /// Scope of the key.
    pub scope: String,
    /// The key.
    pub key: String,
    /// The tool that named it.
    pub tool: String,
    /// The session of the call.
    pub session: String,
    /// Position of the call.
    pub iteration: u32,
    /// Position of the call.
    pub ordinal: u32,
    /// Digest of the call's arguments.
    pub args_digest: String,
    /// How far it is.
    pub state: ActKeyState,
    /// `seq` of the observation, when done.
    pub seq: u64,
    /// Class of the tool, 0 to 4: how long the key is kept.
    pub class: u8,
    /// When it was claimed or settled last, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The observation's body, kept here when its session was pruned; empty for an act that was
    /// in flight.
    pub kept: Option<String>,
}

impl ActKeyRow {
    /// Whether both are claims of the same call. A claim that was kept of a pruned session is
    /// nobody's own: a new session may have taken the name.
    pub fn same_call(&self, other: &ActKeyRow) -> bool {
        self.kept.is_none()
            && other.kept.is_none()
            && (&self.session, self.iteration, self.ordinal)
                == (&other.session, other.iteration, other.ordinal)
    }
}

/// What is written in one commit, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The session.
    pub session: String,
    /// Epoch of the lease: another one refuses the batch.
    pub epoch: u64,
    /// The events, in order, without gaps.
    pub rows: Vec<Row>,
    /// What the sessions table shows afterwards.
    pub head: Head,
    /// Intents that are open from now on; one with the same call and label is replaced.
    pub opened: Vec<OpenIntentRow>,
    /// Intents that are closed: a call, and a label or all of it.
    pub closed: Vec<(u32, u32, Option<String>)>,
    /// Acts that are claimed, or whose claim by the same call changes. A claim of another call
    /// refuses the batch.
    pub claims: Vec<ActKeyRow>,
    /// Acts whose claim by this call is given up: scope, key, iteration, ordinal.
    pub released: Vec<(String, String, u32, u32)>,
    /// What the events write into the state of tools, in order: the last one about a key stands.
    pub state: Vec<StateRow>,
    /// The fold with these rows applied; replaces the snapshot before.
    pub snapshot: Option<SnapshotRow>,
}

/// Why a store refused, or could not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has the session.
    #[error("session {} is held by {} (epoch {}) until {}", .0.session, .0.holder, .0.epoch, .0.expires_at_ms)]
    Leased(Lease),
    /// The lease of the writer is over: another epoch is in force.
    #[error("the lease with epoch {had} is over: epoch {now} is in force")]
    Fenced {
        /// The writer's.
        had: u64,
        /// The present one.
        now: u64,
    },
    /// The events do not follow on the last one.
    #[error("event {got} does not follow on event {last}")]
    SeqTaken {
        /// `seq` of the last event in the store.
        last: u64,
        /// `seq` of the first event of the batch.
        got: u64,
    },
    /// Another call claims the act.
    #[error("act `{}` is claimed by call {}.{} of session {}", .0.key, .0.iteration, .0.ordinal, .0.session)]
    ActTaken(ActKeyRow),
    /// Nothing was written.
    #[error("the journal cannot be written: {0}")]
    Unwritable(String),
    /// What is stored cannot be read.
    #[error("the journal cannot be read: {0}")]
    Corrupt(String),
    /// A newer version wrote it.
    #[error("the journal has format {found}; this version reads up to {known}")]
    Newer {
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is encrypted, and the keys are not there.
    #[error("the journal is encrypted, and key {} is not among those of [journal]", listed(.keys))]
    Encrypted {
        /// The keys that are missing.
        keys: Vec<KeyId>,
    },
    /// Its durability settings did not take.
    #[error("the journal is not durable: {0}")]
    NotDurable(String),
    /// Another host has the data directory.
    #[error("{0}")]
    Locked(String),
}

fn listed(keys: &[KeyId]) -> String {
    let names: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    names.join(", ")
}

/// A place for rows. Every answer `Ok` to an append means: on disk.
#[async_trait]
pub trait Store: States {
    /// With what the events of a batch are encrypted, before they are handed over: their links are
    /// made over what is stored. What comes back is readable.
    fn cipher(&self) -> Cipher;

    /// Writes a batch, all or nothing. `Ok` only when it is durable.
    async fn append(&self, batch: Batch) -> Result<(), StoreError>;

    /// Sessions, or a part of each, all as of one moment, in the order in which they are asked for.
    /// Empty for a session that is not there. Whoever needs many asks for many at once: the way to
    /// the disk costs more than a short session. See [`crate::opening::read_each`].
    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError>;

    /// Takes the lease of a session, with the next epoch; makes the session if it is not there.
    /// Refused with [`StoreError::Leased`] while somebody else's is good, unless `holder_is_dead`:
    /// then the caller knows that no holder lives, because it has the data directory's lock.
    async fn lease(
        &self,
        session: &SessionId,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
        holder_is_dead: bool,
    ) -> Result<Lease, StoreError>;

    /// Makes a lease last longer. [`StoreError::Fenced`] when another epoch is in force.
    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError>;

    /// Gives a lease back. Nothing happens when another epoch is in force.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Sessions with at least one event, the latest first.
    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError>;

    /// Who claims an act.
    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError>;

    /// Intents without an outcome.
    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError>;
}

/// What may be deleted. A session goes when it is over (`ended` or `failed`), nobody holds it, it
/// has no open intent, and both bounds say so. Keys of acts go by their own age, by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Sessions whose last event is at or behind this time stay. Milliseconds since the epoch.
    pub sessions_before_ms: u64,
    /// So many of the latest sessions that are over stay, whatever their age.
    pub keep_latest: u64,
    /// Keys of class 0 to 4 that were settled at or behind this time stay, with their result.
    pub keys_before_ms: [u64; 5],
    /// Now: a lease that is good is respected.
    pub now_ms: u64,
    /// Sessions to delete in one commit at most, so that a host's commits wait only shortly.
    pub batch: u32,
}

/// What one step of pruning deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Sessions.
    pub sessions: u64,
    /// Events.
    pub events: u64,
    /// Keys of acts.
    pub keys: u64,
}

impl Pruned {
    /// Whether there was nothing left to delete.
    pub fn is_nothing(&self) -> bool {
        *self == Pruned::default()
    }
}

/// What the operator does to a store. Apart from [`Store`], so that what runs a session cannot.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Deletes one batch of what may go, in one commit. To be called until there is nothing left.
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError>;

    /// Deletes what a tool keeps for a tenant: one key, or all. How many keys that were.
    async fn forget_state(
        &self,
        tenant: &str,
        tool: &str,
        key: Option<&str>,
    ) -> Result<u64, StoreError>;
}
