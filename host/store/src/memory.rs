//! A store in memory: for tests and simulations. What it holds is gone with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use stoplog_journal::{
    ActKeyRow, Batch, Head, Lease, OpenIntentRow, Row, SessionRow, Store, StoreError,
};
use stoplog_model::SessionId;

#[derive(Debug, Default)]
struct Kept {
    rows: Vec<Row>,
    head: Option<Head>,
    epoch: u64,
    lease: Option<Lease>,
}

#[derive(Debug, Default)]
struct Tables {
    sessions: BTreeMap<String, Kept>,
    acts: BTreeMap<(String, String), ActKeyRow>,
    open: BTreeMap<(String, u32, u32, String), OpenIntentRow>,
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Tables {
    fn check_epoch(&self, session: &str, had: u64) -> Result<&Kept, StoreError> {
        match self.sessions.get(session) {
            Some(kept) if kept.epoch == had => Ok(kept),
            other => Err(StoreError::Fenced {
                had,
                now: other.map_or(0, |k| k.epoch),
            }),
        }
    }

    /// Everything that can refuse a batch, before anything of it is written.
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let kept = self.check_epoch(&batch.session, batch.epoch)?;
        let mut last = kept.rows.last().map_or(0, |r| r.seq);
        for row in &batch.rows {
            if row.seq != last + 1 {
                return Err(StoreError::SeqTaken { last, got: row.seq });
            }
            last = row.seq;
        }
        for claim in &batch.claims {
            let taken = self.acts.get(&(claim.scope.clone(), claim.key.clone()));
            if let Some(taken) = taken.filter(|t| !t.same_call(claim)) {
                return Err(StoreError::ActTaken(taken.clone()));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.check(&batch)?;
        let session = batch.session.clone();
        for row in batch.opened {
            let key = (
                session.clone(),
                row.iteration,
                row.ordinal,
                row.label.clone(),
            );
            tables.open.insert(key, row);
        }
        for (iteration, ordinal, label) in batch.closed {
            tables.open.retain(|(s, i, o, l), _| {
                let same = (s, *i, *o) == (&session, iteration, ordinal);
                !(same && label.as_ref().is_none_or(|label| label == l))
            });
        }
        for claim in batch.claims {
            tables
                .acts
                .insert((claim.scope.clone(), claim.key.clone()), claim);
        }
        for (scope, key, iteration, ordinal) in batch.released {
            let act = (scope, key);
            let own = tables.acts.get(&act).is_some_and(|r| {
                (&r.session, r.iteration, r.ordinal) == (&session, iteration, ordinal)
            });
            if own {
                tables.acts.remove(&act);
            }
        }
        let kept = tables.sessions.entry(session).or_default();
        kept.head = Some(batch.head);
        kept.rows.extend(batch.rows);
        Ok(())
    }

    async fn read(&self, session: &SessionId, from_seq: u64) -> Result<Vec<Row>, StoreError> {
        let tables = self.tables();
        let rows = tables
            .sessions
            .get(session.as_str())
            .map_or(&[][..], |k| &k.rows);
        Ok(rows.iter().filter(|r| r.seq >= from_seq).cloned().collect())
    }

    async fn lease(
        &self,
        session: &SessionId,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
        holder_is_dead: bool,
    ) -> Result<Lease, StoreError> {
        let mut tables = self.tables();
        let kept = tables.sessions.entry(session.to_string()).or_default();
        if let Some(lease) = kept.lease.as_ref().filter(|l| l.expires_at_ms > now_ms)
            && !holder_is_dead
        {
            return Err(StoreError::Leased(lease.clone()));
        }
        kept.epoch += 1;
        let lease = Lease {
            session: session.to_string(),
            holder: holder.to_owned(),
            epoch: kept.epoch,
            expires_at_ms: now_ms + ttl_ms,
        };
        kept.lease = Some(lease.clone());
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.check_epoch(&lease.session, lease.epoch)?;
        let kept = tables.sessions.entry(lease.session.clone()).or_default();
        kept.lease = Some(Lease {
            expires_at_ms: until_ms,
            ..lease.clone()
        });
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if tables.check_epoch(&lease.session, lease.epoch).is_ok() {
            tables
                .sessions
                .entry(lease.session.clone())
                .or_default()
                .lease = None;
        }
        Ok(())
    }

    async fn sessions(&self, only: Option<&SessionId>) -> Result<Vec<SessionRow>, StoreError> {
        let tables = self.tables();
        let mut rows: Vec<SessionRow> = tables
            .sessions
            .iter()
            .filter(|(name, _)| only.is_none_or(|id| id.as_str() == *name))
            .filter_map(|(name, kept)| {
                let last = kept.rows.last()?;
                Some(SessionRow {
                    session: name.clone(),
                    head: kept.head.clone()?,
                    last_seq: last.seq,
                    updated_at_ms: last.at_ms,
                    lease: kept.lease.clone(),
                })
            })
            .collect();
        rows.sort_by(|a, b| {
            b.updated_at_ms
                .cmp(&a.updated_at_ms)
                .then(a.session.cmp(&b.session))
        });
        Ok(rows)
    }

    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError> {
        Ok(self
            .tables()
            .acts
            .get(&(scope.to_owned(), key.to_owned()))
            .cloned())
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError> {
        Ok(self.tables().open.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn conforms() {
        stoplog_journal::conformance::run_all(|| Arc::new(MemoryStore::new())).await;
    }
}
