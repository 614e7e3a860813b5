//! What tools keep: one row a key, changed in the commit of the event that says so.
//!
//! Invariants:
//! * a row is that of the event at its place: numbers of events are never given twice, so of two
//!   events about one key the one with the larger number was committed later;
//! * the sum over the rows changes in the commit that changes them, so a row that is lost or damaged
//!   shows when a host starts; a damaged value shows when it is read.
//!
//! A file of a format before 4 has no such table, and nothing is kept in it.

use rusqlite::{Connection, OptionalExtension, params};
use stoplog_journal::{Cipher, Place, StateEntry, StoreError};
use stoplog_model::digest::sha256;
use stoplog_model::state::{StateAsk, StateSeen, Value, value_digest};

use super::connection::read_error;
use super::guard::Sum;
use super::keys;
use super::write::Transaction;

/// The first format that has the table.
pub(super) const FIRST_FORMAT: u32 = 4;

/// Name in `meta` of the highest number of an event that may have deleted a key and is not there
/// any more: it was pruned, or an operator deleted the key.
const FLOOR: &str = "state_floor";

/// What a row adds to the sum.
fn hash(entry: &StateEntry) -> u128 {
    let digest = sha256(
        "stoplog/state-row1",
        &[
            entry.tenant.as_bytes(),
            entry.tool.as_bytes(),
            entry.key.as_bytes(),
            &entry.bytes.to_le_bytes(),
            &entry.digest,
            entry.session.as_bytes(),
            &entry.seq.to_le_bytes(),
            &entry.place.to_le_bytes(),
            &entry.at_ms.to_le_bytes(),
        ],
    );
    let (half, _) = digest.split_at(16);
    half.try_into().map_or(0, u128::from_le_bytes)
}

const ENTRY: &str =
    "SELECT tenant_id, tool, key, bytes, digest, session_id, seq, place, at_ms FROM tool_state";

fn entry(r: &rusqlite::Row<'_>) -> rusqlite::Result<StateEntry> {
    Ok(StateEntry {
        tenant: r.get(0)?,
        tool: r.get(1)?,
        key: r.get(2)?,
        bytes: r.get(3)?,
        digest: r.get(4)?,
        session: r.get(5)?,
        seq: r.get(6)?,
        place: r.get(7)?,
        at_ms: r.get(8)?,
    })
}

impl Transaction<'_> {
    /// Writes what an event says about the state of a tool.
    pub(super) fn put_state(
        &self,
        kept: &keys::Kept<'_>,
        session: &str,
        place: i64,
    ) -> rusqlite::Result<()> {
        let row = kept.row;
        self.delete_state(&row.tenant, &row.tool, &row.key)?;
        let (Some(value), Some(stored)) = (&row.value, &kept.stored) else {
            return Ok(());
        };
        let entry = StateEntry {
            tenant: row.tenant.clone(),
            tool: row.tool.clone(),
            key: row.key.clone(),
            bytes: value.len() as u64,
            digest: value_digest(stored),
            session: session.to_owned(),
            seq: row.seq,
            place,
            at_ms: row.at_ms,
        };
        self.c
            .prepare_cached(
                "INSERT INTO tool_state (tenant_id, tool, key, bytes, digest, session_id, seq,
                                         place, at_ms, value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                entry.tenant,
                entry.tool,
                entry.key,
                entry.bytes,
                entry.digest,
                entry.session,
                entry.seq,
                entry.place,
                entry.at_ms,
                stored
            ])?;
        self.state.set(self.state.get().plus_hash(hash(&entry)));
        Ok(())
    }

    /// Deletes a key; whether there was one.
    fn delete_state(&self, tenant: &str, tool: &str, key: &str) -> rusqlite::Result<bool> {
        let place = params![tenant, tool, key];
        let there = self
            .c
            .prepare_cached(&format!(
                "{ENTRY} WHERE tenant_id = ?1 AND tool = ?2 AND key = ?3"
            ))?
            .query_row(place, entry)
            .optional()?;
        let Some(there) = there else {
            return Ok(false);
        };
        self.c
            .prepare_cached(
                "DELETE FROM tool_state WHERE tenant_id = ?1 AND tool = ?2 AND key = ?3",
            )?
            .execute(place)?;
        self.state.set(self.state.get().minus_hash(hash(&there)));
        Ok(true)
    }

    /// Deletes what a tool keeps for a tenant: one key, or all.
    pub(super) fn forget_state(
        &self,
        tenant: &str,
        tool: &str,
        key: Option<&str>,
    ) -> rusqlite::Result<u64> {
        let keys = match key {
            Some(key) => vec![key.to_owned()],
            None => keys(self.c, tenant, tool)?,
        };
        let mut forgotten = 0;
        for key in keys {
            forgotten += u64::from(self.delete_state(tenant, tool, &key)?);
        }
        let highest = super::feed::highest(self.c)?;
        self.note_state_floor(highest)?;
        Ok(forgotten)
    }

    /// Notes that events up to this number may have deleted keys without being there to say so.
    pub(super) fn note_state_floor(&self, place: i64) -> rusqlite::Result<()> {
        if place > floor(self.c)? {
            self.c
                .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
                .execute(params![FLOOR, place.to_string()])?;
        }
        Ok(())
    }
}

/// Up to this number an event's key may have been deleted by one that is not there any more.
pub(super) fn floor(c: &Connection) -> rusqlite::Result<i64> {
    let found = c
        .prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1")?
        .query_row([FLOOR], |r| r.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The answer to a question of a tool.
pub(super) fn answer(
    c: &Connection,
    (format, cipher): (u32, &Cipher),
    (tenant, tool): (&str, &str),
    ask: &StateAsk,
) -> Result<StateSeen, StoreError> {
    let is_there = format >= FIRST_FORMAT;
    let seen = match ask {
        StateAsk::Value(key) => {
            let value = match is_there {
                true => value(c, cipher, (tenant, tool, key))?,
                false => None,
            };
            StateSeen::Value {
                key: key.clone(),
                value: value.map(Value),
            }
        }
        StateAsk::Keys => StateSeen::Keys {
            keys: match is_there {
                true => keys(c, tenant, tool).map_err(read_error)?,
                false => Vec::new(),
            },
        },
        StateAsk::Room => {
            let (keys, bytes) = match is_there {
                true => room(c, tenant, tool).map_err(read_error)?,
                false => (0, 0),
            };
            StateSeen::Room { keys, bytes }
        }
    };
    Ok(seen)
}

/// The value of a key, as it was written.
fn value(
    c: &Connection,
    cipher: &Cipher,
    (tenant, tool, key): (&str, &str, &str),
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = format!("{VALUE} WHERE tenant_id = ?1 AND tool = ?2 AND key = ?3");
    let found = c
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row(params![tenant, tool, key], held).optional())
        .map_err(read_error)?;
    found.map(|held| held.decrypted(cipher)).transpose()
}

const VALUE: &str = "SELECT tenant_id, tool, key, bytes, digest, session_id, seq, place, at_ms,
    value FROM tool_state";

/// A row with its value as it is stored.
struct Held {
    entry: StateEntry,
    stored: Vec<u8>,
}

fn held(r: &rusqlite::Row<'_>) -> rusqlite::Result<Held> {
    let stored = r.get(9)?;
    Ok(Held {
        entry: entry(r)?,
        stored,
    })
}

impl Held {
    fn is_sound(&self) -> bool {
        self.entry.digest == value_digest(&self.stored)
    }

    fn decrypted(self, cipher: &Cipher) -> Result<Vec<u8>, StoreError> {
        let Held { entry, stored } = &self;
        let StateEntry {
            tenant, tool, key, ..
        } = entry;
        if !self.is_sound() {
            return Err(StoreError::Corrupt(format!(
                "key `{key}` of tool {tool} of tenant {tenant} has not the value that was written"
            )));
        }
        let place = Place::Value {
            tenant,
            tool,
            key,
            session: &entry.session,
            seq: entry.seq,
        };
        cipher.decrypt_value(place, stored.clone(), entry.bytes)
    }
}

fn keys(c: &Connection, tenant: &str, tool: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare_cached(
        "SELECT key FROM tool_state WHERE tenant_id = ?1 AND tool = ?2 ORDER BY key",
    )?;
    let keys = statement.query_map(params![tenant, tool], |r| r.get(0))?;
    keys.collect()
}

fn room(c: &Connection, tenant: &str, tool: &str) -> rusqlite::Result<(u32, u64)> {
    c.prepare_cached(
        "SELECT count(*), coalesce(sum(length(CAST(key AS BLOB)) + bytes), 0) FROM tool_state
         WHERE tenant_id = ?1 AND tool = ?2",
    )?
    .query_row(params![tenant, tool], |r| Ok((r.get(0)?, r.get(1)?)))
}

/// Every key behind a place in the order of tenant, tool and key, so many at most. The digest is
/// that of the value as it was written, also where it is stored encrypted; if that cannot be read, it
/// is that of what is stored, which no event explains.
pub(super) fn entries(
    c: &Connection,
    cipher: &Cipher,
    after: (&str, &str, &str),
    limit: u32,
) -> rusqlite::Result<Vec<StateEntry>> {
    // The value itself is read only where it is encrypted, or damaged.
    let sql = "SELECT tenant_id, tool, key, bytes, digest, session_id, seq, place, at_ms,
            CASE WHEN length(value) <> bytes THEN value END FROM tool_state
         WHERE (tenant_id, tool, key) > (?1, ?2, ?3) ORDER BY tenant_id, tool, key LIMIT ?4";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(params![after.0, after.1, after.2, limit], |r| {
        let mut found = entry(r)?;
        let stored: Option<Vec<u8>> = r.get(9)?;
        if let Some(stored) = stored {
            let held = Held {
                entry: found.clone(),
                stored,
            };
            if let Ok(value) = held.decrypted(cipher) {
                found.digest = value_digest(&value);
            }
        }
        Ok(found)
    })?;
    rows.collect()
}

/// The sum over all rows.
pub(super) fn sum(c: &Connection) -> rusqlite::Result<Sum> {
    let mut statement = c.prepare(ENTRY)?;
    let mut rows = statement.query([])?;
    let mut sum = Sum::default();
    while let Some(row) = rows.next()? {
        sum = sum.plus_hash(hash(&entry(row)?));
    }
    Ok(sum)
}

/// Numbers of the events of a session, in order.
pub(super) fn places(c: &Connection, format: u32, session: &str) -> rusqlite::Result<Vec<i64>> {
    let of = match format {
        1 | 2 => "session_id = ?1",
        _ => "session = (SELECT id FROM sessions WHERE session_id = ?1)",
    };
    let mut statement =
        c.prepare_cached(&format!("SELECT id FROM events WHERE {of} ORDER BY seq"))?;
    let ids = statement.query_map([session], |r| r.get(0))?;
    ids.collect()
}

/// Keys whose value is not what its digest says, so many at most.
pub(super) fn damaged(c: &Connection, most: u32) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare(VALUE)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()?
        && found.len() < most as usize
    {
        let held = held(row)?;
        if !held.is_sound() {
            let StateEntry {
                tenant, tool, key, ..
            } = held.entry;
            found.push(format!("key `{key}` of tool {tool} of tenant {tenant}"));
        }
    }
    Ok(found)
}
