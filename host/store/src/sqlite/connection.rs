//! Opening the file, with its settings set and read back.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use stoplog_journal::{Link, StoreError, chain};

use super::{guard, read, wal};

/// Version of the tables. Format 1 had no chain, no snapshots and no guards; format 2 had indices over
/// names and keys in the place of numbers and hashes; format 3 kept no state of tools. A host that opens such a file brings it up to
/// date, in one transaction.
pub const FORMAT: u32 = 4;

/// How long a writer waits for another process's commit, milliseconds. Five seconds: an
/// operator's command holds the lock for one commit.
pub const BUSY_TIMEOUT_MS: u64 = 5000;

/// The WAL file is cut back to this size when it is checkpointed: 64 MiB, so that one burst does
/// not keep the disk for ever.
pub const WAL_SIZE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Pages in the WAL file after which it is written into the database: 16 MiB. Four times SQLite's
/// own number, because the pages of a busy session are in it again and again, and are written once.
const CHECKPOINT_PAGES: u32 = 4096;

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_3: &str = include_str!("format-3.sql");
const SCHEMA_4: &str = include_str!("format-4.sql");

/// Opens the file for writing, after a look into its log: makes it if need be, sets what makes it
/// durable, reads that back.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    wal::check(path)?;
    open_again(path)
}

/// The same without the look, for a store that has the file open already. The look opens and
/// closes the file beside SQLite, and on unix that ends the locks of this process on it: another
/// process could then take itself for the last one, and delete the log under our readers.
pub(super) fn open_again(path: &Path) -> Result<Connection, StoreError> {
    let is_new = !path.exists();
    let connection = Connection::open(path).map_err(|e| open_error(path, &e))?;
    let prepare = |c: &Connection| -> rusqlite::Result<()> {
        c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        // Counts for a new file alone: pruning can then give pages back to the disk.
        c.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        c.pragma_update(None, "journal_mode", "WAL")?;
        c.pragma_update(None, "synchronous", "FULL")?;
        c.pragma_update(None, "foreign_keys", "ON")?;
        c.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        c.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT_BYTES)?;
        c.pragma_update(None, "trusted_schema", "OFF")
    };
    prepare(&connection).map_err(|e| open_error(path, &e))?;
    read_back(&connection)?;
    make_schema(&connection).map_err(|e| open_error(path, &e))?;
    check_format(&connection)?;
    if is_new {
        sync_directory(path)?;
    }
    Ok(connection)
}

/// The settings that the promise rests on, as SQLite has them, and not as they were asked for.
fn read_back(connection: &Connection) -> Result<(), StoreError> {
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |r| r.get(0))
        .map_err(read_error)?;
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |r| r.get(0))
        .map_err(read_error)?;
    const FULL: i64 = 2;
    if !mode.eq_ignore_ascii_case("wal") || synchronous != FULL {
        return Err(StoreError::NotDurable(format!(
            "journal_mode is {mode} and synchronous is {synchronous}; wal and 2 (FULL) are needed"
        )));
    }
    Ok(())
}

/// Makes the tables of a new file, or brings an older one up to date: all or nothing.
fn make_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let there: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'",
            [],
            |r| r.get(0),
        )
        .optional()?;
    if there.is_none() {
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(SCHEMA_3)?;
        connection.execute_batch(SCHEMA_4)?;
        guard::begin(connection)?;
    } else {
        match stored_format(connection)?.as_str() {
            "1" => upgrade(connection, 1)?,
            "2" => upgrade(connection, 2)?,
            _ => {}
        }
        if matches!(stored_format(connection)?.as_str(), "3") {
            connection.execute_batch(SCHEMA_4)?;
        }
    }
    connection.execute_batch("COMMIT")
}

/// Events that no session is listed for: copying would leave them behind.
const STRAY_EVENTS: &str = "SELECT count(*) FROM events e
    WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = e.session_id)";

fn damaged(why: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(why))
}

/// Copies what is there into the tables of format 3, and links the events that have no links. A file
/// with events that belong to nothing, or with claims that are not those that were written, stays as
/// it is: `verify` says what is wrong with it.
fn upgrade(c: &Connection, from: u32) -> rusqlite::Result<()> {
    let strays: u64 = c.query_row(STRAY_EVENTS, [], |r| r.get(0))?;
    if strays > 0 {
        let why = format!("{strays} events of format {from} belong to no session");
        return Err(damaged(why));
    }
    if from == 2 {
        c.execute_batch(
            "DROP INDEX sessions_unfinished; DROP INDEX sessions_over; DROP INDEX act_keys_kept;
             DROP INDEX act_keys_session; DROP INDEX events_payload;",
        )?;
    }
    c.execute_batch(
        "DROP VIEW state_transitions;
         ALTER TABLE events RENAME TO events_old;
         ALTER TABLE sessions RENAME TO sessions_old;
         ALTER TABLE act_keys RENAME TO act_keys_old;",
    )?;
    c.execute_batch(SCHEMA_3)?;
    // A class that is not known counts as 4, and such a claim is as old as its session. A claim that
    // was kept of a pruned session is not that of a later one with its name.
    let (chain, chain_of_event, claim, own) = match from {
        1 => (
            "NULL",
            "NULL",
            "4, coalesce(s.updated_at_ms, 0), NULL",
            "true",
        ),
        _ => (
            "chain",
            "e.chain",
            "a.class, a.at_ms, a.kept",
            "a.kept IS NULL",
        ),
    };
    c.execute_batch(&format!(
        "INSERT INTO sessions (session_id, tenant_id, user_id, feature, status, trace_id, last_seq,
                               updated_at_ms, lease_holder, lease_epoch, lease_expires_ms, chain)
         SELECT session_id, tenant_id, user_id, feature, status, trace_id, last_seq,
                updated_at_ms, lease_holder, lease_epoch, lease_expires_ms, {chain}
         FROM sessions_old ORDER BY rowid;
         INSERT INTO events (id, session, session_id, seq, format, epoch, at_ms, kind, iteration,
                             ordinal, tool, args_digest, key, summary, body, payload, chain)
         SELECT e.id, s.id, e.session_id, e.seq, e.format, e.epoch, e.at_ms, e.kind, e.iteration,
                e.ordinal, e.tool, e.args_digest, e.key, e.summary, e.body, e.payload, {chain_of_event}
         FROM events_old e JOIN sessions s ON s.session_id = e.session_id ORDER BY e.id;
         INSERT INTO act_keys (hash, scope, key, tool, session, session_id, iteration, ordinal,
                               args_digest, state, seq, class, at_ms, kept)
         SELECT 0, a.scope, a.key, a.tool, coalesce(s.id, 0), a.session_id, a.iteration, a.ordinal,
                a.args_digest, a.state, a.seq, {claim}
         FROM act_keys_old a LEFT JOIN sessions s ON s.session_id = a.session_id AND {own};
         DROP TABLE act_keys_old;
         DROP TABLE events_old;
         DROP TABLE sessions_old;"
    ))?;
    guard::hash_all(c)?;
    if from == 2 {
        return match guard::holds(c)? {
            true => Ok(()),
            false => Err(damaged(
                "the keys of acts are not those that were written".into(),
            )),
        };
    }
    link_all(c)?;
    guard::begin(c)
}

/// Links the events of every session.
fn link_all(c: &Connection) -> rusqlite::Result<()> {
    let mut names = c.prepare("SELECT session_id FROM sessions WHERE last_seq > 0")?;
    let names: Vec<String> = names
        .query_map([], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for session in names {
        let mut last: Link = chain::genesis(&session);
        for row in read::rows_without_links(c, &session)? {
            last = chain::link(&last, &row);
            c.prepare_cached(
                "UPDATE events SET chain = ?3 WHERE seq = ?2
                 AND session = (SELECT id FROM sessions WHERE session_id = ?1)",
            )?
            .execute(params![session, row.seq, last])?;
        }
        c.prepare_cached("UPDATE sessions SET chain = ?2 WHERE session_id = ?1")?
            .execute(params![session, last])?;
    }
    Ok(())
}

fn stored_format(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE name = 'format'", [], |r| {
        r.get(0)
    })
}

/// The format of the file; refused when it is newer than this program.
pub(super) fn check_format(connection: &Connection) -> Result<u32, StoreError> {
    let text = stored_format(connection).map_err(read_error)?;
    match text.parse::<u32>() {
        Ok(found @ 1..=FORMAT) => Ok(found),
        Ok(found) if found > FORMAT => Err(StoreError::Newer {
            found,
            known: FORMAT,
        }),
        _ => Err(StoreError::Corrupt(format!("its format is `{text}`"))),
    }
}

/// A quick look over every page, about a fifth of the time of a full check, and over the keys of
/// acts.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection
        .pragma_query_value(None, "quick_check", |r| r.get(0))
        .map_err(read_error)?;
    if found != "ok" {
        return Err(StoreError::Corrupt(found));
    }
    match check_format(connection)? {
        // Compared when the file is brought up to date.
        1 | 2 => Ok(()),
        3 => guard::check(connection),
        _ => guard::check(connection).and_then(|()| guard::check_state(connection)),
    }
}

/// Opens the file for looking: nothing can be written through it. When it is closed, a log that
/// was there stays as it is, for a host to judge: putting a damaged one into the file would make
/// its damage the truth.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let has_log = std::fs::metadata(wal::beside(path)).is_ok_and(|m| m.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| open_error(path, &e))?;
    let prepare = |c: &Connection| {
        c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        c.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
        c.pragma_update(None, "query_only", "ON")
    };
    prepare(&connection).map_err(|e| open_error(path, &e))?;
    Ok(connection)
}

/// Writes the log that a host left into the database, and syncs that. Some file systems show what a
/// failed sync has lost until the machine goes down: the host before may have stopped at such a
/// commit, and nothing may be built on it before it is on the disk by another way. Passive: with
/// nobody else there it writes all of the log, and beside a host it makes nobody wait.
pub(super) fn settle_log(connection: &Connection) -> Result<(), StoreError> {
    let settle = "PRAGMA wal_checkpoint(PASSIVE)";
    connection
        .query_row(settle, [], |_| Ok(()))
        .map_err(write_error)
}

/// A new file is there for good only when its directory says so.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| StoreError::NotDurable(format!("{}: {e}", directory.display())))
}

fn open_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Corrupt(text),
        _ => StoreError::Unwritable(text),
    }
}

/// What a failed read means. A disk or a file that cannot be worked with now is no damage: nobody
/// should restore a backup because files ran out, or somebody else held a lock.
pub(super) fn read_error(error: rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => StoreError::Unwritable(text),
        _ => StoreError::Corrupt(text),
    }
}

/// What a failed write means.
pub(super) fn write_error(error: rusqlite::Error) -> StoreError {
    StoreError::Unwritable(error.to_string())
}
