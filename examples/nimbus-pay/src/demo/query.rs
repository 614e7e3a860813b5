//! Questions to the host's journal, asked as anyone with `sqlite3` can ask them.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags, Row};

use super::folder::Folder;

/// What was observed in a session, in order.
pub(super) const TRANSITIONS_SQL: &str = "SELECT iteration, tool_name, idempotency_key, \
     result_summary FROM state_transitions WHERE session_id = 'sess_suresh' ORDER BY iteration";
/// The effects that are in doubt: sent, perhaps, and without an outcome.
pub(super) const INTENTS_SQL: &str =
    "SELECT iteration, key FROM open_intents WHERE session_id = 'sess_suresh'";
/// Where the last run of the session began.
const LAST_RUN_SQL: &str = "SELECT body ->> '$.at_iteration', body ->> '$.after_crash' \
     FROM events WHERE session_id = 'sess_suresh' AND kind = 'run_started' \
     ORDER BY seq DESC LIMIT 1";

/// One row of [`TRANSITIONS_SQL`].
pub(super) struct Transition {
    pub(super) iteration: i64,
    pub(super) tool: String,
    pub(super) key: String,
    summary: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            iteration,
            tool,
            key,
            summary,
        } = self;
        write!(f, "{iteration} | {tool} | {key} | {summary}")
    }
}

/// One row of [`INTENTS_SQL`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) iteration: i64,
    pub(super) key: String,
}

/// How a run began.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at_iteration: i64,
    pub(super) after_crash: bool,
}

/// The host's journal, opened to read.
pub(super) struct Journal(PathBuf);

impl Journal {
    pub(super) fn new(folder: &Folder) -> Self {
        Self(folder.file("data").join("journal.db"))
    }

    pub(super) fn transitions(&self) -> anyhow::Result<Vec<Transition>> {
        self.rows(TRANSITIONS_SQL, |row| {
            Ok(Transition {
                iteration: row.get(0)?,
                tool: row.get(1)?,
                key: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                summary: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
            })
        })
    }

    pub(super) fn open_intents(&self) -> anyhow::Result<Vec<Intent>> {
        self.rows(INTENTS_SQL, |row| {
            Ok(Intent {
                iteration: row.get(0)?,
                key: row.get(1)?,
            })
        })
    }

    pub(super) fn last_run(&self) -> anyhow::Result<Option<Run>> {
        let runs = self.rows(LAST_RUN_SQL, |row| {
            Ok(Run {
                at_iteration: row.get(0)?,
                after_crash: row.get(1)?,
            })
        })?;
        Ok(runs.into_iter().next())
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let ask = || -> rusqlite::Result<Vec<T>> {
            Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY)?
                .prepare(sql)?
                .query_map([], read)?
                .collect()
        };
        ask().with_context(|| format!("asking {}: {sql}", self.0.display()))
    }
}
