//! Bearer keys: who has one is its caller.
//!
//! A key is 256 random bits, written `slk_ID_SECRET` in hex. The file keeps SHA-256 of the secret
//! and not a slow hash: a slow hash makes guesses dear where a person chose the words, and 2^256
//! random ones cannot be guessed at any price. A fast hash also means that an attacker cannot make
//! the host work by sending wrong keys.
//!
//! Invariants:
//! * a secret is shown once, to who made it, and kept nowhere;
//! * hashes are compared in constant time;
//! * a file that cannot be read whole gives no keys: nobody comes in by accident.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stoplog_model::Tenant;

use crate::caller::{Caller, Role};

/// What a key begins with, so that one in a log or a commit is found by a scanner.
const PREFIX: &str = "slk_";
/// Version of the file.
const VERSION: u32 = 1;

/// One key, as the file keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Names it in lists, and finds it: no secret.
    pub id: String,
    /// Whose it is: a person for an approver, a program for an agent.
    pub name: String,
    /// Its tenant.
    pub tenant: Tenant,
    /// What it is for.
    pub role: Role,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// The file of keys: JSON, for its owner alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    /// The keys, in the order in which they were made.
    pub keys: Vec<Key>,
}

/// The file of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyFileError(String);

impl Default for KeyFile {
    fn default() -> KeyFile {
        KeyFile {
            version: VERSION,
            keys: Vec::new(),
        }
    }
}

impl KeyFile {
    /// Reads the file; no file is no keys.
    pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
        let error = |e: String| KeyFileError(format!("{}: {e}", path.display()));
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(KeyFile::default()),
            Err(e) => return Err(error(e.to_string())),
        };
        let file: KeyFile = serde_json::from_slice(&text).map_err(|e| error(e.to_string()))?;
        if file.version != VERSION {
            let why = format!("version {}; this stoplog reads {VERSION}", file.version);
            return Err(error(why));
        }
        Ok(file)
    }

    /// Puts a key of these random bytes in. The text to hand to its owner, once.
    pub fn add(
        &mut self,
        (id, secret): ([u8; 6], [u8; 32]),
        caller: Caller,
        created_at_ms: u64,
    ) -> String {
        let (id, secret) = (hex::encode(id), hex::encode(secret));
        self.keys.push(Key {
            hash: hex::encode(hash(&secret)),
            name: caller.name,
            tenant: caller.tenant,
            role: caller.role,
            created_at_ms,
            id: id.clone(),
        });
        format!("{PREFIX}{id}_{secret}")
    }

    /// Takes a key out; false if there is none of this id.
    pub fn revoke(&mut self, id: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.id != id);
        self.keys.len() < before
    }
}

fn hash(secret: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"stoplog/apikey1\0");
    hasher.update(secret.as_bytes());
    hasher.finalize().into()
}

/// Whether both are the same, in a time that says nothing about where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    std::hint::black_box(difference) == 0
}

/// What is known of the file: when it was changed last, and how large it was.
type Seen = Option<(SystemTime, u64)>;

/// The keys of a file, read anew when it changes: a key that is revoked is good for nothing at its
/// next request.
#[derive(Debug, Clone)]
pub struct KeyRing {
    path: PathBuf,
    known: Arc<Mutex<(Seen, Callers)>>,
}

/// Hash and owner, by id.
type Callers = HashMap<String, ([u8; 32], Caller)>;

impl KeyRing {
    /// Over a file, which may come later.
    pub fn new(path: PathBuf) -> KeyRing {
        KeyRing {
            path,
            known: Arc::default(),
        }
    }

    /// Whose key a text is; none if it is nobody's.
    pub fn caller(&self, text: &str) -> Option<Caller> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let given = hash(secret);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).ok();
        let now = now.and_then(|m| Some((m.modified().ok()?, m.len())));
        if now != known.0 {
            known.1 = self.read();
            known.0 = now;
        }
        let (expected, caller) = known.1.get(id)?;
        same(expected, &given).then(|| caller.clone())
    }

    fn read(&self) -> Callers {
        let file = KeyFile::load(&self.path).unwrap_or_else(|error| {
            tracing::error!(%error, "nobody is let in");
            KeyFile::default()
        });
        let all = file.keys.into_iter().filter_map(|key| {
            let hash: [u8; 32] = hex::decode(&key.hash).ok()?.try_into().ok()?;
            let caller = Caller {
                tenant: key.tenant,
                name: key.name,
                role: key.role,
            };
            Some((key.id, (hash, caller)))
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests;
