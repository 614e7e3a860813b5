//! The files that are open through this VFS, and those that are open around it.
//!
//! Invariant: a path is in `OPEN` as often as there is an [`OpenFile`] of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::watch::Role;

/// What a SQLite database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

static OPEN: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// What is to be remembered of an open file.
pub(crate) struct OpenFile {
    path: PathBuf,
    /// "unix" syncs the directory with the first sync of a journal or WAL that it was to create.
    owes_dir_sync: AtomicBool,
}

impl OpenFile {
    pub(crate) fn new(path: &Path, role: Role, creates: bool) -> OpenFile {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(path.to_owned()).or_default() += 1;
        OpenFile {
            path: path.to_owned(),
            owes_dir_sync: AtomicBool::new(creates && role != Role::Database),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Called after a sync that succeeded: whether the directory was synced with it.
    pub(crate) fn pay_dir_sync(&self) -> bool {
        self.owes_dir_sync.swap(false, Ordering::Relaxed)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.path);
            }
        }
    }
}

/// A database below `dir` that this process has open, and not through this VFS. Reading it ends
/// this process's locks on it, which is why none that was opened through this VFS is read.
pub(crate) fn unseen_below(dir: &Path) -> Option<PathBuf> {
    // Without `/proc` nothing is found.
    let descriptors = fs::read_dir("/proc/self/fd").ok()?;
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .find(|file| file.starts_with(dir) && !open.contains_key(file) && is_database(file))
}

fn is_database(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *MAGIC
}
