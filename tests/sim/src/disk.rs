//! The disk of a world in which the power goes: a SQLite store whose every write and sync is seen.
//!
//! Invariants:
//! * a call of the store is over before anything else of its world goes on, so that a seed decides
//!   everything and virtual time stands still meanwhile;
//! * a power cut comes at or behind the last promise: the last call that a host was told `Ok` of,
//!   or the last request that the far side has. What was promised must be there afterwards; of
//!   what was written since and not synced, anything may be.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use async_trait::async_trait;
use stoplog_journal::cipher::KEY_BYTES;
use stoplog_journal::{
    ActKeyRow, Batch, Cipher, CipherKey, Lease, OpenIntentRow, Part, Reading, SessionRow, States,
    Store, StoreError, Which,
};
use stoplog_model::SessionId;
use stoplog_model::port::Unwatched;
use stoplog_model::state::{StateAsk, StateSeen};
use stoplog_store::SqliteStore;
use stoplog_vfs::{Entry, Image, Recording};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::locked;

/// Images of each crash point, of which one becomes true.
const IMAGES_PER_POINT: usize = 4;

type Errand = Box<dyn FnOnce(&tokio::runtime::Runtime) + Send>;

struct State {
    folder: TempDir,
    recording: Option<Recording>,
    store: Option<Arc<SqliteStore>>,
}

/// Whether the power goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Power {
    /// It does not, and there is no disk.
    #[default]
    Stays,
    /// With each host that dies, and at times with one that lives.
    Goes,
    /// So it does, and no sync of the log was one: a test of the tests.
    GoesUnsynced,
}

/// The disk of one world, with the store on it.
pub struct Disk {
    state: Mutex<State>,
    errands: mpsc::Sender<Errand>,
    power: Power,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Writes and truncations that were not synced, and are gone.
    pub lost: usize,
    /// Writes of which a part arrived.
    pub torn: usize,
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// In memory where there is such a folder: what was synced is decided by the VFS.
fn new_folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    must(made, "no folder")
}

/// What is written is encrypted: a torn or lost write must not cost more than a clear one.
fn cipher() -> Cipher {
    Cipher::new(Some(CipherKey::new(&[7; KEY_BYTES])), Vec::new())
}

impl State {
    /// Records the folder from here on, and opens the store in it.
    fn open(&mut self) -> Result<(), StoreError> {
        self.recording = Some(must(Recording::start(self.folder.path()), "no recording"));
        let file = self.folder.path().join("journal.db");
        let store = SqliteStore::open_watched(&file, Arc::new(Unwatched), cipher())?;
        self.store = Some(Arc::new(store));
        Ok(())
    }
}

impl Disk {
    /// An empty one.
    pub fn new(power: Power) -> Disk {
        let (errands, inbox) = mpsc::channel::<Errand>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = must(runtime, "no runtime");
            for errand in inbox {
                errand(&runtime);
            }
        });
        let mut state = State {
            folder: new_folder(),
            recording: None,
            store: None,
        };
        must(state.open(), "no store");
        Disk {
            state: Mutex::new(state),
            errands,
            power,
        }
    }

    /// From here on, what is written already is promised.
    pub fn promise(&self) {
        if let Some(recording) = &locked(&self.state).recording {
            recording.mark(0);
        }
    }

    /// The power goes, now or since the last promise, and the store is opened again.
    ///
    /// # Errors
    ///
    /// When the journal is refused then.
    pub fn cut(&self, dice: &mut Dice) -> Result<Cut, String> {
        let mut state = locked(&self.state);
        let Some(recording) = state.recording.take() else {
            return Err("there is no disk any more".to_owned());
        };
        let mut recorded = recording.stop();
        if self.power == Power::GoesUnsynced {
            recorded = recorded.without_wal_syncs();
        }
        state.store = None;
        let is_promise = |e: &Entry| matches!(e, Entry::Mark(_));
        let promised = recorded.entries().iter().rposition(is_promise);
        let from = promised.map_or(0, |last| last + 1);
        let images = recorded.images(dice.throw(), IMAGES_PER_POINT);
        let images: Vec<Image> = images.behind(from).collect();
        let image = dice.pick(&images);
        state.folder = new_folder();
        must(image.write_to(state.folder.path()), "no image");
        let refused = |e| format!("after a power cut: {e}, {}", image.description);
        state.open().map_err(refused)?;
        Ok(Cut {
            lost: image.lost,
            torn: image.torn,
        })
    }

    fn run<T: Send + 'static, F>(
        &self,
        call: impl FnOnce(Arc<SqliteStore>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let gone = || StoreError::Unwritable("the disk is gone".to_owned());
        let store = locked(&self.state).store.clone().ok_or_else(gone)?;
        let future = call(store);
        let (told, answer) = mpsc::channel();
        let errand: Errand = Box::new(move |runtime| {
            let _ = told.send(runtime.block_on(future));
        });
        self.errands.send(errand).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

#[async_trait]
impl States for Disk {
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError> {
        let (tenant, tool, ask) = (tenant.to_owned(), tool.to_owned(), ask.clone());
        self.run(move |store| async move { store.state(&tenant, &tool, &ask).await })
    }
}

#[async_trait]
impl Store for Disk {
    fn cipher(&self) -> Cipher {
        cipher()
    }

    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        self.run(|store| async move { store.append(batch).await })
    }

    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError> {
        let sessions = sessions.to_vec();
        self.run(move |store| async move { store.read(&sessions, part).await })
    }

    async fn lease(
        &self,
        session: &SessionId,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
        holder_is_dead: bool,
    ) -> Result<Lease, StoreError> {
        let (session, holder) = (session.clone(), holder.to_owned());
        self.run(move |store| async move {
            let lease = store.lease(&session, &holder, now_ms, ttl_ms, holder_is_dead);
            lease.await
        })
    }

    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.run(move |store| async move { store.renew(&lease, until_ms).await })
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.run(move |store| async move { store.release(&lease).await })
    }

    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError> {
        let only = match which {
            Which::One(id) => Some(id.clone()),
            Which::All | Which::Unfinished => None,
        };
        let unfinished = which == Which::Unfinished;
        self.run(move |store| async move {
            let which = match &only {
                Some(id) => Which::One(id),
                None if unfinished => Which::Unfinished,
                None => Which::All,
            };
            store.sessions(which).await
        })
    }

    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError> {
        let (scope, key) = (scope.to_owned(), key.to_owned());
        self.run(move |store| async move { store.act_key(&scope, &key).await })
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError> {
        self.run(|store| async move { store.open_intents().await })
    }
}

/// A store whose every `Ok` is a promise of the disk. It stands before what fails on schedule: a
/// commit of which its host was told that it failed is no promise.
pub struct Promised {
    /// The store that answers.
    pub inner: Arc<dyn Store>,
    /// The disk below it.
    pub disk: Arc<Disk>,
}

impl Promised {
    async fn told<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = call.await;
        if result.is_ok() {
            self.disk.promise();
        }
        result
    }
}

#[async_trait]
impl States for Promised {
    async fn state(
        &self,
        tenant: &str,
        tool: &str,
        ask: &StateAsk,
    ) -> Result<StateSeen, StoreError> {
        self.told(self.inner.state(tenant, tool, ask)).await
    }
}

#[async_trait]
impl Store for Promised {
    fn cipher(&self) -> Cipher {
        self.inner.cipher()
    }

    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        self.told(self.inner.append(batch)).await
    }

    async fn read(&self, sessions: &[SessionId], part: Part) -> Result<Vec<Reading>, StoreError> {
        self.told(self.inner.read(sessions, part)).await
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
        self.told(lease).await
    }

    async fn renew(&self, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
        self.told(self.inner.renew(lease, until_ms)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.told(self.inner.release(lease)).await
    }

    async fn sessions(&self, which: Which<'_>) -> Result<Vec<SessionRow>, StoreError> {
        self.told(self.inner.sessions(which)).await
    }

    async fn act_key(&self, scope: &str, key: &str) -> Result<Option<ActKeyRow>, StoreError> {
        self.told(self.inner.act_key(scope, key)).await
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntentRow>, StoreError> {
        self.told(self.inner.open_intents()).await
    }
}
