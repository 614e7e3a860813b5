//! A database whose transactions can be checked from outside.
//!
//! Commit n adds rows of n on several pages, changes an old row, and counts itself in another
//! table. Half of it, or a gap in the sequence, is visible.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use stoplog_vfs::Image;

/// Rows of one commit: with their payload, more than a page.
const ROWS: u64 = 3;

/// Bytes of one row's payload.
const PAYLOAD: usize = 1_800;

pub(crate) const FILE: &str = "ledger.db";

/// How the database is to be kept.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) journal: &'static str,
    pub(crate) synchronous: &'static str,
}

pub(crate) const WAL_FULL: Mode = Mode {
    journal: "WAL",
    synchronous: "FULL",
};

/// Opens through the default VFS, as the product does. A new file gets its tables.
pub(crate) fn open(dir: &Path, mode: Mode) -> rusqlite::Result<Connection> {
    stoplog_vfs::install();
    let c = Connection::open(dir.join(FILE))?;
    c.pragma_update(None, "journal_mode", mode.journal)?;
    c.pragma_update(None, "synchronous", mode.synchronous)?;
    // Checkpoints every few commits, and a WAL that is cut off: both belong to what is tested.
    c.pragma_update(None, "wal_autocheckpoint", 24)?;
    c.pragma_update(None, "journal_size_limit", 40_000)?;
    c.execute_batch(
        "BEGIN;
         CREATE TABLE IF NOT EXISTS line (n INTEGER, side INTEGER, payload BLOB);
         CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, commits INTEGER);
         INSERT OR IGNORE INTO total VALUES (1, 0);
         COMMIT;",
    )?;
    Ok(c)
}

pub(crate) fn commit(c: &mut Connection, n: u64) -> rusqlite::Result<()> {
    let tx = c.transaction()?;
    let byte = u8::try_from(n % 251).expect("a byte");
    for side in 0..ROWS {
        let payload = vec![byte; PAYLOAD];
        tx.execute(
            "INSERT INTO line VALUES (?, ?, ?)",
            params![n, side, payload],
        )?;
    }
    let again = vec![byte; PAYLOAD];
    tx.execute(
        "UPDATE line SET payload = ? WHERE n = ?",
        params![again, n / 2],
    )?;
    tx.execute("UPDATE total SET commits = commits + 1", [])?;
    tx.commit()
}

/// What is wrong with a database.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Not a sound database, or half a transaction.
    Broken(String),
    /// Sound, and a commit is missing that was acknowledged.
    Lost(u64),
}

impl From<rusqlite::Error> for Damage {
    fn from(e: rusqlite::Error) -> Self {
        Damage::Broken(e.to_string())
    }
}

/// The commits that an image shows, if it is sound and has all that were acknowledged.
///
/// Mark 0 stands for the tables.
pub(crate) fn check_image(image: &Image) -> Result<BTreeSet<u64>, Damage> {
    let dir = tempfile::tempdir().expect("a directory");
    image.write_to(dir.path()).expect("written");
    check(dir.path(), &image.marks)
}

/// The commits in the database of `dir`, opened through the plain VFS.
pub(crate) fn check(dir: &Path, marks: &BTreeSet<u64>) -> Result<BTreeSet<u64>, Damage> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let c = Connection::open_with_flags_and_vfs(dir.join(FILE), flags, c"unix")?;
    c.pragma_update(None, "synchronous", "OFF")?;
    let sound: String = c.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
    if sound != "ok" {
        return Err(Damage::Broken(sound));
    }
    let tables: u64 = c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        return marks
            .first()
            .map_or(Ok(BTreeSet::new()), |n| Err(Damage::Lost(*n)));
    }
    let commits: u64 = c.query_row("SELECT commits FROM total", [], |r| r.get(0))?;
    let mut lines = c.prepare("SELECT n, count(*) FROM line GROUP BY n ORDER BY n")?;
    let lines = lines.query_map([], |r| Ok((r.get::<_, u64>(0)?, r.get::<_, u64>(1)?)))?;
    let lines: Vec<(u64, u64)> = lines.collect::<Result<_, _>>()?;
    if let Some((n, rows)) = lines.iter().find(|(_, rows)| *rows != ROWS) {
        return Err(Damage::Broken(format!("{rows} rows of commit {n}")));
    }
    let shown: BTreeSet<u64> = lines.iter().map(|(n, _)| *n).collect();
    if u64::try_from(shown.len()).expect("64 bits") != commits {
        return Err(Damage::Broken(format!(
            "{commits} counted, {shown:?} shown"
        )));
    }
    match marks.iter().find(|n| **n > 0 && !shown.contains(n)) {
        Some(lost) => Err(Damage::Lost(*lost)),
        None => Ok(shown),
    }
}
