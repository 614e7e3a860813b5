//! Encryption at rest: what is raw in the journal is unreadable without a key.
//!
//! Encrypted are the bodies of events and snapshots, the results that are kept of pruned sessions,
//! and the values that tools keep. What stands beside them in the tables is not: names, positions,
//! times, digests, keys of acts and redacted summaries, by which rows are found.
//!
//! * XChaCha20-Poly1305. Its nonce of 24 bytes is random, so hosts need not agree on a counter.
//! * Each text is bound to its place, by the associated data: put elsewhere, it cannot be decrypted.
//! * Links are made over what is stored, so a link tells nothing of what is inside, and the chain
//!   can be followed without a key.
//! * A text says which key it needs. The configured one encrypts; older ones decrypt only, for as
//!   long as anything needs them.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use stoplog_model::digest::sha256;

use crate::store::StoreError;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// What an encrypted text begins with. An event begins with a brace.
pub const MARK: &str = "enc1:";
/// What an encrypted value begins with, before the digits of its key.
const VALUE_MARK: &[u8] = b"enc1";

/// Digits of a key's name.
const ID_DIGITS: usize = 8;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// By how many bytes an encrypted value is longer than what is inside.
pub const VALUE_OVERHEAD: usize = VALUE_MARK.len() + ID_DIGITS + NONCE_BYTES + TAG_BYTES;

const ID_DOMAIN: &str = "stoplog/encryption-key1";
const PLACE_DOMAIN: &str = "stoplog/encrypted-place1";

/// The name of a key: the first digits of a digest of it, hexadecimal. It tells nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// As it was printed. None for what is no name of a key.
    pub fn parse(text: &str) -> Option<KeyId> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = text.len() == ID_DIGITS && text.bytes().all(is_digit);
        fits.then(|| KeyId(text.to_owned()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One key.
#[derive(Clone)]
pub struct CipherKey {
    id: KeyId,
    /// Wiped when it is dropped.
    aead: XChaCha20Poly1305,
}

impl CipherKey {
    /// Of its bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> CipherKey {
        let mut id = hex::encode(sha256(ID_DOMAIN, &[bytes]));
        id.truncate(ID_DIGITS);
        CipherKey {
            id: KeyId(id),
            aead: XChaCha20Poly1305::new(bytes.into()),
        }
    }

    /// Of 64 hexadecimal digits. None for another text.
    pub fn from_hex(text: &str) -> Option<CipherKey> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(CipherKey::new(&bytes))
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Nonce and ciphertext.
    fn encrypt(&self, place: Place<'_>, clear: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)
            .map_err(|e| StoreError::Unwritable(format!("no random bytes: {e}")))?;
        let payload = Payload {
            msg: clear,
            aad: &place.digest(),
        };
        let sealed = self.aead.encrypt(&XNonce::from(nonce), payload);
        // Of more than 256 GiB, says the cipher.
        let sealed = sealed.map_err(|_| StoreError::Unwritable(format!("{place} is too large")))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, place: Place<'_>, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || {
            StoreError::Corrupt(format!(
                "{place} is not what was encrypted with key {}",
                self.id
            ))
        };
        let (nonce, sealed) = stored
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(damaged)?;
        let payload = Payload {
            msg: sealed,
            aad: &place.digest(),
        };
        let clear = self.aead.decrypt(&XNonce::from(*nonce), payload);
        clear.map_err(|_| damaged())
    }
}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CipherKey({})", self.id)
    }
}

/// Where something encrypted stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// An event of a session, also when it is kept behind the session's end.
    Event(&'a str, u64),
    /// The snapshot of a session up to an event.
    Snapshot(&'a str, u64),
    /// A value of a tool, as an event wrote it.
    Value {
        /// Whose.
        tenant: &'a str,
        /// Which tool's.
        tool: &'a str,
        /// Under which key.
        key: &'a str,
        /// The session of the event.
        session: &'a str,
        /// Its `seq`.
        seq: u64,
    },
}

impl Place<'_> {
    fn digest(&self) -> [u8; 32] {
        match *self {
            Place::Event(session, seq) => digest(&["event", session], seq),
            Place::Snapshot(session, seq) => digest(&["snapshot", session], seq),
            Place::Value {
                tenant,
                tool,
                key,
                session,
                seq,
            } => digest(&["value", tenant, tool, key, session], seq),
        }
    }
}

fn digest(names: &[&str], seq: u64) -> [u8; 32] {
    let seq = seq.to_le_bytes();
    let mut parts: Vec<&[u8]> = names.iter().map(|n| n.as_bytes()).collect();
    parts.push(&seq);
    sha256(PLACE_DOMAIN, &parts)
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Event(session, seq) => write!(f, "event {seq} of session {session}"),
            Place::Snapshot(session, seq) => {
                write!(f, "the snapshot at event {seq} of session {session}")
            }
            Place::Value {
                tenant, tool, key, ..
            } => write!(f, "key `{key}` of tool {tool} of tenant {tenant}"),
        }
    }
}

/// The keys of a journal. Without any, what is written is clear, and what is encrypted stays shut.
#[derive(Debug, Clone, Default)]
pub struct Cipher {
    current: Option<Arc<CipherKey>>,
    older: Arc<[CipherKey]>,
}

impl Cipher {
    /// With a key for what is written from now on, or none; and with keys for what was written
    /// before.
    pub fn new(current: Option<CipherKey>, older: Vec<CipherKey>) -> Cipher {
        Cipher {
            current: current.map(Arc::new),
            older: older.into(),
        }
    }

    /// No keys.
    pub fn none() -> Cipher {
        Cipher::default()
    }

    /// The same keys, with this one for what is written, or none.
    pub fn writing_with(self, id: Option<&KeyId>) -> Cipher {
        let current = id.and_then(|id| self.key(id)).cloned();
        let mut older = self.older.to_vec();
        older.extend(self.current.as_deref().cloned());
        Cipher::new(current, older)
    }

    /// The key for what is written.
    pub fn current(&self) -> Option<&KeyId> {
        self.current.as_deref().map(CipherKey::id)
    }

    /// Whether what needs this key can be read.
    pub fn has(&self, id: &KeyId) -> bool {
        self.key(id).is_some()
    }

    fn key(&self, id: &KeyId) -> Option<&CipherKey> {
        let mut all = self.current.as_deref().into_iter().chain(&*self.older);
        all.find(|key| key.id == *id)
    }

    fn must_have(&self, id: KeyId) -> Result<&CipherKey, StoreError> {
        self.key(&id)
            .ok_or(StoreError::Encrypted { keys: vec![id] })
    }

    /// A text as it is to be stored; none if it is stored as it is.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] when the system has no random bytes.
    pub fn encrypt(&self, place: Place<'_>, clear: &str) -> Result<Option<String>, StoreError> {
        let Some(key) = &self.current else {
            return Ok(None);
        };
        let mut text = format!("{MARK}{}:", key.id);
        STANDARD_NO_PAD.encode_string(key.encrypt(place, clear.as_bytes())?, &mut text);
        Ok(Some(text))
    }

    /// What a stored text says; none if it is not encrypted.
    ///
    /// # Errors
    /// [`StoreError::Encrypted`] without the key, [`StoreError::Corrupt`] for what was not
    /// encrypted with it, or not for this place.
    pub fn decrypt(&self, place: Place<'_>, stored: &str) -> Result<Option<String>, StoreError> {
        let Some((id, text)) = marked(stored) else {
            return Ok(None);
        };
        let damaged = || StoreError::Corrupt(format!("{place} is not what was encrypted"));
        let key = self.must_have(id.ok_or_else(damaged)?)?;
        let sealed = STANDARD_NO_PAD.decode(text).map_err(|_| damaged())?;
        let clear = key.decrypt(place, &sealed)?;
        String::from_utf8(clear).map(Some).map_err(|_| damaged())
    }

    /// A value as it is to be stored: longer by [`VALUE_OVERHEAD`], or as it is without a key.
    ///
    /// # Errors
    /// As [`Cipher::encrypt`].
    pub fn encrypt_value(&self, place: Place<'_>, clear: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Some(key) = &self.current else {
            return Ok(clear.to_vec());
        };
        let sealed = key.encrypt(place, clear)?;
        Ok([VALUE_MARK, key.id.0.as_bytes(), &sealed].concat())
    }

    /// What a stored value of which `bytes` were written says. A value may be any bytes: that one
    /// is encrypted shows by its length alone.
    ///
    /// # Errors
    /// As [`Cipher::decrypt`].
    pub fn decrypt_value(
        &self,
        place: Place<'_>,
        stored: Vec<u8>,
        bytes: u64,
    ) -> Result<Vec<u8>, StoreError> {
        if stored.len() as u64 == bytes {
            return Ok(stored);
        }
        let damaged = || StoreError::Corrupt(format!("{place} has not the value that was written"));
        if stored.len() as u64 != bytes + VALUE_OVERHEAD as u64 {
            return Err(damaged());
        }
        let key = self.must_have(key_of_value(&stored).ok_or_else(damaged)?)?;
        key.decrypt(place, &stored[VALUE_MARK.len() + ID_DIGITS..])
    }
}

/// The key and the rest of an encrypted text; no key if its name is damaged.
fn marked(stored: &str) -> Option<(Option<KeyId>, &str)> {
    let rest = stored.strip_prefix(MARK)?;
    let parts = rest.split_once(':');
    Some(parts.map_or((None, rest), |(id, text)| (KeyId::parse(id), text)))
}

/// The key that a stored text needs; none for one that is not encrypted.
pub fn key_of(stored: &str) -> Option<KeyId> {
    marked(stored)?.0
}

/// The key that a stored value needs which is longer than what was written.
pub fn key_of_value(stored: &[u8]) -> Option<KeyId> {
    let (id, _) = stored
        .strip_prefix(VALUE_MARK)?
        .split_at_checked(ID_DIGITS)?;
    KeyId::parse(std::str::from_utf8(id).ok()?)
}

#[cfg(test)]
mod tests;
