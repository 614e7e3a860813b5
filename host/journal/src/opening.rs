//! Opening a session: what it takes, and reading what is there.
//!
//! Everything that is read is checked against the chain before it is believed. A snapshot is only
//! a shortcut: one that is damaged, or that the tail does not fit, is passed over for the events.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use stoplog_model::port::{Clock, Moment, Stage, Watch};
use stoplog_model::{Position, Record, Session, SessionId};

use crate::error::JournalError;
use crate::store::{Link, Part, Reading, Row, Store, StoreError};
use crate::{chain, codec};

/// Told of every commit, in order, after it is durable.
pub trait OnCommit: Send + Sync {
    /// These records of a session are durable.
    fn committed(&self, session: &SessionId, records: &[Record]);
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

impl Opening {
    /// Tells the watcher of a stage.
    pub(crate) fn reached(&self, stage: Stage, moment: Moment, position: Option<Position>) {
        self.watch.reached(stage, moment, position);
    }
}

/// Sessions that are read in one go: the way to the disk and back is shared by so many, and their
/// rows are in memory at once.
const READ_AT_ONCE: usize = 64;

/// A session that was read: its records and their fold. None: it is not there.
pub type Loaded = Option<(Vec<Record>, Session)>;

/// A session, or a part of it. Empty for a session that is not there.
pub async fn read_one(
    store: &dyn Store,
    id: &SessionId,
    part: Part,
) -> Result<Reading, StoreError> {
    let readings = store.read(std::slice::from_ref(id), part).await?;
    Ok(readings.into_iter().next().unwrap_or_default())
}

/// Many sessions, or a part of each, in their order. One that cannot be read is told, and does not
/// stand in the way of the others.
pub async fn read_each(
    store: &dyn Store,
    ids: &[SessionId],
    part: Part,
) -> Vec<Result<Reading, StoreError>> {
    if let Ok(readings) = store.read(ids, part).await {
        return readings.into_iter().map(Ok).collect();
    }
    let mut each = Vec::with_capacity(ids.len());
    for id in ids {
        each.push(read_one(store, id, part).await);
    }
    each
}

/// Reads a session without leasing it: its records, and their fold.
pub async fn load(store: &dyn Store, id: &SessionId) -> Result<Loaded, JournalError> {
    loaded(id, &read_one(store, id, Part::Whole).await?)
}

/// Reads many sessions without leasing them, one behind the other in their order. While the rows of
/// some are folded, those of the next are read.
pub fn load_each(
    store: &dyn Store,
    ids: Vec<SessionId>,
) -> impl Stream<Item = (SessionId, Result<Loaded, JournalError>)> {
    let mut groups: Vec<Vec<SessionId>> = Vec::new();
    for group in ids.chunks(READ_AT_ONCE) {
        groups.push(group.to_vec());
    }
    stream::iter(groups)
        .map(move |group| async move {
            let readings = read_each(store, &group, Part::Whole).await;
            stream::iter(group.into_iter().zip(readings))
        })
        .buffered(2)
        .flatten()
        .map(|(id, reading)| {
            let found = match reading {
                Ok(reading) => loaded(&id, &reading),
                Err(error) => Err(error.into()),
            };
            (id, found)
        })
}

fn loaded(id: &SessionId, reading: &Reading) -> Result<Loaded, JournalError> {
    let found = whole(id, reading)?;
    Ok(found.and_then(|found| Some((found.records?, found.session))))
}

/// The newest state of a session.
pub(crate) struct Found {
    pub(crate) session: Session,
    /// All its records; none if it was read from a snapshot.
    pub(crate) records: Option<Vec<Record>>,
    /// The link of its last event.
    pub(crate) chain: Link,
    /// `seq` of the snapshot that it was read from; 0 if it was not.
    pub(crate) snapshot_seq: u64,
}

/// A session of all its rows. None: there are none.
pub(crate) fn whole(id: &SessionId, reading: &Reading) -> Result<Option<Found>, JournalError> {
    let chain = chain::check(id.as_str(), reading)?;
    let records = decode(&reading.rows)?;
    let session = Session::fold(&records)?;
    Ok(session.map(|session| Found {
        session,
        records: Some(records),
        chain,
        snapshot_seq: 0,
    }))
}

/// A session of its newest snapshot and what came behind it; of all its events, if there is no
/// snapshot, or none that can be used.
pub(crate) async fn newest(
    store: &dyn Store,
    id: &SessionId,
    tail: &Reading,
) -> Result<Option<Found>, JournalError> {
    if tail.snapshot.is_none() {
        return whole(id, tail);
    }
    match from_snapshot(id, tail)? {
        Some(found) => Ok(Some(found)),
        None => whole(id, &read_one(store, id, Part::Whole).await?),
    }
}

/// Reads all events of a session.
pub(crate) async fn load_whole(
    store: &dyn Store,
    id: &SessionId,
) -> Result<Option<(Session, Link)>, JournalError> {
    let reading = read_one(store, id, Part::Whole).await?;
    let last = chain::check(id.as_str(), &reading)?;
    let session = Session::folded(decode(&reading.rows)?)?;
    Ok(session.map(|session| (session, last)))
}

/// None: the snapshot cannot be used.
fn from_snapshot(id: &SessionId, reading: &Reading) -> Result<Option<Found>, StoreError> {
    let (Some(snapshot), Some((first, tail))) = (&reading.snapshot, reading.rows.split_first())
    else {
        return Ok(None);
    };
    let Some(mut session) = codec::thaw(first, snapshot)? else {
        tracing::warn!(session = %id, "the snapshot is damaged; reading the events");
        return Ok(None);
    };
    let chain = chain::check(id.as_str(), reading)?;
    for record in decode(tail)? {
        // Such as the confirmation of a write that the snapshot has left out.
        if session.take(record).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(Found {
        session,
        records: None,
        chain,
        snapshot_seq: snapshot.seq,
    }))
}

fn decode(rows: &[Row]) -> Result<Vec<Record>, StoreError> {
    rows.iter().map(codec::decode).collect()
}
