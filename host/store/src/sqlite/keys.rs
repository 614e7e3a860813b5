//! Encryption at rest: which keys a file needs, and what is encrypted below the journal.
//!
//! The journal encrypts the bodies of events, because their links are made over what is stored.
//! Snapshots and the values of tools are in no chain: they are encrypted here, when they are
//! written.
//!
//! Invariant: a key is noted in the file before anything is encrypted with it. So whoever opens the
//! file knows what it needs without reading its rows.

use rusqlite::{Connection, OptionalExtension};
use stoplog_journal::cipher::{MARK, key_of, key_of_value};
use stoplog_journal::{
    ActKeyRow, Cipher, KeyId, Place, Reading, SnapshotRow, StateRow, StoreError, chain,
};

use super::connection::{read_error, write_error};

/// Name in `meta` of the keys that anything in the file may need, the latest last.
const KEYS: &str = "encryption_keys";

/// The keys that anything in the file may need.
pub(super) fn noted(c: &Connection) -> Result<Vec<KeyId>, StoreError> {
    let text: Option<String> = c
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")
        .and_then(|mut s| s.query_row([KEYS], |r| r.get(0)).optional())
        .map_err(read_error)?;
    let parse = |word: &str| {
        KeyId::parse(word)
            .ok_or_else(|| StoreError::Corrupt(format!("`{word}` is no encryption key's name")))
    };
    let text = text.unwrap_or_default();
    text.split_ascii_whitespace().map(parse).collect()
}

/// Refuses a cipher that lacks a key which anything in the file needs. One that is noted and needed
/// by nothing any more may be missing: then every row is looked at.
pub(super) fn require(c: &Connection, cipher: &Cipher) -> Result<(), StoreError> {
    let mut missing = Vec::new();
    for id in noted(c)? {
        if !cipher.has(&id) && is_needed(c, &id).map_err(read_error)? {
            missing.push(id);
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Encrypted { keys: missing }),
    }
}

/// For a host, which has the data directory to itself: refuses as [`require`] does, strikes off
/// what nothing needs and nobody has, and notes the key that is written with from now on. One
/// transaction, so that nobody else's key comes in between.
pub(super) fn take_over(c: &Connection, cipher: &Cipher) -> Result<(), StoreError> {
    let before = noted(c)?;
    let has_all = before.iter().all(|id| cipher.has(id));
    if has_all && cipher.current().is_none_or(|id| before.last() == Some(id)) {
        return Ok(());
    }
    let t = rusqlite::Transaction::new_unchecked(c, rusqlite::TransactionBehavior::Immediate)
        .map_err(write_error)?;
    require(&t, cipher)?;
    let mut keys = noted(&t)?;
    keys.retain(|id| cipher.has(id) && cipher.current() != Some(id));
    keys.extend(cipher.current().cloned());
    let names: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    t.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
        [KEYS, &names.join(" ")],
    )
    .map_err(write_error)?;
    t.commit().map_err(write_error)
}

/// Refuses what would be encrypted with a key that a host has struck off since the file was opened:
/// it does not read that, and nobody would know that the file needs it.
pub(super) fn still_noted(c: &Connection, cipher: &Cipher) -> Result<(), StoreError> {
    let Some(id) = cipher.current() else {
        return Ok(());
    };
    match noted(c)?.contains(id) {
        true => Ok(()),
        false => Err(StoreError::Encrypted {
            keys: vec![id.clone()],
        }),
    }
}

/// What was clear before is wiped where it is deleted, and does not wait in a page for its next use.
/// It costs writing, so only where there is a key.
pub(super) fn wipe_what_is_deleted(c: &Connection, cipher: &Cipher) -> Result<(), StoreError> {
    match cipher.current() {
        None => Ok(()),
        Some(_) => c
            .pragma_update(None, "secure_delete", "ON")
            .map_err(write_error),
    }
}

/// Keys of those that are noted which nothing needs any more, but for the latest.
pub(super) fn unneeded(c: &Connection) -> Result<Vec<KeyId>, StoreError> {
    let mut keys = noted(c)?;
    keys.pop();
    let mut found = Vec::new();
    for id in keys {
        if !is_needed(c, &id).map_err(read_error)? {
            found.push(id);
        }
    }
    Ok(found)
}

/// Whether anything is encrypted with a key. Reads on until something is.
fn is_needed(c: &Connection, id: &KeyId) -> rusqlite::Result<bool> {
    for (table, column) in [
        ("events", "body"),
        ("payloads", "body"),
        ("snapshots", "body"),
        ("act_keys", "kept"),
    ] {
        let sql = format!("SELECT {column} FROM {table} WHERE {column} GLOB '{MARK}*'");
        let mut statement = c.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if key_of(row.get_ref(0)?.as_str()?).as_ref() == Some(id) {
                return Ok(true);
            }
        }
    }
    let mut statement = c.prepare("SELECT value FROM tool_state WHERE length(value) <> bytes")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if key_of_value(row.get_ref(0)?.as_blob()?).as_ref() == Some(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows and the snapshot of a session, readable. A damaged row stays as it is stored: whoever
/// decodes it is told, and a sound one beside it is read.
pub(super) fn reading(
    cipher: &Cipher,
    session: &str,
    mut found: Reading,
) -> Result<Reading, StoreError> {
    for row in &mut found.rows {
        unless_damaged(row.decrypt(session, cipher))?;
    }
    found.snapshot = match found.snapshot {
        Some(row) => Some(snapshot(cipher, session, row)?),
        None => None,
    };
    Ok(found)
}

/// What is damaged is told where it is used, and not where it is read.
pub(super) fn unless_damaged(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(StoreError::Corrupt(_)) => Ok(()),
        other => other,
    }
}

/// A claim with the result that was kept, readable.
pub(super) fn act_key(cipher: &Cipher, mut row: ActKeyRow) -> Result<ActKeyRow, StoreError> {
    if let Some(kept) = &row.kept {
        let place = Place::Event(&row.session, row.seq);
        if let Some(clear) = cipher.decrypt(place, kept)? {
            row.kept = Some(clear);
        }
    }
    Ok(row)
}

/// A snapshot as it is to be stored.
pub(super) fn encrypted_snapshot(
    cipher: &Cipher,
    session: &str,
    row: &SnapshotRow,
) -> Result<SnapshotRow, StoreError> {
    let mut row = row.clone();
    if let Some(body) = cipher.encrypt(Place::Snapshot(session, row.seq), &row.body)? {
        row.seal = chain::seal(&row.chain, &body);
        row.body = body;
    }
    Ok(row)
}

/// A snapshot, readable. One that is damaged stays as it is: it is passed over for the events.
pub(super) fn snapshot(
    cipher: &Cipher,
    session: &str,
    mut row: SnapshotRow,
) -> Result<SnapshotRow, StoreError> {
    if !chain::is_sealed(&row) {
        return Ok(row);
    }
    match cipher.decrypt(Place::Snapshot(session, row.seq), &row.body) {
        Ok(None) | Err(StoreError::Corrupt(_)) => Ok(row),
        Ok(Some(body)) => {
            row.seal = chain::seal(&row.chain, &body);
            row.body = body;
            Ok(row)
        }
        Err(e) => Err(e),
    }
}

/// What an event writes into the state of tools: the row, and its value as it is to be stored.
pub(super) struct Kept<'r> {
    pub(super) row: &'r StateRow,
    /// None: the key is deleted.
    pub(super) stored: Option<Vec<u8>>,
}

/// All of it.
pub(super) fn state_rows<'r>(
    cipher: &Cipher,
    session: &str,
    rows: &'r [StateRow],
) -> Result<Vec<Kept<'r>>, StoreError> {
    let stored = |row: &'r StateRow| {
        let place = Place::Value {
            tenant: &row.tenant,
            tool: &row.tool,
            key: &row.key,
            session,
            seq: row.seq,
        };
        let value = row.value.as_deref();
        let stored = value.map(|v| cipher.encrypt_value(place, v)).transpose()?;
        Ok(Kept { row, stored })
    };
    rows.iter().map(stored).collect()
}

#[cfg(test)]
mod tests;
