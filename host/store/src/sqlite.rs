//! The embedded store: one SQLite file.
//!
//! Invariants:
//! * WAL and `synchronous=FULL`, read back: a typo there silently means less, so anything else
//!   than what was asked for refuses to start;
//! * one writer thread; all batches that wait when it becomes free share one commit, so a busy
//!   host shares each fsync among its sessions. A refused batch is rolled back alone;
//! * `Ok` is sent only after `COMMIT` returned; after a failed commit the connection is dropped
//!   and everyone in the group is told that it failed. Their session journals close, and whoever
//!   opens a session again reads back what is true.
//!
//! Faults: the disk may be full, slow or broken; another process may have the write lock for a
//! moment (an operator's command). Busy and I/O errors are never a business error: they end as
//! [`StoreError::Unwritable`], and the host stops or waits.

mod connection;
mod deep;
mod feed;
mod guard;
mod keys;
mod prune;
mod read;
mod state;
mod wal;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use stoplog_journal::{
    ActKeyRow, Batch, Cipher, Cursor, Fed, Feed, KeyId, Lease, OpenIntentRow, Part, Portion,
    Pruned, Reading, Retention, SessionRow, States, Store, StoreError, Upkeep, Which,
};
use stoplog_model::SessionId;
use stoplog_model::port::{Moment, Stage, Unwatched, Watch};
use stoplog_model::state::{StateAsk, StateSeen};
use tokio::sync::oneshot;

pub use connection::{BUSY_TIMEOUT_MS, FORMAT, WAL_SIZE_LIMIT_BYTES};
pub use deep::Size;

/// Batches that share one commit at most: enough for every session of a busy host, few enough
/// that a commit stays short.
pub const GROUP_COMMIT_MAX: usize = 256;

/// Batches in a commit from which on the host counts as busy.
const BUSY_GROUP: usize = 8;

/// How long the writer of a busy host waits for more to come before it commits. The pages that
/// every commit writes are then shared by more, and so is the sync; a session that is alone never
/// waits. The measure: docs/benchmarks.md.
const GATHER: Duration = Duration::from_millis(2);

/// Read connections kept open: reads never wait for writes. More than a few are only of use while
/// many sessions are opened at once.
const READERS: usize = 8;

enum Job {
    Append(Box<Batch>, oneshot::Sender<Result<(), StoreError>>),
    Lease(LeaseJob, oneshot::Sender<Result<Lease, StoreError>>),
    Renew(Lease, u64, oneshot::Sender<Result<(), StoreError>>),
    Release(Lease, oneshot::Sender<Result<(), StoreError>>),
    Prune(Retention, oneshot::Sender<Result<Pruned, StoreError>>),
    Forget(
        Box<(String, String, Option<String>)>,
        oneshot::Sender<Result<u64, StoreError>>,
    ),
}

struct LeaseJob {
    session: String,
    holder: String,
    now_ms: u64,
    ttl_ms: u64,
    holder_is_dead: bool,
}

/// A store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    /// Format of the file: an older one stays as it is when it is only looked at.
    format: u32,
    cipher: Cipher,
    watch: Arc<dyn Watch>,
    jobs: Option<mpsc::Sender<Job>>,
    /// Those who wait for the writer.
    waiting: AtomicU32,
    writer: Option<std::thread::JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, makes it if need be, checks it (`quick_check`) and its settings.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_watched(path, Arc::new(Unwatched), Cipher::none())
    }

    /// The same for a host, which has the data directory to itself: with a watcher that is told of
    /// commits and of pruning, and the keys of the journal. From here on the file needs the key that
    /// is written with.
    ///
    /// # Errors
    /// Among others [`StoreError::Encrypted`] when a key is missing that anything in the file
    /// needs: a host that cannot read what is there, or would write on in the clear unasked, must
    /// not begin.
    pub fn open_watched(
        path: &Path,
        watch: Arc<dyn Watch>,
        cipher: Cipher,
    ) -> Result<SqliteStore, StoreError> {
        let connection = SqliteStore::checked(path)?;
        keys::take_over(&connection, &cipher)?;
        SqliteStore::over(path, connection, watch, cipher)
    }

    /// The same for a command that may work beside a host: it writes as the last host did, whatever
    /// the configuration says by now, because that host reads what it writes.
    ///
    /// # Errors
    /// As [`SqliteStore::open_watched`].
    pub fn open_beside(
        path: &Path,
        watch: Arc<dyn Watch>,
        cipher: Cipher,
    ) -> Result<SqliteStore, StoreError> {
        let connection = SqliteStore::checked(path)?;
        keys::require(&connection, &cipher)?;
        let latest = keys::noted(&connection)?.pop();
        if let Some(id) = latest.clone().filter(|id| !cipher.has(id)) {
            // Nothing needs it yet, and the host writes with it: so must we.
            return Err(StoreError::Encrypted { keys: vec![id] });
        }
        SqliteStore::over(
            path,
            connection,
            watch,
            cipher.writing_with(latest.as_ref()),
        )
    }

    fn checked(path: &Path) -> Result<Connection, StoreError> {
        let connection = connection::open_for_writing(path)?;
        connection::check(&connection)?;
        connection::settle_log(&connection)?;
        Ok(connection)
    }

    fn over(
        path: &Path,
        connection: Connection,
        watch: Arc<dyn Watch>,
        cipher: Cipher,
    ) -> Result<SqliteStore, StoreError> {
        keys::wipe_what_is_deleted(&connection, &cipher)?;
        let (jobs, inbox) = mpsc::channel();
        let own_path = path.to_owned();
        let own_watch = watch.clone();
        let own_cipher = cipher.clone();
        let writer = std::thread::Builder::new()
            .name("stoplog-journal".into())
            .spawn(move || write::run(own_path, connection, inbox, own_watch, &own_cipher))
            .map_err(|e| StoreError::Unwritable(format!("no writer thread: {e}")))?;
        Ok(SqliteStore {
            path: path.to_owned(),
            format: FORMAT,
            cipher,
            watch,
            jobs: Some(jobs),
            waiting: AtomicU32::new(0),
            writer: Some(writer),
            readers: Mutex::default(),
        })
    }

    /// Opens the file for looking alone: nothing is locked, made or written, so a look never
    /// stands in a host's way. What is encrypted is read with [`SqliteStore::with_cipher`].
    pub fn open_to_read(path: &Path) -> Result<SqliteStore, StoreError> {
        let connection = connection::open_for_reading(path)?;
        let format = connection::check_format(&connection)?;
        Ok(SqliteStore {
            path: path.to_owned(),
            format,
            cipher: Cipher::none(),
            watch: Arc::new(Unwatched),
            jobs: None,
            waiting: AtomicU32::new(0),
            writer: None,
            readers: Mutex::new(vec![connection]),
        })
    }

    /// The same file, read with these keys. One that is missing is missed when something that needs
    /// it is read.
    pub fn with_cipher(mut self, cipher: Cipher) -> SqliteStore {
        self.cipher = cipher;
        self
    }

    /// The keys that anything in the file may need, the latest last. Empty if nothing in it was ever
    /// encrypted.
    pub async fn keys(&self) -> Result<Vec<KeyId>, StoreError> {
        self.query(|c| Ok(keys::noted(c))).await?
    }

    /// [`StoreError::Encrypted`] when one is missing that is still needed.
    pub async fn require_keys(&self) -> Result<(), StoreError> {
        let cipher = self.cipher.clone();
        self.query(move |c| Ok(keys::require(c, &cipher))).await?
    }

    /// Those of the keys that nothing needs any more: the configuration may leave them out, and
    /// the next host strikes them off. Looks at every row, if there is more than one key.
    pub async fn unneeded_keys(&self) -> Result<Vec<KeyId>, StoreError> {
        self.query(|c| Ok(keys::unneeded(c))).await?
    }

    /// How many wait for the writer, with those whose commit is under way.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Looks over every page (`PRAGMA quick_check`), the keys of acts and the write-ahead log.
    pub async fn quick_check(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.query(move |c| Ok(wal::check(&path).and_then(|()| connection::check(c))))
            .await?
    }

    async fn write<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Unwritable("this store is open for reading, or closing".into());
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job(reply)).map_err(|_| gone())?;
        let _waits = Waits::of(&self.waiting);
        answer.await.map_err(|_| gone())?
    }

    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.reader()?;
        let work = move || {
            let result = query(&connection);
            (connection, result)
        };
        let (connection, result) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| StoreError::Corrupt(format!("the reader ended: {e}")))?;
        self.give_back(connection);
        result.map_err(connection::read_error)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn reader(&self) -> Result<Connection, StoreError> {
        let kept = self.readers().pop();
        match kept {
            Some(connection) => Ok(connection),
            None => connection::open_for_reading(&self.path),
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut readers = self.readers();
        if readers.len() < READERS {
            readers.push(connection);
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Readers leave the log alone when they close: the writer must be the last.
        self.readers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clear();
        // The writer ends when its inbox closes; waiting for it makes the last commit whole.
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Somebody who waits for the writer; also one who is dropped meanwhile waits no more.
struct Waits<'a>(&'a AtomicU32);

impl<'a> Waits<'a> {
    fn of(waiting: &'a AtomicU32) -> Waits<'a> {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl States for SqliteStore {
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError> {
        // A few rows by their key, as with a claim: shorter than the way to another thread.
        let connection = self.reader()?;
        let file = (self.format, &self.cipher);
        let seen = state::answer(&connection, file, (tenant, tool), ask);
        self.give_back(connection);
        seen
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn cipher(&self) -> Cipher {
        self.cipher.clone()
    }

    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        let done = self.write(|reply| Job::Append(Box::new(batch), reply));
        match done.await {
            Err(StoreError::ActTaken(row)) => {
                Err(StoreError::ActTaken(keys::act_key(&self.cipher, row)?))
            }
            done => done,
        }
    }

    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError> {
        let (sessions, format) = (sessions.to_vec(), self.format);
        let found = self.query(move |c| {
            let readings = read::readings(c, format, &sessions, part)?;
            Ok((sessions, readings))
        });
        let (sessions, readings) = found.await?;
        let decrypted = |(id, reading): (&SessionId, Reading)| {
            keys::reading(&self.cipher, id.as_str(), reading)
        };
        sessions.iter().zip(readings).map(decrypted).collect()
    }

    async fn lease(
        &self,
        session: &SessionId,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
        holder_is_dead: bool,
    ) -> Result<Lease, StoreError> {
        let session = session.to_string();
        let holder = holder.to_owned();
        let job = LeaseJob {
            session,
            holder,
            now_ms,
            ttl_ms,
            holder_is_dead,
        };
        self.write(|reply| Job::Lease(job, reply)).await
    }

    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.write(|reply| Job::Renew(lease, until_ms, reply)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.write(|reply| Job::Release(lease, reply)).await
    }

    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError> {
        let format = self.format;
        let unfinished = which == Which::Unfinished;
        let only = match which {
            Which::One(id) => Some(id.to_string()),
            Which::All | Which::Unfinished => None,
        };
        self.query(move |c| read::listed(c, format, only.as_deref(), unfinished))
            .await
    }

    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError> {
        // One row by its key, from a page that is most often in memory: shorter than the way to
        // another thread and back.
        let connection = self.reader()?;
        let found = read::act_key(&connection, self.format, scope, key);
        self.give_back(connection);
        match found.map_err(connection::read_error)? {
            Some(row) => keys::act_key(&self.cipher, row).map(Some),
            None => Ok(None),
        }
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError> {
        self.query(read::open_intents).await
    }
}

#[async_trait]
impl Upkeep for SqliteStore {
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError> {
        self.watch
            .reached(Stage::SessionsPruned, Moment::Before, None);
        let retention = retention.clone();
        let pruned = self.write(|reply| Job::Prune(retention, reply)).await?;
        self.watch
            .reached(Stage::SessionsPruned, Moment::After, None);
        Ok(pruned)
    }

    async fn forget_state(
        &self,
        tenant: &str,
        tool: &str,
        key: Option<&str>,
    ) -> Result<u64, StoreError> {
        let which = (tenant.to_owned(), tool.to_owned(), key.map(str::to_owned));
        self.write(|reply| Job::Forget(Box::new(which), reply))
            .await
    }
}

#[async_trait]
impl Feed for SqliteStore {
    async fn feed(&self, after: &Cursor, portion: Portion) -> Result<Option<Fed>, StoreError> {
        let (after, format) = (after.clone(), self.format);
        let fed = self.query(move |c| feed::fed(c, format, &after, portion));
        let Some(mut fed) = fed.await? else {
            return Ok(None);
        };
        for (session, row) in &mut fed.rows {
            // Given as it is stored: one damaged session must not hide the others.
            keys::unless_damaged(row.decrypt(session, &self.cipher))?;
        }
        Ok(Some(fed))
    }
}

#[cfg(test)]
mod tests;
