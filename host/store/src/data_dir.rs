//! The data directory and its lock: one host at a time, and a second one fails loudly.
//!
//! The lock is the operating system's, on `host.lock`: it goes with the process, however that
//! dies. So whoever has it knows that no other host lives here, and may take over its leases at
//! once. The file's text names the holder, for people; the lock does not rest on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stoplog_journal::StoreError;

/// How often a host tries to get the lock, and the pause between: half a second in all. An
/// operator's command holds the lock for one commit, and must not keep a host from starting.
const LOCK_TRIES: u32 = 10;
/// See [`LOCK_TRIES`].
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Option<File>,
}

fn unwritable(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Unwritable(format!("{}: {error}", path.display()))
}

impl DataDir {
    /// Opens the directory for a host: makes it if need be, and takes the lock.
    /// [`StoreError::Locked`] when another host has it.
    pub fn for_host(path: &Path, holder: &str) -> Result<DataDir, StoreError> {
        for _ in 0..LOCK_TRIES {
            let dir = DataDir::beside_host(path, holder)?;
            if dir.lock.is_some() {
                return Ok(dir);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        let name = read_holder(path).unwrap_or_else(|| "another host".into());
        Err(StoreError::Locked(format!(
            "{name} works in {}; a second host cannot",
            path.display()
        )))
    }

    /// Opens the directory for a command that may work beside a host: takes the lock if it is
    /// free, and goes on without it if not.
    pub fn beside_host(path: &Path, holder: &str) -> Result<DataDir, StoreError> {
        create_private(path)?;
        let file = path.join("host.lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file)
            .map_err(|e| unwritable(&file, e))?;
        let lock = match lock.try_lock() {
            Ok(()) => {
                let write = lock
                    .set_len(0)
                    .and_then(|()| lock.rewind())
                    .and_then(|()| lock.write_all(holder.as_bytes()));
                write.map_err(|e| unwritable(&file, e))?;
                Some(lock)
            }
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(e)) => return Err(unwritable(&file, e)),
        };
        Ok(DataDir {
            path: path.to_owned(),
            lock,
        })
    }

    /// Opens the directory without a lock: makes it if need be. For files that are written whole
    /// and named by their digest.
    pub fn unlocked(path: &Path) -> Result<DataDir, StoreError> {
        create_private(path)?;
        Ok(DataDir {
            path: path.to_owned(),
            lock: None,
        })
    }

    /// Whether this process has the lock: then no other host lives here.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// The trace store's file.
    pub fn traces(&self) -> PathBuf {
        self.path.join("traces.db")
    }

    /// The spans' file.
    pub fn spans(&self) -> PathBuf {
        self.path.join("spans.jsonl")
    }

    /// Where components are kept, by digest.
    pub fn tools(&self) -> PathBuf {
        self.path.join("tools")
    }

    /// Where compiled code is kept.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }
}

/// Whether a process has the lock. Taken for a moment to find out; whoever wants it meanwhile tries
/// again.
pub fn is_held(path: &Path) -> bool {
    let file = File::open(path.join("host.lock"));
    // No file: no host was ever here.
    file.is_ok_and(|file| file.try_lock_shared().is_err())
}

/// Who has the lock, as the file says.
pub fn read_holder(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path.join("host.lock"))
        .ok()?
        .take(256)
        .read_to_string(&mut text)
        .ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// The directory holds raw personal data and compiled code: nobody else may look or write.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| unwritable(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_fails_loudly_and_a_command_goes_beside() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("data");
        assert!(!is_held(&path), "no host was ever here");
        let first = DataDir::for_host(&path, "host a (pid 1)").expect("first");
        assert!(is_held(&path));
        let error = DataDir::for_host(&path, "host b").expect_err("second");
        assert!(error.to_string().contains("host a (pid 1)"), "{error}");
        assert!(
            !DataDir::beside_host(&path, "cli")
                .expect("beside")
                .is_locked()
        );
        drop(first);
        assert!(!is_held(&path));
        assert!(
            DataDir::for_host(&path, "host b")
                .expect("after")
                .is_locked()
        );
    }
}
