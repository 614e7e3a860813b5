//! A store that fails on schedule: for tests and simulations.
//!
//! Invariants:
//! * what it does not fail is the inner store's word, untouched;
//! * [`Fault::Before`] leaves the inner store as it was; [`Fault::After`] lets the inner store
//!   finish, and then reports an error all the same, as a disk does that loses its last answer;
//! * a fault looks like a fault: [`StoreError::Unwritable`] with [`FAULT_TEXT`] in it. It never
//!   looks like a refusal (leased, fenced, taken), on which callers branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use stoplog_journal::{
    ActKeyRow, Batch, Cipher, Lease, OpenIntentRow, Part, Reading, SessionRow, States, Store,
    StoreError, Which,
};
use stoplog_model::SessionId;
use stoplog_model::state::{StateAsk, StateSeen};

/// In the message of every error that is made here.
pub const FAULT_TEXT: &str = "a fault of the schedule";

/// Which call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// [`Store::append`].
    Append,
    /// [`Store::read`].
    Read,
    /// [`Store::lease`].
    Lease,
    /// [`Store::renew`].
    Renew,
    /// [`Store::release`].
    Release,
    /// [`Store::sessions`].
    Sessions,
    /// [`Store::act_key`].
    ActKey,
    /// [`Store::open_intents`].
    OpenIntents,
    /// [`States::state`].
    State,
}

impl Op {
    /// Every call.
    pub const ALL: [Op; 9] = [
        Op::Append,
        Op::Read,
        Op::Lease,
        Op::Renew,
        Op::Release,
        Op::Sessions,
        Op::ActKey,
        Op::OpenIntents,
        Op::State,
    ];

    /// Whether it changes what is stored.
    pub fn writes(self) -> bool {
        matches!(self, Op::Append | Op::Lease | Op::Renew | Op::Release)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The inner store answers.
    None,
    /// An error, and nothing is done.
    Before,
    /// It is done, and then an error is reported.
    After,
}

/// Decides about each call, in the order in which they are made. Either moment may take its time,
/// or never come to an end: the call waits.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// What becomes of this call.
    async fn decide(&self, op: Op) -> Fault;

    /// The inner store has finished it, well or not; nobody has been told yet.
    async fn finished(&self, _op: Op) {}
}

#[async_trait]
impl<F: Fn(Op) -> Fault + Send + Sync> Schedule for F {
    async fn decide(&self, op: Op) -> Fault {
        self(op)
    }
}

/// Lets so many calls that write pass, and fails every one after them: a disk that is full, or
/// gone.
#[derive(Debug)]
pub struct FailFrom {
    left: AtomicU64,
    fault: Fault,
}

impl FailFrom {
    /// After `passes` calls that write, this fault for each.
    pub fn new(passes: u64, fault: Fault) -> FailFrom {
        FailFrom {
            left: AtomicU64::new(passes),
            fault,
        }
    }
}

#[async_trait]
impl Schedule for FailFrom {
    async fn decide(&self, op: Op) -> Fault {
        if !op.writes() {
            return Fault::None;
        }
        let take = |left: u64| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Fault::None,
            Err(_) => self.fault,
        }
    }
}

/// A store over another one, with faults.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    schedule: Arc<dyn Schedule>,
}

impl FaultyStore {
    /// Over `inner`, failing as `schedule` says.
    pub fn new(inner: Arc<dyn Store>, schedule: Arc<dyn Schedule>) -> FaultyStore {
        FaultyStore { inner, schedule }
    }

    async fn through<T>(
        &self,
        op: Op,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let failed = |when: &str| StoreError::Unwritable(format!("{FAULT_TEXT}, {when} {op:?}"));
        let fault = self.schedule.decide(op).await;
        if fault == Fault::Before {
            return Err(failed("before"));
        }
        let result = call.await;
        self.schedule.finished(op).await;
        match (result, fault) {
            (Ok(_), Fault::After) => Err(failed("after")),
            (result, _) => result,
        }
    }
}

#[async_trait]
impl States for FaultyStore {
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError> {
        self.through(Op::State, self.inner.state(tenant, tool, ask))
            .await
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn cipher(&self) -> Cipher {
        self.inner.cipher()
    }

    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        self.through(Op::Append, self.inner.append(batch)).await
    }

    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError> {
        self.through(Op::Read, self.inner.read(sessions, part))
            .await
    }

    async fn lease(
        &self,
        session: &SessionId,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
        holder_is_dead: bool,
    ) -> Result<Lease, StoreError> {
        let lease = self
            .inner
            .lease(session, holder, now_ms, ttl_ms, holder_is_dead);
        self.through(Op::Lease, lease).await
    }

    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
        self.through(Op::Renew, self.inner.renew(lease, until_ms))
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.through(Op::Release, self.inner.release(lease)).await
    }

    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError> {
        self.through(Op::Sessions, self.inner.sessions(which)).await
    }

    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError> {
        self.through(Op::ActKey, self.inner.act_key(scope, key))
            .await
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError> {
        self.through(Op::OpenIntents, self.inner.open_intents())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use stoplog_journal::conformance::{batch, row, run_all};

    fn over(memory: &Arc<MemoryStore>, schedule: impl Schedule + 'static) -> FaultyStore {
        FaultyStore::new(memory.clone(), Arc::new(schedule))
    }

    #[tokio::test]
    async fn without_faults_it_conforms() {
        run_all(|| {
            let memory = Arc::new(MemoryStore::new());
            Arc::new(over(&memory, |_: Op| Fault::None))
        })
        .await;
    }

    #[tokio::test]
    async fn before_leaves_nothing_and_after_leaves_it_done() {
        for (fault, last_seq) in [(Fault::Before, None), (Fault::After, Some(1))] {
            let memory = Arc::new(MemoryStore::new());
            let store = over(&memory, FailFrom::new(1, fault));
            let id = SessionId::new("s").expect("id");
            let lease = store.lease(&id, "h", 0, 1000, false).await.expect("lease");
            let one = batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]);
            let failed = store.append(one).await.expect_err("the fault");
            assert!(failed.to_string().contains(FAULT_TEXT), "{failed}");
            let found = memory.sessions(Which::One(&id)).await.expect("sessions");
            assert_eq!(found.first().map(|s| s.last_seq), last_seq, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_stays_a_refusal() {
        let memory = Arc::new(MemoryStore::new());
        let store = over(&memory, |_: Op| Fault::After);
        let unleased = batch("s", 1, vec![row(1, 1, "1")]);
        let refused = store.append(unleased).await;
        assert_eq!(refused, Err(StoreError::Fenced { had: 1, now: 0 }));
    }
}
