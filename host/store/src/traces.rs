//! The trace store in SQLite: `traces.db`, beside the journal and apart from it.
//!
//! Invariants:
//! * everything in it comes from the journal, so it is never synced for a commit: a power cut may
//!   take the last steps of the projection, which are then taken again;
//! * any process may write, one at a time: a step looks in its own transaction where the store is;
//! * what people ask goes through the views, and through nothing else;
//! * an older version is brought up to date from the lines that it has, and made anew behind that; a
//!   newer one is left alone.
//!
//! What may go wrong: the file is damaged. [`TraceDb::open`] says so, and [`TraceDb::discard`]
//! deletes it, for whoever has the data directory to itself.

mod ask;
mod old;
mod read;
mod write;

pub use ask::VIEW_NAMES;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use stoplog_telemetry::{
    Advance, Answer, AnswerBounds, Ask, AskError, BrokenSession, Finished, OpenRun, Progress,
    Scope, Statement, TraceError, TraceStore,
};

/// Version of the tables. It goes up when a column is made another way, so that an old file does
/// not answer differently from a new one.
pub const VERSION: u32 = 4;

/// How long a writer waits for another process's step, milliseconds.
const BUSY_TIMEOUT_MS: u64 = 5000;

/// The log is cut back to this size when it is written into the file: 16 MiB.
const LOG_SIZE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Connections for reading that are kept open.
const READERS: usize = 4;

const SCHEMA: &str = include_str!("traces/schema.sql");
const VIEWS: &str = include_str!("traces/views.sql");

/// Makes tables, indices and views, where there are none.
fn make_tables(c: &Connection) -> rusqlite::Result<()> {
    c.execute_batch(SCHEMA)?;
    c.execute_batch(VIEWS)
}

/// A trace store in one SQLite file.
pub struct TraceDb {
    path: PathBuf,
    writer: Arc<Mutex<Connection>>,
    readers: Arc<Mutex<Vec<Connection>>>,
}

impl std::fmt::Debug for TraceDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceDb")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TraceDb {
    /// Opens the file, and makes it if need be.
    pub fn open(path: &Path) -> Result<TraceDb, TraceError> {
        let mut connection = connect(path)?;
        prepare(&mut connection).map_err(|e| error_at(path, &e))??;
        Ok(TraceDb {
            path: path.to_owned(),
            writer: Arc::new(Mutex::new(connection)),
            readers: Arc::default(),
        })
    }

    /// Deletes the file and its log, if they are there. Only for who has the data directory to
    /// itself: whoever has the file open goes on with one that nobody else sees.
    pub fn discard(path: &Path) -> Result<(), TraceError> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            let file = PathBuf::from(file);
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(TraceError::Unusable(format!("{}: {e}", file.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, TraceError> {
        let writer = self.writer.clone();
        let work = move || {
            let mut connection = writer.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        };
        let result = tokio::task::spawn_blocking(work).await;
        let result = result.map_err(|e| TraceError::Unusable(format!("the writer ended: {e}")))?;
        result.map_err(|e| error_at(&self.path, &e))
    }

    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, TraceError> {
        let (path, readers) = (self.path.clone(), self.readers.clone());
        let work = move || -> Result<T, TraceError> {
            let kept = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match kept {
                Some(connection) => connection,
                None => connect_to_read(&path)?,
            };
            let result = query(&connection).map_err(|e| error_at(&path, &e));
            let mut kept = readers.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < READERS {
                kept.push(connection);
            }
            result
        };
        let result = tokio::task::spawn_blocking(work).await;
        result.map_err(|e| TraceError::Unusable(format!("the reader ended: {e}")))?
    }
}

fn connect(path: &Path) -> Result<Connection, TraceError> {
    let open = || -> rusqlite::Result<Connection> {
        let c = Connection::open(path)?;
        c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        c.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        c.pragma_update(None, "journal_mode", "WAL")?;
        // What a power cut takes is made again.
        c.pragma_update(None, "synchronous", "NORMAL")?;
        c.pragma_update(None, "journal_size_limit", LOG_SIZE_LIMIT_BYTES)?;
        c.pragma_update(None, "trusted_schema", "OFF")?;
        Ok(c)
    };
    open().map_err(|e| error_at(path, &e))
}

fn connect_to_read(path: &Path) -> Result<Connection, TraceError> {
    let open = || -> rusqlite::Result<Connection> {
        let c = Connection::open(path)?;
        c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        c.pragma_update(None, "query_only", "ON")?;
        Ok(c)
    };
    open().map_err(|e| error_at(path, &e))
}

/// Makes the tables of a new file, or brings an older one up to date: all or nothing. The inner
/// error: the file is of a newer version, or of none.
fn prepare(c: &mut Connection) -> rusqlite::Result<Result<(), TraceError>> {
    let transaction = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let is_there: Option<i64> = transaction
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'",
            [],
            |r| r.get(0),
        )
        .optional()?;
    if is_there.is_none() {
        make_tables(&transaction)?;
        transaction.commit()?;
        return Ok(Ok(()));
    }
    let text = read::meta(&transaction, "version")?;
    match text.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(found) if found > VERSION => {
            return Ok(Err(TraceError::Newer {
                found,
                known: VERSION,
            }));
        }
        Ok(_) => old::bring_up_to_date(&transaction)?,
        Err(_) => {
            let why = format!("its version is `{text}`");
            return Ok(Err(TraceError::Damaged(why)));
        }
    }
    transaction.commit()?;
    Ok(Ok(()))
}

/// What a failure means. A disk that is full or a lock that is held is no damage.
fn error_at(path: &Path, error: &rusqlite::Error) -> TraceError {
    let text = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => TraceError::Damaged(text),
        Some(_) => TraceError::Unusable(text),
        None => TraceError::Damaged(text),
    }
}

#[async_trait]
impl TraceStore for TraceDb {
    async fn progress(&self) -> Result<Progress, TraceError> {
        self.query(read::progress).await
    }

    async fn advance(&self, step: Advance) -> Result<bool, TraceError> {
        self.write(move |c| write::advance(c, &step)).await
    }

    async fn begin_anew(&self) -> Result<(), TraceError> {
        self.write(write::begin_anew).await
    }

    async fn open_runs(&self) -> Result<Vec<OpenRun>, TraceError> {
        self.query(read::open_runs).await
    }

    async fn spans(&self, scope: Scope<'_>) -> Result<Vec<String>, TraceError> {
        let (of_trace, id) = match scope {
            Scope::Session(id) => (false, id.to_owned()),
            Scope::Trace(id) => (true, id.to_owned()),
        };
        self.query(move |c| match of_trace {
            true => read::spans_of_trace(c, &id),
            false => read::spans_of_session(c, &id),
        })
        .await
    }

    async fn broken(&self) -> Result<Vec<BrokenSession>, TraceError> {
        self.query(read::broken).await
    }

    async fn finished(&self, after: u64, limit: u32) -> Result<Vec<Finished>, TraceError> {
        self.query(move |c| read::finished(c, after, limit)).await
    }

    async fn place_of(&self, span_id: &str) -> Result<Option<u64>, TraceError> {
        let span_id = span_id.to_owned();
        self.query(move |c| read::place_of(c, &span_id)).await
    }

    async fn last_place(&self) -> Result<u64, TraceError> {
        self.query(|c| read::number(c, "last_place")).await
    }

    async fn sent(&self, sink: &str) -> Result<Option<u64>, TraceError> {
        let sink = sink.to_owned();
        self.query(move |c| read::sent(c, &sink)).await
    }

    async fn note_sent(&self, sink: &str, place: u64) -> Result<(), TraceError> {
        let sink = sink.to_owned();
        self.write(move |c| write::note_sent(c, &sink, place)).await
    }

    async fn prune(&self, before_ms: u64, limit: u32) -> Result<u64, TraceError> {
        self.write(move |c| write::prune(c, before_ms, limit)).await
    }
}

#[async_trait]
impl Ask for TraceDb {
    async fn ask(&self, statement: Statement, bounds: AnswerBounds) -> Result<Answer, AskError> {
        let path = self.path.clone();
        let work = move || ask::ask(&path, &statement, bounds);
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(TraceError::Unusable(format!("the reader ended: {e}")).into()),
        }
    }
}

#[cfg(test)]
mod tests;
