//! Operations that fail on demand, and the kernel that throws unsynced data away.
//!
//! Invariant: what [`Faults`] knows of unsynced data begins when it is made, or with the last
//! sync if that is later. Its end disarms everything.

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libsqlite3_sys as sys;

use crate::ffi::RealFile;
use crate::watch::{Dir, WatchError};

/// An operation that can fail, on a database, a WAL or a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// A file is opened, new or not.
    Open,
    /// A file is written to.
    Write,
    /// A file is made shorter.
    Truncate,
    /// A file is synced.
    Sync,
}

/// How an operation fails, and with it, which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The file is not opened: `SQLITE_CANTOPEN`.
    OpenFails,
    /// Nothing is written: `SQLITE_IOERR_WRITE`.
    WriteFails,
    /// Nothing is written, the disk is full: `SQLITE_FULL`.
    WriteFull,
    /// The first half is written, then the disk is full: `SQLITE_FULL`, as "unix" answers to a
    /// short write.
    WriteShort,
    /// Nothing is cut off: `SQLITE_IOERR_TRUNCATE`.
    TruncateFails,
    /// Nothing is made durable, nothing is lost, and a later sync makes good for it:
    /// `SQLITE_IOERR_FSYNC`.
    SyncFails,
    /// What was written to the file since its last sync is gone from it, and a later sync knows
    /// nothing of that and succeeds: `SQLITE_IOERR_FSYNC`.
    SyncLoses,
}

impl Kind {
    /// All there are, for a sweep.
    pub const ALL: [Kind; 7] = [
        Kind::OpenFails,
        Kind::WriteFails,
        Kind::WriteFull,
        Kind::WriteShort,
        Kind::TruncateFails,
        Kind::SyncFails,
        Kind::SyncLoses,
    ];

    /// The operation that fails.
    pub fn op(self) -> Op {
        match self {
            Kind::OpenFails => Op::Open,
            Kind::WriteFails | Kind::WriteFull | Kind::WriteShort => Op::Write,
            Kind::TruncateFails => Op::Truncate,
            Kind::SyncFails | Kind::SyncLoses => Op::Sync,
        }
    }

    /// The extended result code that SQLite gets.
    pub fn code(self) -> c_int {
        match self {
            Kind::OpenFails => sys::SQLITE_CANTOPEN,
            Kind::WriteFails => sys::SQLITE_IOERR_WRITE,
            Kind::WriteFull | Kind::WriteShort => sys::SQLITE_FULL,
            Kind::TruncateFails => sys::SQLITE_IOERR_TRUNCATE,
            Kind::SyncFails | Kind::SyncLoses => sys::SQLITE_IOERR_FSYNC,
        }
    }
}

/// One failure to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What fails, and how.
    pub kind: Kind,
    /// Which operation of that sort fails, counted from 1 after arming.
    pub nth: u64,
    /// Whether all later ones fail as well, until [`Faults::clear`].
    pub sticky: bool,
}

impl Fault {
    /// The nth operation fails, and no other.
    pub fn once(kind: Kind, nth: u64) -> Fault {
        let sticky = false;
        Fault { kind, nth, sticky }
    }

    /// The nth operation fails, and all after it.
    pub fn from(kind: Kind, nth: u64) -> Fault {
        let sticky = true;
        Fault { kind, nth, sticky }
    }
}

/// How many operations there were, those that failed included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files opened.
    pub opens: u64,
    /// Writes.
    pub writes: u64,
    /// Truncations.
    pub truncates: u64,
    /// Syncs.
    pub syncs: u64,
    /// How many operations were made to fail.
    pub failed: u64,
}

impl Counts {
    /// The count of one operation.
    pub fn of(&self, op: Op) -> u64 {
        match op {
            Op::Open => self.opens,
            Op::Write => self.writes,
            Op::Truncate => self.truncates,
            Op::Sync => self.syncs,
        }
    }

    fn add(&mut self, op: Op) {
        let count = match op {
            Op::Open => &mut self.opens,
            Op::Write => &mut self.writes,
            Op::Truncate => &mut self.truncates,
            Op::Sync => &mut self.syncs,
        };
        *count += 1;
    }
}

/// The faults of one directory. Dropping it disarms them.
#[must_use = "the faults end when this is dropped"]
pub struct Faults {
    dir: Arc<Dir>,
}

impl Faults {
    /// Counts the operations below `dir` from here on, and can make them fail.
    ///
    /// # Errors
    ///
    /// When `dir` is not there, has faults, or is above or below another watched directory.
    pub fn below(dir: impl AsRef<Path>) -> Result<Faults, WatchError> {
        let dir = Dir::watch(dir.as_ref())?;
        let mut state = dir.lock();
        if state.faults.is_some() {
            return Err(WatchError::Taken(dir.path().to_owned()));
        }
        state.faults = Some(FaultState::default());
        drop(state);
        Ok(Faults { dir })
    }

    /// Adds a fault. Of several that would hit one operation, the one armed first does.
    ///
    /// # Panics
    ///
    /// When `nth` is 0: operations are counted from 1.
    pub fn arm(&self, fault: Fault) {
        assert!(fault.nth > 0, "operations are counted from 1");
        self.with(|faults| faults.armed.push(Armed { fault, seen: 0 }));
    }

    /// Disarms all faults, and counts from 0.
    pub fn clear(&self) {
        self.with(|faults| {
            faults.armed.clear();
            faults.counts = Counts::default();
        });
    }

    /// The operations since this was made, or last cleared.
    pub fn counts(&self) -> Counts {
        self.with(|faults| faults.counts)
    }

    fn with<T>(&self, f: impl FnOnce(&mut FaultState) -> T) -> T {
        f(self.dir.lock().faults.as_mut().expect("set for our life"))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.dir.lock().faults = None;
    }
}

struct Armed {
    fault: Fault,
    seen: u64,
}

/// What a write or a truncation replaced.
struct Undo {
    size: i64,
    offset: i64,
    bytes: Vec<u8>,
}

/// What is armed below one directory, and how to take unsynced data back.
#[derive(Default)]
pub(crate) struct FaultState {
    armed: Vec<Armed>,
    counts: Counts,
    unsynced: HashMap<PathBuf, Vec<Undo>>,
}

impl FaultState {
    /// Counts an operation; gives how it is to fail.
    pub(crate) fn hit(&mut self, op: Op) -> Option<Kind> {
        self.counts.add(op);
        let mut hit = None;
        for armed in self.armed.iter_mut().filter(|a| a.fault.kind.op() == op) {
            armed.seen += 1;
            let fault = armed.fault;
            let fails = armed.seen == fault.nth || (fault.sticky && armed.seen > fault.nth);
            if fails && hit.is_none() {
                hit = Some(fault.kind);
            }
        }
        self.counts.failed += u64::from(hit.is_some());
        hit
    }

    pub(crate) fn keep_before_write(
        &mut self,
        path: &Path,
        real: &RealFile,
        offset: i64,
        len: usize,
    ) -> Result<(), c_int> {
        let bytes = real.read(offset, len)?;
        self.keep(path, real.size()?, offset, bytes);
        Ok(())
    }

    pub(crate) fn keep_before_truncate(
        &mut self,
        path: &Path,
        real: &RealFile,
        len: i64,
    ) -> Result<(), c_int> {
        let size = real.size()?;
        let cut_off = usize::try_from(size - len).unwrap_or(0);
        let bytes = real.read(len, cut_off)?;
        self.keep(path, size, len, bytes);
        Ok(())
    }

    fn keep(&mut self, path: &Path, size: i64, offset: i64, bytes: Vec<u8>) {
        let undo = Undo {
            size,
            offset,
            bytes,
        };
        self.unsynced.entry(path.to_owned()).or_default().push(undo);
    }

    /// What was written is durable: nothing can take it back.
    pub(crate) fn synced(&mut self, path: &Path) {
        self.unsynced.remove(path);
    }

    /// Takes back what was written to the file since its last sync.
    pub(crate) fn lose(&mut self, path: &Path, real: &RealFile) -> c_int {
        for undo in self.unsynced.remove(path).unwrap_or_default().iter().rev() {
            let code = real.write(&undo.bytes, undo.offset);
            if code != sys::SQLITE_OK {
                return code;
            }
            let code = real.truncate(undo.size);
            if code != sys::SQLITE_OK {
                return code;
            }
        }
        sys::SQLITE_OK
    }

    /// The path names another file from here on, or none.
    pub(crate) fn deleted(&mut self, path: &Path) {
        self.unsynced.remove(path);
    }
}
