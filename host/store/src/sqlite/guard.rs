//! Sums over the rows of `act_keys` and of `tool_state`, kept in the commit that changes them.
//!
//! Events are in a chain; these rows are not. A key of an act that went bad would not be found: the
//! act would be done again; a key of a tool's state that went bad would be a shorter memory. So the
//! sum of a hash of every row is kept, whatever their order, and compared when a host starts. It
//! finds accidents; who wants to forge it can.

use rusqlite::{Connection, OptionalExtension, params};
use stoplog_journal::{ActKeyRow, ActKeyState, StoreError};
use stoplog_model::digest::sha256;

use super::connection::read_error;
use super::{read, state};

/// The sum over the keys of acts.
pub(super) const ACT_KEYS: &str = "act_keys";
/// The sum over what tools keep.
pub(super) const STATE: &str = "tool_state";

/// A change of the sum, or the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum(u128);

impl Sum {
    /// With one row more.
    pub(super) fn with(self, row: &ActKeyRow) -> Sum {
        Sum(self.0.wrapping_add(hash(row)))
    }

    /// With one row less.
    pub(super) fn without(self, row: &ActKeyRow) -> Sum {
        Sum(self.0.wrapping_sub(hash(row)))
    }

    /// With a row more, by its hash.
    pub(super) fn plus_hash(self, hash: u128) -> Sum {
        Sum(self.0.wrapping_add(hash))
    }

    /// With a row less.
    pub(super) fn minus_hash(self, hash: u128) -> Sum {
        Sum(self.0.wrapping_sub(hash))
    }

    fn plus(self, other: Sum) -> Sum {
        Sum(self.0.wrapping_add(other.0))
    }
}

fn hash(row: &ActKeyRow) -> u128 {
    let digest = sha256(
        "stoplog/act-key1",
        &[
            row.scope.as_bytes(),
            row.key.as_bytes(),
            row.tool.as_bytes(),
            row.session.as_bytes(),
            &row.iteration.to_le_bytes(),
            &row.ordinal.to_le_bytes(),
            row.args_digest.as_bytes(),
            &[u8::from(row.state == ActKeyState::Done), row.class],
            &row.seq.to_le_bytes(),
            &row.at_ms.to_le_bytes(),
            row.kept.as_deref().unwrap_or("").as_bytes(),
        ],
    );
    let (half, _) = digest.split_at(16);
    half.try_into().map_or(0, u128::from_le_bytes)
}

fn stored(c: &Connection, name: &str) -> rusqlite::Result<Option<Sum>> {
    c.prepare_cached("SELECT value FROM guards WHERE name = ?1")?
        .query_row([name], |r| {
            let bytes: [u8; 16] = r.get(0)?;
            Ok(Sum(u128::from_le_bytes(bytes)))
        })
        .optional()
}

fn store(c: &Connection, name: &str, sum: Sum) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO guards (name, value) VALUES (?1, ?2)")?
        .execute(params![name, sum.0.to_le_bytes()])?;
    Ok(())
}

/// Adds the changes of a transaction.
pub(super) fn add(c: &Connection, name: &str, change: Sum) -> rusqlite::Result<()> {
    if change == Sum::default() {
        return Ok(());
    }
    let before = stored(c, name)?.unwrap_or_default();
    store(c, name, before.plus(change))
}

/// Whether the rows are those of the sum, in the open transaction.
pub(super) fn holds(c: &Connection) -> rusqlite::Result<bool> {
    Ok(sum_of_rows(c)? == (stored(c, ACT_KEYS)?.unwrap_or_default(), true))
}

/// Writes the sum of the rows as they are: for a journal that is older than the sum.
pub(super) fn begin(c: &Connection) -> rusqlite::Result<()> {
    store(c, ACT_KEYS, sum_of_rows(c)?.0)
}

/// Rows that the index over the hash does not lead to: a lookup would miss them.
const UNREACHED: &str = "SELECT count(*) FROM act_keys a NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM act_keys b INDEXED BY act_keys_hash WHERE b.hash = a.hash AND b.id = a.id)";

fn unreached(c: &Connection) -> rusqlite::Result<u64> {
    c.query_row(UNREACHED, [], |r| r.get(0))
}

/// The sum over the rows, and whether each lies under its own hash, and no act is claimed twice.
fn sum_of_rows(c: &Connection) -> rusqlite::Result<(Sum, bool)> {
    let mut sum = Sum::default();
    let mut is_sound = true;
    read::each_act_key(c, |_, stored, row| {
        sum = sum.with(&row);
        is_sound &= stored == read::act_hash(&row.scope, &row.key);
    })?;
    let twice: bool = c.query_row(TWICE, [], |r| r.get(0))?;
    Ok((sum, is_sound && !twice))
}

const TWICE: &str = "SELECT EXISTS (SELECT 1 FROM act_keys a JOIN act_keys b
    ON b.hash = a.hash AND b.id > a.id AND b.scope = a.scope AND b.key = a.key)";

/// Writes the hash of every row: for a journal that is older than the hash.
pub(super) fn hash_all(c: &Connection) -> rusqlite::Result<()> {
    let mut hashes = Vec::new();
    read::each_act_key(c, |id, _, row| {
        hashes.push((id, read::act_hash(&row.scope, &row.key)))
    })?;
    for (id, hash) in hashes {
        c.prepare_cached("UPDATE act_keys SET hash = ?2 WHERE id = ?1")?
            .execute(params![id, hash])?;
    }
    Ok(())
}

/// Compares the sum with the rows, in one transaction: a host may be writing.
pub(super) fn check(c: &Connection) -> Result<(), StoreError> {
    let compare = || -> rusqlite::Result<bool> {
        let transaction = c.unchecked_transaction()?;
        let sum = stored(&transaction, ACT_KEYS)?.unwrap_or_default();
        Ok((sum, true) == sum_of_rows(&transaction)? && unreached(&transaction)? == 0)
    };
    match compare() {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Corrupt(
            "the keys of acts are not those that were written: a row is damaged or lost".into(),
        )),
        Err(e) => Err(read_error(e)),
    }
}

/// Compares the sum over what tools keep with the rows, in one transaction.
pub(super) fn check_state(c: &Connection) -> Result<(), StoreError> {
    let compare = || -> rusqlite::Result<bool> {
        let transaction = c.unchecked_transaction()?;
        let sum = stored(&transaction, STATE)?.unwrap_or_default();
        Ok(sum == state::sum(&transaction)?)
    };
    match compare() {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Corrupt(
            "what tools keep is not what was written: a row is damaged or lost".into(),
        )),
        Err(e) => Err(read_error(e)),
    }
}
