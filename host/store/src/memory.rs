//! A store in memory: for tests and simulations. What it holds is gone with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use stoplog_journal::{
    ActKeyRow, ActKeyState, Batch, Cipher, Cursor, Fed, Feed, Head, Lease, OpenIntentRow, Part,
    Portion, Pruned, Reading, Retention, Row, SessionRow, SnapshotRow, States, Store, StoreError,
    Upkeep, Which,
};
use stoplog_model::SessionId;
use stoplog_model::state::{StateAsk, StateSeen, Value};

/// Status of a session that has its final answer.
const ENDED: &str = "ended";
/// Status of a session whose last run failed.
const FAILED: &str = "failed";

#[derive(Debug, Default)]
struct Kept {
    rows: Vec<Row>,
    snapshot: Option<SnapshotRow>,
    head: Option<Head>,
    epoch: u64,
    lease: Option<Lease>,
}

#[derive(Debug, Default)]
struct Tables {
    sessions: BTreeMap<String, Kept>,
    acts: BTreeMap<(String, String), ActKeyRow>,
    open: BTreeMap<(String, u32, u32, String), OpenIntentRow>,
    /// Values by tenant, tool and key.
    state: BTreeMap<(String, String, String), Vec<u8>>,
    /// Session and `seq` of each row, by the order of the commits, counted from 1.
    order: BTreeMap<u64, (String, u64)>,
    /// How many rows were ever written.
    written: u64,
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
impl States for MemoryStore {
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError> {
        let tables = self.tables();
        let own = tables
            .state
            .iter()
            .filter(|((t, o, _), _)| (t.as_str(), o.as_str()) == (tenant, tool));
        Ok(match ask {
            StateAsk::Value(key) => {
                let place = (tenant.to_owned(), tool.to_owned(), key.clone());
                StateSeen::Value {
                    key: key.clone(),
                    value: tables.state.get(&place).cloned().map(Value),
                }
            }
            StateAsk::Keys => StateSeen::Keys {
                keys: own.map(|((_, _, key), _)| key.clone()).collect(),
            },
            StateAsk::Room => {
                let sizes = own.map(|((_, _, key), value)| (key.len() + value.len()) as u64);
                let (keys, bytes) = sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
                StateSeen::Room { keys, bytes }
            }
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn cipher(&self) -> Cipher {
        // It is gone with the process.
        Cipher::none()
    }

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
                r.kept.is_none()
                    && (&r.session, r.iteration, r.ordinal) == (&session, iteration, ordinal)
            });
            if own {
                tables.acts.remove(&act);
            }
        }
        for row in &batch.rows {
            tables.written += 1;
            let place = tables.written;
            tables.order.insert(place, (session.clone(), row.seq));
        }
        for row in batch.state {
            let place = (row.tenant, row.tool, row.key);
            match row.value {
                Some(value) => drop(tables.state.insert(place, value)),
                None => drop(tables.state.remove(&place)),
            }
        }
        let kept = tables.sessions.entry(session).or_default();
        kept.head = Some(batch.head);
        kept.rows.extend(batch.rows);
        if batch.snapshot.is_some() {
            kept.snapshot = batch.snapshot;
        }
        Ok(())
    }

    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError> {
        let tables = self.tables();
        let one = |id: &SessionId| match tables.sessions.get(id.as_str()) {
            Some(kept) => reading(id.as_str(), kept, part),
            None => Reading::default(),
        };
        Ok(sessions.iter().map(one).collect())
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

    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError> {
        let tables = self.tables();
        let mut rows: Vec<SessionRow> = tables
            .sessions
            .iter()
            .filter_map(|(name, kept)| listed(name, kept))
            .filter(|row| match which {
                Which::All => true,
                Which::One(id) => id.as_str() == row.session,
                Which::Unfinished => row.head.status != ENDED,
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

#[async_trait]
impl Upkeep for MemoryStore {
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError> {
        let mut tables = self.tables();
        let mut pruned = Pruned::default();
        for session in tables.prunable(retention) {
            let Some(kept) = tables.sessions.remove(&session) else {
                continue;
            };
            pruned.sessions += 1;
            pruned.events += kept.rows.len() as u64;
            let own = |a: &&mut ActKeyRow| a.session == session && a.kept.is_none();
            for act in tables.acts.values_mut().filter(own) {
                let row = kept.rows.iter().find(|r| r.seq == act.seq);
                act.kept = match act.state {
                    ActKeyState::Done => row.map(|r| r.body.clone()),
                    ActKeyState::InFlight => Some(String::new()),
                };
            }
        }
        let before = tables.acts.len();
        let mut left = retention.batch;
        let sessions: Vec<String> = tables.sessions.keys().cloned().collect();
        tables
            .order
            .retain(|_, (session, _)| sessions.binary_search(session).is_ok());
        tables.acts.retain(|_, act| {
            let before_ms = retention.keys_before_ms[usize::from(act.class.min(4))];
            let is_orphan = act.kept.is_some() || sessions.binary_search(&act.session).is_err();
            let goes = is_orphan && act.at_ms < before_ms && (left > 0 || pruned.sessions > 0);
            left = left.saturating_sub(u32::from(goes));
            !goes
        });
        pruned.keys = (before - tables.acts.len()) as u64;
        Ok(pruned)
    }

    async fn forget_state(
        &self,
        tenant: &str,
        tool: &str,
        key: Option<&str>,
    ) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let before = tables.state.len();
        tables.state.retain(|(t, o, k), _| {
            (t.as_str(), o.as_str()) != (tenant, tool) || key.is_some_and(|key| key != k)
        });
        Ok((before - tables.state.len()) as u64)
    }
}

#[async_trait]
impl Feed for MemoryStore {
    async fn feed(&self, after: &Cursor, portion: Portion) -> Result<Option<Fed>, StoreError> {
        let tables = self.tables();
        let Some(place) = tables.place(after) else {
            return Ok(None);
        };
        let mut fed = Fed {
            cursor: after.clone(),
            ..Fed::default()
        };
        let mut bytes = 0;
        for (place, (session, seq)) in tables.order.range(place + 1..) {
            let enough = fed.rows.len() >= portion.rows || bytes >= portion.bytes;
            if enough && !fed.rows.is_empty() {
                fed.has_more = true;
                break;
            }
            if let Some(row) = tables.row(session, *seq) {
                bytes += row.body.len();
                fed.cursor = Cursor::from_text(format!("{place} {session} {seq}"));
                fed.rows.push((session.clone(), row.clone()));
            }
        }
        Ok(Some(fed))
    }
}

impl Tables {
    /// The number behind which to read; none if the place is not of this store.
    fn place(&self, cursor: &Cursor) -> Option<u64> {
        if cursor.is_start() {
            return Some(0);
        }
        let (place, what) = cursor.as_text().split_once(' ')?;
        let place: u64 = place.parse().ok()?;
        let is_ours = match self.order.get(&place) {
            Some((session, seq)) => what == format!("{session} {seq}"),
            None => place <= self.written,
        };
        is_ours.then_some(place)
    }

    fn row(&self, session: &str, seq: u64) -> Option<&Row> {
        let kept = self.sessions.get(session)?;
        kept.rows.iter().find(|row| row.seq == seq)
    }

    /// Sessions that may go, the oldest first, one batch at most.
    fn prunable(&self, retention: &Retention) -> Vec<String> {
        let mut over: Vec<SessionRow> = self
            .sessions
            .iter()
            .filter_map(|(name, kept)| listed(name, kept))
            .filter(|row| [ENDED, FAILED].contains(&row.head.status.as_str()))
            .collect();
        over.sort_by(|a, b| {
            let key = |r: &SessionRow| (r.updated_at_ms, r.session.clone());
            key(b).cmp(&key(a))
        });
        let has_intent = |name: &str| self.open.keys().any(|(session, ..)| session == name);
        let is_held = |row: &SessionRow| {
            let lease = row.lease.as_ref();
            lease.is_some_and(|l| l.expires_at_ms > retention.now_ms)
        };
        let mut names: Vec<String> = over
            .into_iter()
            .skip(retention.keep_latest as usize)
            .filter(|r| r.updated_at_ms < retention.sessions_before_ms)
            .filter(|r| !is_held(r) && !has_intent(&r.session))
            .map(|r| r.session)
            .collect();
        names.reverse();
        names.truncate(retention.batch as usize);
        names
    }
}

/// A session, or a part of it.
fn reading(name: &str, kept: &Kept, part: Part) -> Reading {
    let snapshot = kept.snapshot.clone().filter(|_| part == Part::Tail);
    let is_asked = |row: &&Row| match (part, &snapshot) {
        (Part::Event(seq), _) => row.seq == seq || row.seq + 1 == seq,
        (Part::Tail, Some(snapshot)) => row.seq == 1 || row.seq > snapshot.seq,
        (Part::Whole | Part::Tail, _) => true,
    };
    Reading {
        row: listed(name, kept),
        rows: kept.rows.iter().filter(is_asked).cloned().collect(),
        snapshot,
    }
}

/// A session as it is listed; none without events.
fn listed(name: &str, kept: &Kept) -> Option<SessionRow> {
    let last = kept.rows.last()?;
    Some(SessionRow {
        session: name.to_owned(),
        head: kept.head.clone()?,
        last_seq: last.seq,
        chain: Some(last.chain),
        updated_at_ms: last.at_ms,
        lease: kept.lease.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn conforms() {
        stoplog_journal::conformance::run_all(|| Arc::new(MemoryStore::new())).await;
        stoplog_journal::conformance::run_upkeep(|| Arc::new(MemoryStore::new())).await;
        stoplog_journal::conformance::run_feed(|| Arc::new(MemoryStore::new())).await;
    }
}
