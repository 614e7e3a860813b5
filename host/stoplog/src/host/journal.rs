//! The journal of a data directory: the rows, the spans beside them, and the directory's lock.

use std::path::Path;
use std::sync::Arc;

use stoplog_journal::{JournalError, Opening, SessionJournal, Store, Which, load, take_over};
use stoplog_model::port::Watch;
use stoplog_model::{Reason, Record, SessionId};
use stoplog_store::{DataDir, SqliteStore};
use stoplog_telemetry::{JsonlSink, Signals};

use super::edges::{SystemClock, holder};
use super::front::Commits;
use super::measure::{self, Timed};
use super::projection::Nudge;
use crate::error::CliError;

/// The journal of a data directory, open.
pub(crate) struct Journal {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) sink: Arc<JsonlSink>,
    /// Told of every commit: those who follow a session listen.
    pub(crate) commits: Commits,
    /// Wakes who follows the journal.
    pub(crate) nudge: Arc<Nudge>,
    /// Counts what is committed.
    pub(crate) signals: Arc<Signals>,
}

impl Journal {
    /// For a host: the directory's lock, or nothing.
    pub(crate) fn for_host(path: &Path, watch: Arc<dyn Watch>) -> Result<Journal, CliError> {
        Journal::over(DataDir::for_host(path, &holder())?, watch)
    }

    /// For a command that may work beside a host.
    pub(crate) fn beside_host(path: &Path, watch: Arc<dyn Watch>) -> Result<Journal, CliError> {
        Journal::over(DataDir::beside_host(path, &holder())?, watch)
    }

    fn over(data: DataDir, watch: Arc<dyn Watch>) -> Result<Journal, CliError> {
        let signals = measure::signals()?;
        let watch = Arc::new(Timed::new(watch, signals.clone()));
        let store = Arc::new(SqliteStore::open_watched(&data.journal(), watch)?);
        let spans = data.spans();
        let sink = JsonlSink::open(&spans).map_err(|e| {
            CliError::new(
                Reason::JournalUnwritable,
                format!("{}: {e}", spans.display()),
            )
        })?;
        Ok(Journal {
            data,
            store,
            sink: Arc::new(sink),
            commits: Commits::new(),
            nudge: Arc::default(),
            signals,
        })
    }

    /// What a session is opened with.
    pub(crate) fn opening(&self, watch: Arc<dyn Watch>) -> Opening {
        Opening {
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            watch,
            listeners: vec![
                self.sink.clone(),
                self.nudge.clone(),
                self.signals.clone(),
                Arc::new(self.commits.clone()),
            ],
            holder: holder(),
            holders_are_dead: self.data.is_locked(),
        }
    }

    /// Takes a session over, with its spans brought up to date.
    pub(crate) async fn open(
        &self,
        id: &SessionId,
        watch: Arc<dyn Watch>,
    ) -> Result<Arc<SessionJournal>, CliError> {
        let listed = self.store.sessions(Which::One(id)).await?;
        let taken = take_over(&self.opening(watch), &listed).await.pop();
        let taken = taken.unwrap_or(Err(JournalError::NotFound(id.clone())))?;
        self.prime_all(id, taken.records).await?;
        Ok(Arc::new(taken.journal))
    }

    /// Writes the spans that the file lacks of a session that was taken over.
    pub(crate) async fn prime_all(
        &self,
        id: &SessionId,
        records: Option<Vec<Record>>,
    ) -> Result<(), CliError> {
        let records = match records {
            Some(records) => records,
            // Its snapshot has left some out, and their spans may be missing all the same.
            None => load(&*self.store, id)
                .await?
                .map_or_else(Vec::new, |(records, _)| records),
        };
        self.prime(&records)
    }

    /// Writes the spans that the file lacks of a session; what comes behind its records is counted.
    pub(crate) fn prime(&self, records: &[Record]) -> Result<(), CliError> {
        self.signals.prime(records);
        self.sink.prime(records).map_err(|e| {
            let spans = self.data.spans();
            CliError::new(
                Reason::JournalUnwritable,
                format!("{}: {e}", spans.display()),
            )
        })
    }
}
