//! `[journal]`: with which keys the journal is encrypted at rest.
//!
//! Invariant: as with every secret, the configuration says where a key is, and never what it is.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use stoplog_journal::{Cipher, CipherKey};
use stoplog_model::Reason;
use toml::Spanned;

use super::Source;
use super::secrets::{self, SecretSource, source_of};
use crate::error::CliError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    encryption_key: Option<Spanned<secrets::Section>>,
    #[serde(default)]
    old_encryption_keys: Vec<Spanned<secrets::Section>>,
}

/// `[journal]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalConfig {
    /// The key that the journal is encrypted with; none: what is written is clear.
    pub encryption_key: Option<SecretSource>,
    /// Keys that it was encrypted with before.
    pub old_encryption_keys: Vec<SecretSource>,
}

impl Section {
    /// Paths are relative to `base`.
    pub(super) fn check(
        &self,
        source: &Source<'_>,
        base: &Path,
    ) -> Result<JournalConfig, CliError> {
        let one = |what: &str, place: &Spanned<secrets::Section>| {
            let why = || format!("{what} needs `env` or `file`, and not both");
            source_of(base, place.get_ref()).ok_or_else(|| source.at(place, why()))
        };
        let current = self.encryption_key.as_ref();
        let current = current.map(|place| one("encryption_key", place));
        let older = self.old_encryption_keys.iter();
        let older = older.map(|place| one("each of old_encryption_keys", place));
        Ok(JournalConfig {
            encryption_key: current.transpose()?,
            old_encryption_keys: older.collect::<Result<_, _>>()?,
        })
    }
}

impl JournalConfig {
    /// Reads the keys.
    ///
    /// # Errors
    /// `secret_missing` and `secret_exposed` as for any secret; `encryption_key_invalid` for a text
    /// that is no key, or one key in two places.
    pub(crate) fn cipher(&self) -> Result<Cipher, CliError> {
        let current = self.encryption_key.as_ref();
        let current = current.map(|place| read("encryption_key", place));
        let older = self.old_encryption_keys.iter().enumerate();
        let older = older.map(|(i, place)| read(&format!("old_encryption_keys[{i}]"), place));
        let (current, older) = (current.transpose()?, older.collect::<Result<Vec<_>, _>>()?);
        let mut seen = HashSet::new();
        for key in current.iter().chain(&older) {
            if !seen.insert(key.id()) {
                let message = format!("[journal] names key {} twice", key.id());
                return Err(CliError::new(Reason::EncryptionKeyInvalid, message));
            }
        }
        Ok(Cipher::new(current, older))
    }
}

fn read(name: &str, place: &SecretSource) -> Result<CipherKey, CliError> {
    let text = place.read(name)?;
    CipherKey::from_hex(&text).ok_or_else(|| {
        let message = format!(
            "[journal] {name}: what is there is no key of 64 hexadecimal digits; \
             `openssl rand -hex 32` makes one"
        );
        CliError::new(Reason::EncryptionKeyInvalid, message)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn in_file(dir: &Path, name: &str, text: &str) -> SecretSource {
        let path = dir.join(name);
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
        SecretSource::File(path)
    }

    #[test]
    fn keys_are_read_where_they_are() {
        let dir = tempfile::tempdir().expect("directory");
        let (new, old) = ("a1".repeat(32), "b2".repeat(32));
        let config = JournalConfig {
            encryption_key: Some(in_file(dir.path(), "new", &format!("{new}\n"))),
            old_encryption_keys: vec![in_file(dir.path(), "old", &old)],
        };
        let cipher = config.cipher().expect("keys");
        let id = |digits: &str| CipherKey::from_hex(digits).expect("a key").id().clone();
        assert_eq!(cipher.current(), Some(&id(&new)));
        assert!(cipher.has(&id(&old)));
        assert_eq!(
            JournalConfig::default().cipher().expect("none").current(),
            None
        );
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().expect("directory");
        let key = "a1".repeat(32);
        for wrong in ["", "a1a1", &format!("{key}a1"), &format!("0x{}", &key[2..])] {
            let config = JournalConfig {
                encryption_key: Some(in_file(dir.path(), "wrong", wrong)),
                old_encryption_keys: Vec::new(),
            };
            let error = config.cipher().expect_err(wrong);
            assert_eq!(error.reason, Some(Reason::EncryptionKeyInvalid), "{wrong}");
            assert!(!error.message.contains("a1a1"), "{}", error.message);
        }
        let twice = JournalConfig {
            encryption_key: Some(in_file(dir.path(), "one", &key)),
            old_encryption_keys: vec![in_file(dir.path(), "same", &key)],
        };
        let error = twice.cipher().expect_err("twice");
        assert!(error.message.contains("twice"), "{}", error.message);
    }
}
