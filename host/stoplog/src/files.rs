//! Files that commands write: whole or not at all. A kill leaves what was there or what is new, and
//! what was told to be written is there after a power cut too.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use stoplog_model::Reason;

use crate::error::CliError;

/// A file that has its name when all of it is on the disk, and never before.
pub(crate) struct PrivateFile {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    is_finished: bool,
}

impl PrivateFile {
    /// Begins one, beside where it will be.
    pub(crate) fn create(path: &Path) -> Result<PrivateFile, CliError> {
        let beside = beside(path);
        let file = open_private(&beside).map_err(|e| unwritable(path, &e))?;
        Ok(PrivateFile {
            path: path.to_owned(),
            beside,
            file: BufWriter::new(file),
            is_finished: false,
        })
    }

    /// Writes more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| unwritable(&self.path, &e))
    }

    /// Puts it on the disk, under its name. A file that was there is replaced.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        let finish = |own: &mut PrivateFile| -> std::io::Result<()> {
            own.file.flush()?;
            own.file.get_ref().sync_all()?;
            put_in_place(&own.beside, &own.path)
        };
        let finished = finish(&mut self);
        self.is_finished = finished.is_ok();
        finished.map_err(|e| unwritable(&self.path, &e))
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Writes a whole file, for its owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    replace(path, bytes, Readers::Owner).map_err(|e| unwritable(path, &e))
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone.
    Owner,
    /// Those of the file that it replaces; of a new one, whoever the process lets.
    AsBefore,
}

/// Writes a whole file in the place of the one that is there, if there is one.
pub(crate) fn replace(path: &Path, bytes: &[u8], readers: Readers) -> std::io::Result<()> {
    let beside = beside(path);
    let write = || -> std::io::Result<()> {
        let mut file = match readers {
            Readers::Owner => open_private(&beside)?,
            Readers::AsBefore => File::create(&beside)?,
        };
        if readers == Readers::AsBefore
            && let Ok(there) = fs::metadata(path)
        {
            file.set_permissions(there.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        put_in_place(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Gives what was made beside its name. A name is in its folder, which is synced like a file: else a
/// power cut could bring the old one back, a revoked key among it.
fn put_in_place(beside: &Path, path: &Path) -> std::io::Result<()> {
    fs::rename(beside, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Where something is made before it has its name.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".tmp{}", std::process::id()));
    PathBuf::from(beside)
}

fn open_private(path: &Path) -> std::io::Result<File> {
    // One of a command that was killed, and had the same process id.
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a file that was not there, with these bytes, on the disk.
fn create_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = open_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder that was not there, with these files: it has its name when all of them are on the
/// disk, and never before.
pub(crate) fn write_folder(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), CliError> {
    let exists = || std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is there already");
    // Renaming takes the place of an empty folder: that is somebody's, too.
    if fs::symlink_metadata(path).is_ok() {
        return Err(unwritable(path, &exists()));
    }
    let beside = beside(path);
    let write = || -> std::io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&beside)?;
        for (name, bytes) in files {
            create_private(&beside.join(name), bytes)?;
        }
        File::open(&beside)?.sync_all()?;
        put_in_place(&beside, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_dir_all(&beside);
        unwritable(path, &e)
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    let message = format!("{}: {error}", path.display());
    CliError::new(Reason::FileUnwritable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_file_is_replaced_and_keeps_its_readers_or_has_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("f");
        let mode = || fs::metadata(&path).expect("f").permissions().mode() & 0o777;
        fs::write(&path, "old").expect("old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
        // What a command that was killed has left stands in nobody's way.
        fs::write(beside(&path), "half").expect("half");
        replace(&path, b"new", Readers::AsBefore).expect("replaced");
        assert_eq!(
            (fs::read(&path).expect("f"), mode()),
            (b"new".to_vec(), 0o640)
        );
        fs::write(beside(&path), "half").expect("half");
        replace(&path, b"own", Readers::Owner).expect("replaced");
        assert_eq!(
            (fs::read(&path).expect("f"), mode()),
            (b"own".to_vec(), 0o600)
        );
        // One that cannot be put in place leaves the old one, and nothing beside it.
        let folder = dir.path().join("folder");
        fs::create_dir_all(folder.join("full")).expect("folder");
        replace(&folder, b"x", Readers::Owner).expect_err("a folder is there");
        let left = fs::read_dir(dir.path()).expect("dir").count();
        assert_eq!(left, 2);
    }

    #[test]
    fn a_folder_is_there_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("case");
        let files = [("a", b"1".to_vec()), ("b", b"2".to_vec())];
        write_folder(&path, &files).expect("written");
        assert_eq!(fs::read(path.join("b")).expect("b"), b"2");
        // What is there is never touched.
        let error = write_folder(&path, &files).expect_err("there");
        assert!(error.message.contains("already"), "{error:?}");
        // A file that cannot be made leaves nothing behind.
        let other = dir.path().join("other");
        let bad = [("a", b"1".to_vec()), ("no/such/folder", b"2".to_vec())];
        write_folder(&other, &bad).expect_err("no folder");
        let left: Vec<_> = fs::read_dir(dir.path())
            .expect("dir")
            .map(|e| e.expect("e").file_name())
            .collect();
        assert_eq!(left, ["case"]);
    }
}
