//! Opening a session: what it takes, and reading what is there.
//!
//! Everything that is read is checked against the chain before it is believed. A snapshot is only
//! a shortcut: one that is damaged, or that the tail does not fit, is passed over for the events.

use std::sync::Arc;

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

/// Reads a session without leasing it: its records, and their fold.
pub async fn load(
    store: &dyn Store,
    id: &SessionId,
) -> Result<Option<(Vec<Record>, Session)>, JournalError> {
    let reading = store.read(id, Part::Whole).await?;
    chain::check(id.as_str(), &reading)?;
    let records = decode(&reading.rows)?;
    Ok(Session::fold(&records)?.map(|session| (records, session)))
}

/// The newest state of a session, the link of its last event, and `seq` of the snapshot that it
/// was read from (0 if it was not).
pub(crate) type Newest = (Session, Link, u64);

/// Reads the newest state of a session: from its snapshot, or from all its events.
pub(crate) async fn load_newest(
    store: &dyn Store,
    id: &SessionId,
) -> Result<Option<Newest>, JournalError> {
    let reading = store.read(id, Part::Tail).await?;
    if reading.snapshot.is_some()
        && let Some(found) = from_snapshot(id, &reading)?
    {
        return Ok(Some(found));
    }
    load_whole(store, id).await
}

/// Reads all events of a session.
pub(crate) async fn load_whole(
    store: &dyn Store,
    id: &SessionId,
) -> Result<Option<Newest>, JournalError> {
    let reading = store.read(id, Part::Whole).await?;
    let last = chain::check(id.as_str(), &reading)?;
    let session = Session::folded(decode(&reading.rows)?)?;
    Ok(session.map(|session| (session, last, 0)))
}

/// None: the snapshot cannot be used.
fn from_snapshot(id: &SessionId, reading: &Reading) -> Result<Option<Newest>, StoreError> {
    let (Some(snapshot), Some((first, tail))) = (&reading.snapshot, reading.rows.split_first())
    else {
        return Ok(None);
    };
    let Some(mut session) = codec::thaw(first, snapshot)? else {
        tracing::warn!(session = %id, "the snapshot is damaged; reading the events");
        return Ok(None);
    };
    let last = chain::check(id.as_str(), reading)?;
    for record in decode(tail)? {
        // Such as the confirmation of a write that the snapshot has left out.
        if session.take(record).is_err() {
            return Ok(None);
        }
    }
    Ok(Some((session, last, snapshot.seq)))
}

fn decode(rows: &[Row]) -> Result<Vec<Record>, StoreError> {
    rows.iter().map(codec::decode).collect()
}
