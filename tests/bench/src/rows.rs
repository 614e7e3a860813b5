//! Every direct use of the `Store` trait and of the codec but that of `prune.rs`: the one file to
//! change when they do.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use futures::future::try_join_all;
use stoplog_journal::cipher::KEY_BYTES;
use stoplog_journal::{
    Cipher, CipherKey, Opening, Part, Reading, Row, Store, Which, chain, codec, load, load_each,
    read_one, take_over,
};
use stoplog_model::port::Unwatched;
use stoplog_model::{Record, Session, SessionId};
use stoplog_store::{MemoryStore, SqliteStore};

/// A journal on disk.
pub(crate) fn on_disk(path: &Path) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(SqliteStore::open(path)?))
}

/// The same, encrypted at rest.
pub(crate) fn encrypted_on_disk(path: &Path) -> anyhow::Result<Arc<dyn Store>> {
    let cipher = Cipher::new(Some(CipherKey::new(&[7; KEY_BYTES])), Vec::new());
    let store = SqliteStore::open_watched(path, Arc::new(Unwatched), cipher)?;
    Ok(Arc::new(store))
}

/// A journal in memory.
pub(crate) fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// A session as the store gives it.
pub(crate) async fn reading(store: &dyn Store, id: &SessionId) -> anyhow::Result<Reading> {
    Ok(read_one(store, id, Part::Whole).await?)
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

/// Finds every session that has not ended, and folds each. Gives back how many there were, and their
/// events.
pub(crate) async fn recover(store: &dyn Store) -> anyhow::Result<(usize, u64)> {
    let listed = store.sessions(Which::Unfinished).await?;
    let ids = listed
        .into_iter()
        .map(|row| SessionId::new(row.session))
        .collect::<Result<_, _>>()?;
    let mut sessions = 0;
    let mut events = 0;
    let mut each = pin!(load_each(store, ids));
    while let Some((_, loaded)) = each.next().await {
        let (_, session) = loaded?.context("the session is gone")?;
        sessions += 1;
        events += session.last_seq;
    }
    Ok((sessions, events))
}

/// Takes over every session that has not ended, and gives it back: what a host does when it starts
/// after a crash, its leases included. How many there were.
pub(crate) async fn take_over_all(opening: &Opening) -> anyhow::Result<usize> {
    const AT_ONCE: usize = 64;
    let mut sessions = 0;
    let listed = opening.store.sessions(Which::Unfinished).await?;
    for some in listed.chunks(AT_ONCE) {
        let taken = take_over(opening, some).await;
        let closing = taken.into_iter().map(|taken| async move {
            let journal = taken?.journal;
            journal.close().await
        });
        sessions += try_join_all(closing).await?.len();
    }
    Ok(sessions)
}
