//! The record of what happened to the files below a directory, in order.
//!
//! Invariant: an entry is in the log if and only if the operation succeeded, or was made to
//! fail in a way that left something behind (a short write, lost data).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::images::Images;
use crate::watch::{Dir, Role, WatchError};

/// One thing that happened. Paths are relative to the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// SQLite made a new file.
    Create {
        /// The file.
        path: PathBuf,
        /// What it is for.
        role: Role,
    },
    /// SQLite opened a file that the log knows.
    Open {
        /// The file.
        path: PathBuf,
    },
    /// SQLite opened a file that was made by other means since the recording began. What it has
    /// is taken as durable.
    Found {
        /// The file.
        path: PathBuf,
        /// All that it has.
        bytes: Arc<[u8]>,
    },
    /// Bytes were given to the kernel.
    Write {
        /// The file.
        path: PathBuf,
        /// From its beginning, in bytes.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// The file was given another length.
    Truncate {
        /// The file.
        path: PathBuf,
        /// In bytes.
        len: u64,
    },
    /// A sync of the file succeeded.
    Sync {
        /// The file.
        path: PathBuf,
        /// Its directory was synced with it.
        sync_dir: bool,
    },
    /// A sync of the file failed, and the kernel threw away what was not durable.
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The file was deleted.
    Delete {
        /// The file.
        path: PathBuf,
        /// Its directory was synced afterwards.
        sync_dir: bool,
    },
    /// The test's own word: what it was told by then.
    Mark(u64),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::Create { path, role } => write!(f, "create {} ({role:?})", path.display()),
            Entry::Open { path } => write!(f, "open {}", path.display()),
            Entry::Found { path, .. } => write!(f, "find {}", path.display()),
            Entry::Write {
                path,
                offset,
                bytes,
            } => write!(f, "write {} {offset}+{}", path.display(), bytes.len()),
            Entry::Truncate { path, len } => write!(f, "truncate {} to {len}", path.display()),
            Entry::Sync { path, .. } => write!(f, "sync {}", path.display()),
            Entry::Lost { path } => write!(f, "lost sync of {}", path.display()),
            Entry::Delete { path, .. } => write!(f, "delete {}", path.display()),
            Entry::Mark(n) => write!(f, "mark {n}"),
        }
    }
}

/// The log as it grows.
pub(crate) struct Log {
    base: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    entries: Vec<Entry>,
    known: BTreeSet<PathBuf>,
}

impl Log {
    fn start(dir: &Path) -> io::Result<Log> {
        let mut base = BTreeMap::new();
        collect(dir, dir, &mut base)?;
        let known = base.keys().cloned().collect();
        let entries = Vec::new();
        Ok(Log {
            base,
            entries,
            known,
        })
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if let Entry::Delete { path, .. } = &entry {
            self.known.remove(path);
        }
        self.entries.push(entry);
    }

    pub(crate) fn opened(
        &mut self,
        path: PathBuf,
        role: Role,
        was_there: bool,
        contents: impl FnOnce() -> Vec<u8>,
    ) {
        let is_known = !self.known.insert(path.clone());
        self.entries.push(match (was_there, is_known) {
            (false, _) => Entry::Create { path, role },
            (true, true) => Entry::Open { path },
            (true, false) => {
                let bytes = contents().into();
                Entry::Found { path, bytes }
            }
        });
    }
}

/// All files below `dir`, but for shared memory, which SQLite makes anew from the WAL.
fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Arc<Vec<u8>>>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &path, found)?;
        } else if kind.is_file() && !path.as_os_str().to_string_lossy().ends_with("-shm") {
            let below = path.strip_prefix(root).expect("read below it").to_owned();
            found.insert(below, Arc::new(fs::read(&path)?));
        }
    }
    Ok(())
}

/// A recording under way. Dropping it ends it.
#[must_use = "the recording ends when this is dropped"]
pub struct Recording {
    dir: Arc<Dir>,
}

impl Recording {
    /// Records what happens below `dir` from here on. What is there already is taken as durable,
    /// files that are not SQLite's included. So start it while nothing is being written.
    ///
    /// The files are read. On unix that ends the locks which this process has on databases that
    /// are open, towards other processes: where that matters, start before they are opened.
    ///
    /// # Errors
    ///
    /// When `dir` cannot be read, is recorded, or is above or below another watched directory.
    pub fn start(dir: impl AsRef<Path>) -> Result<Recording, WatchError> {
        let dir = Dir::watch(dir.as_ref())?;
        let mut state = dir.lock();
        if state.log.is_some() {
            return Err(WatchError::Taken(dir.path().to_owned()));
        }
        state.log = Some(Log::start(dir.path())?);
        drop(state);
        Ok(Recording { dir })
    }

    /// Notes that by now the test was told `n`: that commit n is done, say.
    pub fn mark(&self, n: u64) {
        self.marker().mark(n);
    }

    /// Marks from elsewhere: from another thread or a task.
    pub fn marker(&self) -> Marker {
        let dir = Arc::clone(&self.dir);
        Marker { dir }
    }

    /// Ends the recording.
    pub fn stop(self) -> Recorded {
        let log = self.dir.lock().log.take();
        let log = log.expect("set for our life");
        let Log { base, entries, .. } = log;
        Recorded { base, entries }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.dir.lock().log = None;
    }
}

/// Puts marks into a recording. After its end they go nowhere.
#[derive(Clone)]
pub struct Marker {
    dir: Arc<Dir>,
}

impl Marker {
    /// See [`Recording::mark`].
    pub fn mark(&self, n: u64) {
        if let Some(log) = &mut self.dir.lock().log {
            log.push(Entry::Mark(n));
        }
    }
}

/// A finished recording.
pub struct Recorded {
    pub(crate) base: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    pub(crate) entries: Vec<Entry>,
}

impl Recorded {
    /// What happened, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, as if no WAL had ever been synced: what a host that does not wait for the disk
    /// would have left. For tests that have to show that they can fail.
    pub fn without_wal_syncs(&self) -> Recorded {
        let is_wal = |path: &Path| path.as_os_str().to_string_lossy().ends_with("-wal");
        let kept = |e: &&Entry| !matches!(e, Entry::Sync { path, .. } if is_wal(path));
        Recorded {
            base: self.base.clone(),
            entries: self.entries.iter().filter(kept).cloned().collect(),
        }
    }

    /// What power cuts may leave: up to `per_point` different images for each point, a point
    /// being the number of entries that had happened. The same seed gives the same images.
    ///
    /// The first image of a point has nothing that was not durable, the second has all of it;
    /// the others are drawn. Those that differ in nothing from an earlier one, marks included,
    /// are left out, so a point without unsynced data has one image.
    pub fn images(&self, seed: u64, per_point: usize) -> Images<'_> {
        Images::new(self, seed, per_point)
    }
}
