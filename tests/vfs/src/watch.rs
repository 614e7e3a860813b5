//! Which directories are watched, and what happens to an operation below one of them.
//!
//! Invariants: a path belongs to one watched directory at most, as none is below another. All
//! writes below one directory, and the marks of the test, are in one order: a lock is held over
//! the real operation and its entry in the log. No lock is held while a test's callback runs.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use libsqlite3_sys as sys;

use crate::faults::{FaultState, Kind, Op};
use crate::ffi::{self, RealFile};
use crate::open::{self, OpenFile};
use crate::record::{Entry, Log};

/// Why a directory could not be watched.
#[derive(Debug)]
pub enum WatchError {
    /// The directory is not there, or could not be read.
    Io(io::Error),
    /// Another watched directory is above or below this one.
    Nested(PathBuf),
    /// The directory has one of this sort already: a recording, faults, or a watcher of syncs.
    Taken(PathBuf),
    /// This database is open in this process, around the VFS: it was opened before the VFS was
    /// installed, or through another one by name. What is done to it would not be seen. (Found
    /// where there is `/proc`.)
    Unseen(PathBuf),
}

impl std::fmt::Display for WatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WatchError::Io(e) => write!(f, "the directory could not be read: {e}"),
            WatchError::Nested(other) => {
                write!(f, "{} is watched, above or below it", other.display())
            }
            WatchError::Taken(dir) => write!(f, "{} has one of this sort", dir.display()),
            WatchError::Unseen(file) => {
                write!(
                    f,
                    "{} is open around the VFS: install it first",
                    file.display()
                )
            }
        }
    }
}

impl std::error::Error for WatchError {}

impl From<io::Error> for WatchError {
    fn from(e: io::Error) -> Self {
        WatchError::Io(e)
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The database itself.
    Database,
    /// A rollback journal, also one that spans databases.
    Journal,
    /// A write-ahead log.
    Wal,
}

impl Role {
    /// None for temporary files: they do not outlive the process.
    pub(crate) fn from_flags(flags: c_int) -> Option<Role> {
        let is = |flag| flags & flag != 0;
        if is(sys::SQLITE_OPEN_MAIN_DB) {
            Some(Role::Database)
        } else if is(sys::SQLITE_OPEN_MAIN_JOURNAL) || is(sys::SQLITE_OPEN_SUPER_JOURNAL) {
            Some(Role::Journal)
        } else if is(sys::SQLITE_OPEN_WAL) {
            Some(Role::Wal)
        } else {
            None
        }
    }
}

/// On which side of a real sync a callback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The writes are with the kernel, and a power cut may still take them.
    Before,
    /// They are durable, and SQLite does not know it yet.
    After,
}

/// Called around each real sync, with the path of the file, on the thread that syncs.
pub type OnSync = Arc<dyn Fn(Moment, &Path) + Send + Sync>;

/// Calls back around each sync below a directory, for as long as it lives.
#[must_use = "the watcher ends when this is dropped"]
pub struct SyncWatcher {
    dir: Arc<Dir>,
}

/// Calls `callback` before and after each real sync of a file below `dir`.
///
/// The callback may end the process, block, or use SQLite elsewhere. A sync that fails by a fault
/// is no real one.
///
/// # Errors
///
/// When `dir` is not there, has a watcher, or is above or below another watched directory.
pub fn on_sync(dir: impl AsRef<Path>, callback: OnSync) -> Result<SyncWatcher, WatchError> {
    let dir = Dir::watch(dir.as_ref())?;
    let mut slot = dir.on_sync.write().unwrap_or_else(PoisonError::into_inner);
    if slot.is_some() {
        return Err(WatchError::Taken(dir.path.clone()));
    }
    *slot = Some(callback);
    drop(slot);
    Ok(SyncWatcher { dir })
}

impl Drop for SyncWatcher {
    fn drop(&mut self) {
        let slot = &self.dir.on_sync;
        *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

static DIRS: RwLock<Vec<Weak<Dir>>> = RwLock::new(Vec::new());

/// A watched directory, shared by all that watch it.
pub(crate) struct Dir {
    path: PathBuf,
    state: Mutex<State>,
    on_sync: RwLock<Option<OnSync>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Option<Log>,
    pub(crate) faults: Option<FaultState>,
}

impl Dir {
    /// Installs the VFS, and watches the directory, which has to be there.
    pub(crate) fn watch(dir: &Path) -> Result<Arc<Dir>, WatchError> {
        ffi::install();
        let path = fs::canonicalize(dir)?;
        let mut dirs = DIRS.write().unwrap_or_else(PoisonError::into_inner);
        dirs.retain(|dir| dir.strong_count() > 0);
        for other in dirs.iter().filter_map(Weak::upgrade) {
            if other.path == path {
                return Ok(other);
            }
            if other.path.starts_with(&path) || path.starts_with(&other.path) {
                return Err(WatchError::Nested(other.path.clone()));
            }
        }
        if let Some(file) = open::unseen_below(&path) {
            return Err(WatchError::Unseen(file));
        }
        let dir = Arc::new(Dir {
            path,
            state: Mutex::default(),
            on_sync: RwLock::default(),
        });
        dirs.push(Arc::downgrade(&dir));
        Ok(dir)
    }

    /// The watched directory that `path` is in.
    fn above(path: &Path) -> Option<Arc<Dir>> {
        let dirs = DIRS.read().unwrap_or_else(PoisonError::into_inner);
        let mut dirs = dirs.iter().filter_map(Weak::upgrade);
        dirs.find(|dir| path.starts_with(&dir.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A test that panicked elsewhere takes nothing from this one.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix(&self.path);
        below.expect("found by its prefix").to_owned()
    }

    fn announce(&self, moment: Moment, path: &Path) {
        let slot = self.on_sync.read().unwrap_or_else(PoisonError::into_inner);
        let callback = slot.clone();
        drop(slot);
        if let Some(callback) = callback {
            callback(moment, path);
        }
    }
}

impl State {
    fn hit(&mut self, op: Op) -> Option<Kind> {
        self.faults.as_mut().and_then(|faults| faults.hit(op))
    }

    fn log(&mut self, entry: impl FnOnce() -> Entry) {
        if let Some(log) = &mut self.log {
            log.push(entry());
        }
    }
}

pub(crate) fn open(
    path: &Path,
    role: Role,
    creates: bool,
    real: &RealFile,
    open_real: impl FnOnce() -> c_int,
) -> Result<OpenFile, c_int> {
    let Some(dir) = Dir::above(path) else {
        return match open_real() {
            sys::SQLITE_OK => Ok(OpenFile::new(path, role, creates)),
            code => Err(code),
        };
    };
    let mut state = dir.lock();
    if let Some(kind) = state.hit(Op::Open) {
        return Err(kind.code());
    }
    let was_there = path.exists();
    let code = open_real();
    if code != sys::SQLITE_OK {
        return Err(code);
    }
    if let Some(log) = &mut state.log {
        log.opened(dir.relative(path), role, was_there, || contents(real));
    }
    Ok(OpenFile::new(path, role, creates))
}

/// All that a file has, for one that the log meets for the first time.
fn contents(real: &RealFile) -> Vec<u8> {
    let size = real.size().expect("the size of an open file");
    let size = usize::try_from(size).expect("a size");
    real.read(0, size).expect("an open file can be read")
}

pub(crate) fn delete(path: &Path, sync_dir: bool, delete_real: impl FnOnce() -> c_int) -> c_int {
    let Some(dir) = Dir::above(path) else {
        return delete_real();
    };
    let mut state = dir.lock();
    let code = delete_real();
    if code == sys::SQLITE_OK {
        if let Some(faults) = &mut state.faults {
            faults.deleted(path);
        }
        let path = dir.relative(path);
        state.log(|| Entry::Delete { path, sync_dir });
    }
    code
}

pub(crate) fn write(file: &OpenFile, real: &RealFile, bytes: &[u8], offset: i64) -> c_int {
    let path = file.path();
    let Some(dir) = Dir::above(path) else {
        return real.write(bytes, offset);
    };
    let mut state = dir.lock();
    let (bytes, failure) = match state.hit(Op::Write) {
        None => (bytes, None),
        Some(Kind::WriteShort) => (&bytes[..bytes.len() / 2], Some(Kind::WriteShort)),
        Some(kind) => return kind.code(),
    };
    if let Some(faults) = &mut state.faults
        && let Err(code) = faults.keep_before_write(path, real, offset, bytes.len())
    {
        return code;
    }
    let code = real.write(bytes, offset);
    if code != sys::SQLITE_OK {
        return code;
    }
    state.log(|| Entry::Write {
        path: dir.relative(path),
        offset: u64::try_from(offset).expect("an offset"),
        bytes: bytes.into(),
    });
    failure.map_or(sys::SQLITE_OK, Kind::code)
}

pub(crate) fn truncate(file: &OpenFile, real: &RealFile, len: i64) -> c_int {
    let path = file.path();
    let Some(dir) = Dir::above(path) else {
        return real.truncate(len);
    };
    let mut state = dir.lock();
    if let Some(kind) = state.hit(Op::Truncate) {
        return kind.code();
    }
    if let Some(faults) = &mut state.faults
        && let Err(code) = faults.keep_before_truncate(path, real, len)
    {
        return code;
    }
    let code = real.truncate(len);
    if code == sys::SQLITE_OK {
        state.log(|| Entry::Truncate {
            path: dir.relative(path),
            len: u64::try_from(len).expect("a length"),
        });
    }
    code
}

pub(crate) fn sync(file: &OpenFile, real: &RealFile, flags: c_int) -> c_int {
    let path = file.path();
    let Some(dir) = Dir::above(path) else {
        let code = real.sync(flags);
        if code == sys::SQLITE_OK {
            file.pay_dir_sync();
        }
        return code;
    };
    let mut state = dir.lock();
    match state.hit(Op::Sync) {
        None => {}
        Some(Kind::SyncLoses) => {
            if let Some(faults) = &mut state.faults {
                let code = faults.lose(path, real);
                assert_eq!(code, sys::SQLITE_OK, "the writes could not be taken back");
            }
            let path = dir.relative(path);
            state.log(|| Entry::Lost { path });
            return Kind::SyncLoses.code();
        }
        Some(kind) => return kind.code(),
    }
    drop(state);
    dir.announce(Moment::Before, path);
    let mut state = dir.lock();
    let code = real.sync(flags);
    if code == sys::SQLITE_OK {
        let sync_dir = file.pay_dir_sync();
        if let Some(faults) = &mut state.faults {
            faults.synced(path);
        }
        let path = dir.relative(path);
        state.log(|| Entry::Sync { path, sync_dir });
    }
    drop(state);
    if code == sys::SQLITE_OK {
        dir.announce(Moment::After, path);
    }
    code
}
