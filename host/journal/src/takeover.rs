//! Taking many sessions over at once: what a host does with all that had not ended when it died.
//!
//! Invariants:
//! * each lease comes before its session is read, so nothing changes between reading and writing;
//! * leases that are asked for together share a commit, and sessions that are read together share
//!   the way to the disk: a thousand sessions cost a few of each, and not a thousand;
//! * a session that somebody holds, or that cannot be read, is told by its own error, and is held
//!   by nobody afterwards that did not hold it before.

use futures::future::join_all;
use stoplog_model::{Record, SessionId};

use crate::error::JournalError;
use crate::opening::{Found, Opening, newest, read_each};
use crate::session::{SessionJournal, take_lease};
use crate::store::{Lease, Part, Reading, SessionRow, StoreError};

/// A session that was taken over.
pub struct Taken {
    /// To go on with.
    pub journal: SessionJournal,
    /// Its records, in order; none if it was read from its snapshot, which has left the first out.
    pub records: Option<Vec<Record>>,
}

/// Takes over sessions that were listed, in their order. Each is read from its newest snapshot and
/// the events behind it; turns before it are not in memory until [`SessionJournal::recall`]. All of
/// them are in memory at once: whoever has many gives them in portions.
pub async fn take_over(
    opening: &Opening,
    listed: &[SessionRow],
) -> Vec<Result<Taken, JournalError>> {
    let leased = join_all(listed.iter().map(|row| lease(opening, row))).await;
    let held: Vec<SessionId> = leased.iter().flatten().map(|(id, _)| id.clone()).collect();
    let readings = read_each(&*opening.store, &held, Part::Tail).await;
    let mut readings = readings.into_iter();
    let mut taken = Vec::with_capacity(leased.len());
    for leased in leased {
        taken.push(match leased {
            Ok((id, lease)) => begin(opening, &id, lease, readings.next()).await,
            Err(error) => Err(error),
        });
    }
    taken
}

async fn lease(opening: &Opening, row: &SessionRow) -> Result<(SessionId, Lease), JournalError> {
    let id = SessionId::new(row.session.clone())
        .map_err(|e| StoreError::Corrupt(format!("a session is listed by a bad name: {e}")))?;
    let lease = take_lease(opening, &id).await?;
    Ok((id, lease))
}

async fn begin(
    opening: &Opening,
    id: &SessionId,
    lease: Lease,
    reading: Option<Result<Reading, StoreError>>,
) -> Result<Taken, JournalError> {
    let found = match reading {
        Some(Ok(reading)) => newest(&*opening.store, id, &reading).await,
        Some(Err(error)) => Err(error.into()),
        None => Ok(None),
    };
    let error = match found {
        Ok(Some(found)) => {
            let Found {
                session,
                records,
                chain,
                snapshot_seq,
            } = found;
            let opening = opening.clone();
            let journal = SessionJournal::over(opening, lease, session, chain, snapshot_seq);
            return Ok(Taken { journal, records });
        }
        Ok(None) => JournalError::NotFound(id.clone()),
        Err(error) => error,
    };
    // A session that cannot be read must not be held from those who look into it.
    let _ = opening.store.release(&lease).await;
    Err(error)
}
