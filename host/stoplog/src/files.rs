//! Files that commands write for people: whole or not at all, for their owner alone.

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
            fs::rename(&own.beside, &own.path)
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

/// Writes a whole file.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = PrivateFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// Where something is made before it has its name.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".tmp{}", std::process::id()));
    PathBuf::from(beside)
}

fn open_private(path: &Path) -> std::io::Result<File> {
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
        fs::rename(&beside, path)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
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
