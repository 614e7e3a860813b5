//! On-call questions, answered from the journal and from the trace store: nothing here writes.
//!
//! * [`question`] asks for spans, one by one or in groups; [`slowest`] and [`cost`] are two of their
//!   own; [`table`] is what they are answered with.
//! * [`tree`] prints the traces of a session; [`story`] is what they tell, [`explain`] says it in
//!   sentences, [`mod@diff`] compares two.
//! * [`evals`] makes candidates for evaluation of ended sessions, [`incident`] a folder of evidence, in
//!   which [`redacted`] has the journal as far as others may see it.
//! * [`waiting`] lists what waits for a person: approvals and parked calls.
//! * [`verify`] says whether a session is what was written.
//! * [`export`] makes a file of a session that can be checked without the journal.

pub mod cost;
pub mod diff;
pub mod evals;
pub mod explain;
pub mod export;
pub mod incident;
pub mod question;
pub mod redacted;
pub mod slowest;
pub mod story;
pub mod table;
#[cfg(test)]
mod testkit;
pub mod tree;
pub mod verify;
pub mod waiting;

use std::pin::pin;

use futures::StreamExt;
use stoplog_journal::{JournalError, Store, Which, load, load_each};
use stoplog_model::{Record, Session, SessionId};

/// A session with its records.
pub struct Loaded {
    /// Every record, in order.
    pub records: Vec<Record>,
    /// Their fold.
    pub session: Session,
}

/// Loads every session, the latest first.
pub async fn all(store: &dyn Store) -> Result<Vec<Loaded>, JournalError> {
    let mut loaded = Vec::new();
    let listed = store.sessions(Which::All).await?;
    let ids = listed
        .into_iter()
        .filter_map(|row| SessionId::new(row.session).ok());
    let mut each = pin!(load_each(store, ids.collect()));
    while let Some((_, found)) = each.next().await {
        if let Some((records, session)) = found? {
            loaded.push(Loaded { records, session });
        }
    }
    Ok(loaded)
}

/// The session of this id, or the one with a run of this trace id.
pub async fn find(store: &dyn Store, what: &str) -> Result<Option<Loaded>, JournalError> {
    if let Ok(id) = SessionId::new(what)
        && let Some((records, session)) = load(store, &id).await?
    {
        return Ok(Some(Loaded { records, session }));
    }
    let has_trace = |s: &Session| s.runs.iter().any(|r| r.started.trace_id.as_str() == what);
    Ok(all(store)
        .await?
        .into_iter()
        .find(|l| has_trace(&l.session)))
}
