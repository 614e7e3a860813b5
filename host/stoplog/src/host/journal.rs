//! The journal of a data directory: the rows, who is woken by them, and the directory's lock.

use std::path::Path;
use std::sync::Arc;

use stoplog_journal::{
    Cipher, JournalError, OnCommit, Opening, SessionJournal, Store, StoreError, Which, take_over,
};
use stoplog_model::SessionId;
use stoplog_model::port::Watch;
use stoplog_store::{DataDir, SqliteStore};
use stoplog_telemetry::Signals;

use super::edges::{SystemClock, holder};
use super::front::Commits;
use super::logging::RunLog;
use super::measure::{self, Timed};
use super::projection::Nudge;
use crate::config::Config;
use crate::error::CliError;

/// The journal of a data directory, open.
pub(crate) struct Journal {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<SqliteStore>,
    /// Told of every commit: those who follow a session listen.
    pub(crate) commits: Commits,
    /// Wakes who follows the journal.
    pub(crate) nudge: Arc<Nudge>,
    /// Tells of steps and runs; none where nobody wants to know.
    pub(crate) log: Option<Arc<RunLog>>,
    /// Counts what is committed.
    pub(crate) signals: Arc<Signals>,
}

impl Journal {
    /// For a host: the directory's lock, or nothing.
    pub(crate) fn for_host(config: &Config, watch: Arc<dyn Watch>) -> Result<Journal, CliError> {
        let cipher = config.journal.cipher()?;
        let data = DataDir::for_host(&config.data_dir, &holder())?;
        Journal::over(data, watch, |file, watch| {
            SqliteStore::open_watched(file, watch, cipher)
        })
    }

    /// For a command that may work beside a host.
    pub(crate) fn beside_host(
        path: &Path,
        cipher: Cipher,
        watch: Arc<dyn Watch>,
    ) -> Result<Journal, CliError> {
        let data = DataDir::beside_host(path, &holder())?;
        Journal::over(data, watch, |file, watch| {
            SqliteStore::open_beside(file, watch, cipher)
        })
    }

    fn over(
        data: DataDir,
        watch: Arc<dyn Watch>,
        open: impl FnOnce(&Path, Arc<dyn Watch>) -> Result<SqliteStore, StoreError>,
    ) -> Result<Journal, CliError> {
        let signals = measure::signals()?;
        let watch = Arc::new(Timed::new(watch, signals.clone()));
        let store = Arc::new(open(&data.journal(), watch)?);
        Ok(Journal {
            data,
            store,
            commits: Commits::new(),
            nudge: Arc::default(),
            log: None,
            signals,
        })
    }

    /// What a session is opened with.
    pub(crate) fn opening(&self, watch: Arc<dyn Watch>) -> Opening {
        let mut listeners: Vec<Arc<dyn OnCommit>> = vec![
            self.nudge.clone(),
            self.signals.clone(),
            Arc::new(self.commits.clone()),
        ];
        if let Some(log) = &self.log {
            listeners.push(log.clone());
        }
        Opening {
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            watch,
            listeners,
            holder: holder(),
            holders_are_dead: self.data.is_locked(),
        }
    }

    /// Takes a session over.
    pub(crate) async fn open(
        &self,
        id: &SessionId,
        watch: Arc<dyn Watch>,
    ) -> Result<Arc<SessionJournal>, CliError> {
        let listed = self.store.sessions(Which::One(id)).await?;
        let taken = take_over(&self.opening(watch), &listed).await.pop();
        let taken = taken.unwrap_or(Err(JournalError::NotFound(id.clone())))?;
        self.prime(&taken.journal);
        Ok(Arc::new(taken.journal))
    }

    /// What comes behind a session that was taken over is counted.
    pub(crate) fn prime(&self, taken: &SessionJournal) {
        taken.read(|session| self.signals.prime(&session.started));
    }
}
