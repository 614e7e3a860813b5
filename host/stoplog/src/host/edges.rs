//! The edges that everything below is handed: the clock, names of this process, and a look at the
//! rows that takes no lock.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stoplog_journal::Cipher;
use stoplog_model::port::Clock;
use stoplog_model::{Reason, TraceId};
use stoplog_store::SqliteStore;

use crate::error::CliError;
use crate::output;

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock: everybody else is handed it"
    )]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The rows of a data directory, for a command that only looks: no lock is taken, and nothing is
/// made or written, so that a look never keeps a host from starting. The keys are asked for only
/// where something is encrypted; where they are not there, people are told why, and a command that
/// comes to a body fails with `journal_encrypted`.
pub(crate) async fn look(
    data_dir: &Path,
    keys: impl FnOnce() -> Result<Cipher, CliError>,
) -> Result<Arc<SqliteStore>, CliError> {
    let file = data_dir.join("journal.db");
    if !file.exists() {
        let message = format!("there is no journal at {}", file.display());
        return Err(CliError::new(Reason::SessionNotFound, message));
    }
    let store = SqliteStore::open_to_read(&file)?;
    if store.keys().await?.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(store.with_cipher(keys_or_none(keys()))))
}

/// The keys for looking. People are told why there are none.
pub(crate) fn keys_or_none(keys: Result<Cipher, CliError>) -> Cipher {
    keys.unwrap_or_else(|error| {
        output::note(format!("the keys of the journal: {}", error.message));
        Cipher::none()
    })
}

/// The name of this process in leases and locks.
pub(crate) fn holder() -> String {
    format!("stoplog (pid {})", std::process::id())
}

/// A new trace id: random, and in the order of time.
pub(crate) fn new_trace_id() -> Result<TraceId, CliError> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    TraceId::new(id).map_err(|e| CliError::internal(e.to_string()))
}
