//! `[secrets.NAME]`: where a value is, and reading it from there.
//!
//! Invariants: the configuration holds no value, only where to find it; a file that others than its
//! owner can read holds no secret, and is refused; no value and no part of one is in an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stoplog_model::Reason;
use toml::Spanned;

use super::Source;
use crate::error::CliError;

/// Bytes of a secret's file at most: a key or a token, and no archive that was named by mistake.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Rights of the group and of others in a file's mode.
const NOT_THE_OWNERS: u32 = 0o077;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    env: Option<String>,
    file: Option<PathBuf>,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file that its owner alone can read. One line end at its end is not part of the value.
    File(PathBuf),
}

/// Each section names one place. Paths are relative to the configuration.
pub(super) fn check(
    source: &Source<'_>,
    base: &Path,
    sections: BTreeMap<String, Spanned<Section>>,
) -> Result<BTreeMap<String, SecretSource>, CliError> {
    let one = |(name, spanned): (String, Spanned<Section>)| {
        let found = source_of(base, spanned.get_ref()).ok_or_else(|| {
            let why = format!("[secrets.{name}] needs `env` or `file`, and not both");
            source.at(&spanned, why)
        })?;
        Ok((name, found))
    };
    sections.into_iter().map(one).collect()
}

/// The place that a section names; none if it names none, or two. Paths are relative to `base`.
pub(super) fn source_of(base: &Path, section: &Section) -> Option<SecretSource> {
    match (&section.env, &section.file) {
        (Some(variable), None) => Some(SecretSource::Env(variable.clone())),
        (None, Some(file)) => Some(SecretSource::File(base.join(file))),
        _ => None,
    }
}

impl SecretSource {
    /// The value.
    ///
    /// # Errors
    /// `secret_missing` when there is none, `secret_exposed` when others could have read it.
    pub(crate) fn read(&self, name: &str) -> Result<String, CliError> {
        match self {
            SecretSource::Env(variable) => std::env::var(variable).map_err(|_| {
                let message = format!("secret `{name}`: the variable {variable} is not set");
                CliError::new(Reason::SecretMissing, message)
            }),
            SecretSource::File(path) => read_file(name, path),
        }
    }
}

fn read_file(name: &str, path: &Path) -> Result<String, CliError> {
    let place = path.display();
    let missing = |why: String| {
        let message = format!("secret `{name}`: {place}: {why}");
        CliError::new(Reason::SecretMissing, message)
    };
    let file = File::open(path).map_err(|e| missing(e.to_string()))?;
    // Of the open file, and not of the path: that could be another one by now.
    let found = file.metadata().map_err(|e| missing(e.to_string()))?;
    if !found.is_file() {
        return Err(missing("this is no file".to_owned()));
    }
    if found.mode() & NOT_THE_OWNERS != 0 {
        let mode = found.mode() & 0o777;
        let message = format!(
            "secret `{name}`: {place} has mode {mode:04o}, so others than its owner may have it: \
             `chmod 600 {place}`, and think about a new secret"
        );
        return Err(CliError::new(Reason::SecretExposed, message));
    }
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    // The error of a text that is no UTF-8 does not show it.
    let read = read.map_err(|e| missing(e.to_string()))?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(missing(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(mode: u32, bytes: &[u8]) -> Result<String, CliError> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("token");
        fs::write(&path, bytes).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
        SecretSource::File(path).read("TOKEN")
    }

    #[test]
    fn a_file_of_its_owner_alone_is_read_without_its_line_end() {
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(read(mode, b"s3cret\n"), Ok("s3cret".to_owned()));
        }
        assert_eq!(read(0o600, b"s3cret\r\n"), Ok("s3cret".to_owned()));
        assert_eq!(read(0o600, b"s3cret\n\n"), Ok("s3cret\n".to_owned()));
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
            let error = read(mode, b"s3cret").expect_err("refused");
            assert_eq!(error.reason, Some(Reason::SecretExposed), "{mode:o}");
            assert!(error.message.contains("chmod 600"), "{}", error.message);
            assert!(!error.message.contains("s3cret"), "{}", error.message);
        }
    }

    #[test]
    fn what_is_no_secret_is_missing_and_not_shown() {
        let long = vec![b'x'; MAX_FILE_BYTES as usize + 1];
        for bytes in [&b"s3cret\xff"[..], &long] {
            let error = read(0o600, bytes).expect_err("refused");
            assert_eq!(error.reason, Some(Reason::SecretMissing));
            assert!(!error.message.contains("s3cret"), "{}", error.message);
        }
        for path in ["/", "/nowhere/at/all"] {
            let error = SecretSource::File(path.into()).read("TOKEN");
            let reason = error.expect_err("refused").reason;
            assert_eq!(reason, Some(Reason::SecretMissing), "{path}");
        }
    }
}
