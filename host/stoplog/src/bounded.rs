//! Reading files that others wrote: regular ones, and not more than makes sense.
//!
//! What may go wrong: a pipe, a device, a directory, or a file without end. All are errors at once.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Bytes of a text that a person writes: a manifest, a template, a case. None has more than a few
/// thousand.
pub(crate) const TEXT_BYTES: u64 = 1024 * 1024;

/// The bytes of a file, up to one more than so many: whoever refuses a longer one sees that it is.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    // A look first: opening a pipe waits for whoever writes into it.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "this is no regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A text of at most [`TEXT_BYTES`].
pub(crate) fn text(path: &Path) -> Result<String> {
    let bytes = read(path, TEXT_BYTES)?;
    if bytes.len() as u64 > TEXT_BYTES {
        let why = format!("it has more than {} KiB", TEXT_BYTES >> 10);
        return Err(Error::new(ErrorKind::InvalidData, why));
    }
    String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sensible_size_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        fs::write(&file, "text").expect("written");
        assert_eq!(text(&file).expect("a text"), "text");
        assert_eq!(read(&file, 2).expect("three bytes"), b"tex");
        let long = File::create(&file).and_then(|f| f.set_len(TEXT_BYTES + 1));
        long.expect("a long file");
        for bad in [file.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert!(text(bad).is_err(), "{}", bad.display());
        }
    }
}
