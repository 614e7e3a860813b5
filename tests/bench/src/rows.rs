//! Every direct use of the `Store` trait and of the codec but that of `prune.rs`: the one file to
//! change when they do.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use stoplog_journal::{Part, Reading, Row, Store, Which, chain, codec, load};
use stoplog_model::{Record, Session, SessionId};
use stoplog_store::{MemoryStore, SqliteStore};

/// A journal on disk.
pub(crate) fn on_disk(path: &Path) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(SqliteStore::open(path)?))
}

/// A journal in memory.
pub(crate) fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// A session as the store gives it.
pub(crate) async fn reading(store: &dyn Store, id: &SessionId) -> anyhow::Result<Reading> {
    Ok(store.read(id, Part::Whole).await?)
}

/// Rows to a session, as an opening does it once they are read.
pub(crate) fn fold(id: &SessionId, reading: &Reading) -> anyhow::Result<Session> {
    chain::check(id.as_str(), reading)?;
    let records = reading
        .rows
        .iter()
        .map(codec::decode)
        .collect::<Result<Vec<_>, _>>()?;
    Session::folded(records)?.context("a session without events")
}

/// The text that a row's event is decoded from.
pub(crate) fn body(row: &Row) -> &str {
    &row.body
}

/// The records of a session, in order.
pub(crate) async fn records(store: &dyn Store, id: &SessionId) -> anyhow::Result<Vec<Record>> {
    let (records, _) = load(store, id).await?.context("the session is gone")?;
    Ok(records)
}

/// Takes up every session that has not ended: lists them, and folds each. What a host does when
/// it starts after a crash. Gives back how many there were, and their events.
pub(crate) async fn recover(store: &dyn Store) -> anyhow::Result<(usize, u64)> {
    let mut sessions = 0;
    let mut events = 0;
    for row in store.sessions(Which::Unfinished).await? {
        let id = SessionId::new(row.session)?;
        let (_, session) = load(store, &id).await?.context("the session is gone")?;
        sessions += 1;
        events += session.last_seq;
    }
    Ok((sessions, events))
}
