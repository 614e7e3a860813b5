//! What tools keep between calls, as rows: a projection of the events, in the same commit.
//!
//! Invariants:
//! * a row changes only in the commit of the event that says so; of two events about one key, the
//!   one that was committed later stands;
//! * what a refused batch would have written is not there: a host that lost its session writes no
//!   state either.

use async_trait::async_trait;
use stoplog_model::state::{StateAsk, StateSeen, StateWrite};

use crate::store::StoreError;

/// One key of one tool of one tenant, as an event writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Whose.
    pub tenant: String,
    /// Which tool's, by its name: a later version of it keeps the state.
    pub tool: String,
    /// The key.
    pub key: String,
    /// What is there from now on; none: the key is deleted.
    pub value: Option<Vec<u8>>,
    /// `seq` of the event.
    pub seq: u64,
    /// Time of the event, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl StateRow {
    /// The rows of an event's writes, in their order.
    pub fn of(
        tenant: &str,
        tool: &str,
        writes: &[StateWrite],
        seq: u64,
        at_ms: u64,
    ) -> Vec<StateRow> {
        let row = |write: &StateWrite| StateRow {
            tenant: tenant.to_owned(),
            tool: tool.to_owned(),
            key: write.key.clone(),
            value: write.value.as_ref().map(|v| v.0.clone()),
            seq,
            at_ms,
        };
        writes.iter().map(row).collect()
    }
}

/// One key that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Whose.
    pub tenant: String,
    /// Which tool's, by its name.
    pub tool: String,
    /// The key.
    pub key: String,
    /// Bytes of the value.
    pub bytes: u64,
    /// SHA-256 of the value.
    pub digest: [u8; 32],
    /// The session whose call wrote it.
    pub session: String,
    /// `seq` of the event.
    pub seq: u64,
    /// Number of the event among those of all sessions, in the order of their commits.
    pub place: i64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Questions to what tools keep. Apart from [`Store`](crate::Store), which each of these is: there it
/// is written.
#[async_trait]
pub trait States: Send + Sync {
    /// What a tool keeps for a tenant, as of now: nothing for one that never kept anything.
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError>;
}
