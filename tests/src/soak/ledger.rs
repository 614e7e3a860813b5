//! What the far sides really did, read from their files.

use std::path::Path;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

/// The acts of a session: tool, suffix of the name, start of the key, and how the key goes on for
/// each effect.
pub(super) const ACTS: [(&str, &str, &str, &[&str]); 7] = [
    ("keyed", "k", "act", &[""]),
    ("probed", "p", "act", &[""]),
    ("undoable", "u", "act", &[""]),
    ("pair", "d", "act", &["", ".second"]),
    ("paid", "f", "paid", &[""]),
    ("neither", "n", "act", &[""]),
    ("paid_probed", "q", "act", &[""]),
];

/// What was done under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deeds {
    /// All of it.
    pub(super) done: u64,
    /// What was not undone.
    pub(super) in_force: u64,
}

/// Both files.
pub(super) struct Ledgers {
    keyed: Connection,
    keyless: Connection,
}

impl Ledgers {
    pub(super) fn open(dir: &Path) -> anyhow::Result<Ledgers> {
        let open = |name: &str| -> anyhow::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            let connection = Connection::open_with_flags(dir.join(name), flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            Ok(connection)
        };
        Ok(Ledgers {
            keyed: open("far-side.db")?,
            keyless: open("forgetful.db")?,
        })
    }

    fn of(&self, tool: &str) -> &Connection {
        match super::KEYED.contains(&tool) {
            true => &self.keyed,
            false => &self.keyless,
        }
    }

    /// The keys of an act of a session, one for each effect.
    pub(super) fn keys(session: &str, tool: &str) -> anyhow::Result<Vec<String>> {
        let act = ACTS.iter().find(|(name, ..)| *name == tool);
        let (_, suffix, start, labels) = act.with_context(|| format!("{tool} does no acts"))?;
        let key = |label: &&str| format!("{start}_{session}_{suffix}{label}");
        Ok(labels.iter().map(key).collect())
    }

    /// What was done under a key of a tool.
    pub(super) fn deeds(&self, tool: &str, key: &str) -> anyhow::Result<Deeds> {
        let sql = "SELECT count(*), coalesce(sum(undone = 0), 0) FROM acts WHERE key = ?1";
        let mut statement = self.of(tool).prepare_cached(sql)?;
        Ok(statement.query_row([key], |r| {
            Ok(Deeds {
                done: r.get(0)?,
                in_force: r.get(1)?,
            })
        })?)
    }

    /// The number of the act in force under a key, as its answer has it.
    pub(super) fn act_id(&self, tool: &str, key: &str) -> anyhow::Result<Option<String>> {
        let sql = "SELECT id FROM acts WHERE key = ?1 AND undone = 0 LIMIT 1";
        let mut statement = self.of(tool).prepare_cached(sql)?;
        let id = statement.query_row([key], |r| r.get::<_, i64>(0));
        Ok(id.optional()?.map(|id| format!("act_{id}")))
    }

    /// Acts of this name under any key but these.
    pub(super) fn strays(&self, tool: &str, name: &str, keys: &[String]) -> anyhow::Result<u64> {
        // Acts of one name lie close together: the newest ten thousand are enough to look at.
        let sql = "SELECT count(*) FROM acts
                   WHERE id > (SELECT coalesce(max(id), 0) - 10000 FROM acts) AND name = ?1
                     AND key IS NOT ?2 AND key IS NOT ?3";
        let mut statement = self.of(tool).prepare_cached(sql)?;
        let second = keys.get(1).or(keys.first());
        Ok(statement.query_row(params![name, keys.first(), second], |r| r.get(0))?)
    }
}
