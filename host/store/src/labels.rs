//! What people say of sessions, in a file of its own: `labels.db`.
//!
//! Invariants: it is no projection, so nothing that is made anew touches it; a label is added and never
//! changed, and what was said is on disk before the command says so. The last one of a session counts.
//!
//! What may go wrong: the disk is full, or the file is damaged. Then nothing was said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

/// Version of the tables.
const VERSION: u32 = 1;

/// How long one command waits for another, milliseconds.
const BUSY_TIMEOUT_MS: u64 = 5000;

const SCHEMA: &str = "
    CREATE TABLE labels (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT    NOT NULL,
        at_ms      INTEGER NOT NULL,
        by         TEXT    NOT NULL,
        feedback   TEXT    NOT NULL,
        note       TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX labels_session ON labels (session_id);
    PRAGMA user_version = 1;";

/// What somebody said of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRow {
    /// The session.
    pub session_id: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub by: String,
    /// What.
    pub feedback: String,
    /// Why, in their words.
    pub note: String,
}

/// Why the labels cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelError(pub String);

impl std::fmt::Display for LabelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LabelError {}

/// The labels of a data directory.
pub struct LabelDb {
    path: PathBuf,
    connection: Connection,
}

impl LabelDb {
    /// Opens the file, and makes it if need be.
    pub fn open(path: &Path) -> Result<LabelDb, LabelError> {
        let open = || -> rusqlite::Result<(Connection, u32)> {
            let mut c = Connection::open(path)?;
            c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
            c.pragma_update(None, "synchronous", "FULL")?;
            c.pragma_update(None, "trusted_schema", "OFF")?;
            let t = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if version(&t)? == 0 {
                t.execute_batch(SCHEMA)?;
            }
            t.commit()?;
            let version = version(&c)?;
            Ok((c, version))
        };
        LabelDb::checked(path, open())
    }

    /// Opens the file to read. None if nobody has said anything yet.
    pub fn look(path: &Path) -> Result<Option<LabelDb>, LabelError> {
        if !path.exists() {
            return Ok(None);
        }
        let open = || -> rusqlite::Result<(Connection, u32)> {
            let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
            let version = version(&c)?;
            Ok((c, version))
        };
        LabelDb::checked(path, open()).map(Some)
    }

    fn checked(
        path: &Path,
        opened: rusqlite::Result<(Connection, u32)>,
    ) -> Result<LabelDb, LabelError> {
        match opened {
            Ok((connection, VERSION)) => Ok(LabelDb {
                path: path.to_owned(),
                connection,
            }),
            Ok((_, other)) => Err(LabelError(format!(
                "{} has version {other}; this program knows {VERSION}",
                path.display()
            ))),
            Err(e) => Err(LabelError(format!("{}: {e}", path.display()))),
        }
    }

    fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, LabelError> {
        result.map_err(|e| LabelError(format!("{}: {e}", self.path.display())))
    }

    /// Adds a label.
    pub fn add(&self, label: &LabelRow) -> Result<(), LabelError> {
        let added = self.connection.execute(
            "INSERT INTO labels (session_id, at_ms, by, feedback, note) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![label.session_id, label.at_ms, label.by, label.feedback, label.note],
        );
        self.told(added).map(|_| ())
    }

    /// The last label of each session.
    pub fn latest(&self) -> Result<BTreeMap<String, LabelRow>, LabelError> {
        let read = || -> rusqlite::Result<BTreeMap<String, LabelRow>> {
            let mut statement = self
                .connection
                .prepare("SELECT session_id, at_ms, by, feedback, note FROM labels ORDER BY id")?;
            let rows = statement.query_map([], |r| {
                Ok(LabelRow {
                    session_id: r.get(0)?,
                    at_ms: r.get(1)?,
                    by: r.get(2)?,
                    feedback: r.get(3)?,
                    note: r.get(4)?,
                })
            })?;
            // A later one takes the place of an earlier one.
            rows.map(|row| row.map(|label| (label.session_id.clone(), label)))
                .collect()
        };
        self.told(read())
    }

    /// Forgets all that was said of a session.
    pub fn forget(&self, session_id: &str) -> Result<u64, LabelError> {
        let deleted = self
            .connection
            .execute("DELETE FROM labels WHERE session_id = ?1", [session_id]);
        self.told(deleted).map(|n| n as u64)
    }
}

fn version(c: &Connection) -> rusqlite::Result<u32> {
    c.query_row("PRAGMA user_version", [], |r| r.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(feedback: &str, at_ms: u64) -> LabelRow {
        LabelRow {
            session_id: "s".into(),
            at_ms,
            by: "Meera".into(),
            feedback: feedback.into(),
            note: String::new(),
        }
    }

    #[test]
    fn the_last_word_counts_and_the_earlier_ones_stay() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("labels.db");
        assert!(
            LabelDb::look(&path).expect("look").is_none(),
            "a look makes nothing"
        );
        let labels = LabelDb::open(&path).expect("open");
        labels.add(&label("thumbs_up", 1)).expect("add");
        labels.add(&label("thumbs_down", 2)).expect("add");
        let looked = LabelDb::look(&path).expect("look").expect("there");
        assert_eq!(
            looked.latest().expect("latest")["s"],
            label("thumbs_down", 2)
        );
        assert!(
            looked.add(&label("thumbs_up", 3)).is_err(),
            "a look cannot write"
        );
        assert_eq!(labels.forget("s"), Ok(2));
        assert!(looked.latest().expect("latest").is_empty());
    }

    #[test]
    fn what_is_no_file_of_labels_is_told() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("labels.db");
        std::fs::write(
            &path,
            "no database, but as long as its header ought to be".repeat(9),
        )
        .expect("write");
        assert!(LabelDb::open(&path).is_err());
        std::fs::remove_file(&path).expect("remove");
        drop(LabelDb::open(&path).expect("open"));
        Connection::open(&path)
            .expect("open")
            .pragma_update(None, "user_version", 9)
            .expect("set");
        let error = LabelDb::open(&path).err().expect("newer");
        assert!(error.0.contains("version 9"), "{error}");
    }
}
