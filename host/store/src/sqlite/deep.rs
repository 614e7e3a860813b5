//! A look at everything in the file, for who verifies it: rows in, rows out, a page at a time.
//!
//! Invariants: nothing is written; a row that cannot be read is an answer and not a failure, so
//! that what is behind it is looked at too; no question takes more than the file is long.

use std::path::Path;

use rusqlite::{Connection, params};
use stoplog_journal::{ActKeyRow, Cipher, Dossier, Pruned, Retention, StateEntry, StoreError};
use stoplog_model::Digest;

use super::{SqliteStore, connection, feed, guard, keys, prune, read, state, wal};

/// Problems of one kind that are told at most: behind them there is no news.
const TOLD: u32 = 20;

/// Pages that one step gives back while shrinking: 4 MiB, so that a host waits shortly.
const SHRINK_PAGES: u32 = 1000;

/// How long the last checkpoint waits for others, milliseconds. Short: a host waits behind it.
const CHECKPOINT_PATIENCE_MS: u64 = 200;

/// How large the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The database and its log, bytes.
    pub bytes: u64,
    /// Pages of the database, free ones included.
    pub pages: u64,
    /// Pages that nothing is on.
    pub free_pages: u64,
}

/// Rows that belong to nothing, by what is wrong with them. Each gives a text.
const STRAYS: [(&str, &str); 4] = [
    (
        "events without a session",
        "SELECT DISTINCT session_id FROM events e
         WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = e.session_id {number})",
    ),
    (
        "an open intent without a session",
        "SELECT session_id || ', call ' || iteration || '.' || ordinal FROM open_intents o
         WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = o.session_id)",
    ),
    (
        "an act without a session",
        "SELECT session_id || ', ' || scope || ', ' || key FROM act_keys a
         WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = a.session_id {number})",
    ),
    (
        "a payload without use",
        "SELECT digest FROM payloads
         WHERE digest NOT IN (SELECT payload FROM events WHERE payload IS NOT NULL)",
    ),
];

impl SqliteStore {
    /// Format of the file: 1 has no chain.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// What is wrong with the file apart from what is in the sessions: SQLite's own check of every
    /// page and index, the write-ahead log, the sum over the keys of acts, rows that belong to
    /// nothing, payloads that are not what their digest says. Empty if nothing is.
    pub async fn deep_check(&self) -> Result<Vec<String>, StoreError> {
        let (path, format) = (self.path.clone(), self.format);
        self.query(move |c| Ok(problems(c, &path, format))).await
    }

    /// Names of sessions behind this one, in order, so many at most.
    pub async fn session_names(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let after = after.to_owned();
        self.query(move |c| {
            let mut statement = c.prepare_cached(
                "SELECT session_id FROM sessions WHERE session_id > ?1
                 ORDER BY session_id LIMIT ?2",
            )?;
            let names = statement.query_map(params![after, limit], |r| r.get(0))?;
            names.collect()
        })
        .await
    }

    /// Everything of a session, as of one moment.
    pub async fn dossier(&self, session: &str) -> Result<Dossier, StoreError> {
        let (session, format) = (session.to_owned(), self.format);
        let cipher = self.cipher.clone();
        self.query(move |c| {
            let transaction = c.unchecked_transaction()?;
            Ok(dossier(&transaction, (format, &cipher), &session))
        })
        .await?
    }

    /// Claims that were kept of pruned sessions, each with its place, behind a place (0 for the
    /// first), so many at most.
    pub async fn kept_act_keys(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, ActKeyRow)>, StoreError> {
        if self.format < 2 {
            return Ok(Vec::new());
        }
        let rows = self.query(move |c| read::kept_act_keys_after(c, after, limit));
        let mut found = rows.await?;
        for (_, row) in &mut found {
            // Given as it is stored: it is told where it is used.
            match keys::act_key(&self.cipher, row.clone()) {
                Ok(readable) => *row = readable,
                Err(StoreError::Corrupt(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// What tools keep, behind a place in the order of tenant, tool and key, so many keys at most.
    pub async fn state_entries(
        &self,
        after: (&str, &str, &str),
        limit: u32,
    ) -> Result<Vec<StateEntry>, StoreError> {
        if self.format < state::FIRST_FORMAT {
            return Ok(Vec::new());
        }
        let after = (after.0.to_owned(), after.1.to_owned(), after.2.to_owned());
        let cipher = self.cipher.clone();
        self.query(move |c| {
            let after = (&after.0[..], &after.1[..], &after.2[..]);
            state::entries(c, &cipher, after, limit)
        })
        .await
    }

    /// The number of the last event, and up to which one events are missing that may have deleted
    /// what a tool kept: they are pruned, or it was deleted by hand.
    pub async fn places(&self) -> Result<(i64, i64), StoreError> {
        self.query(|c| Ok((feed::highest(c)?, state::floor(c)?)))
            .await
    }

    /// What pruning by this rule would delete now.
    pub async fn prunable(&self, retention: &Retention) -> Result<Pruned, StoreError> {
        let (retention, format) = (retention.clone(), self.format);
        self.query(move |c| prune::count(c, format, &retention))
            .await
    }

    /// How large the file is.
    pub async fn size(&self) -> Result<Size, StoreError> {
        let path = self.path.clone();
        self.query(move |c| {
            let pragma = |name| c.pragma_query_value(None, name, |r| r.get::<_, u64>(0));
            let bytes_of = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
            Ok(Size {
                bytes: bytes_of(&path) + bytes_of(&wal::beside(&path)),
                pages: pragma("page_count")?,
                free_pages: pragma("freelist_count")?,
            })
        })
        .await
    }

    /// Gives all free pages back to the disk, in small commits, and empties the write-ahead log if
    /// nobody is in the way: a host beside waits a fraction of a second.
    pub async fn shrink(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let work = move || {
            let c = connection::open_for_writing(&path)?;
            shrink(&c).map_err(connection::write_error)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| StoreError::Unwritable(format!("the writer ended: {e}")))?
    }
}

fn shrink(c: &Connection) -> rusqlite::Result<()> {
    let free = || c.pragma_query_value(None, "freelist_count", |r| r.get::<_, u64>(0));
    let mut before = free()?;
    while before > 0 {
        prune::give_back(c, SHRINK_PAGES)?;
        let after = free()?;
        // A file that was made without incremental vacuum keeps its pages, for what comes.
        if after >= before {
            break;
        }
        before = after;
    }
    c.busy_timeout(std::time::Duration::from_millis(CHECKPOINT_PATIENCE_MS))?;
    // Its row says whether somebody was in the way: then the log is emptied later.
    c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Fails only for want of a key: all else that cannot be read is in the answer.
fn dossier(
    c: &Connection,
    (format, cipher): (u32, &Cipher),
    session: &str,
) -> Result<Dossier, StoreError> {
    let mut found = Dossier::default();
    let failed = |what: &str, e: rusqlite::Error| format!("{what} cannot be read: {e}");
    let mut unreadable = Vec::new();
    if let Err(e) = read::each_row(c, format, session, |row| found.rows.push(row)) {
        let next = found.rows.last().map_or(0, |r| r.seq) + 1;
        unreadable.push(failed(&format!("event {next}"), e));
    }
    let shut = found.rows.iter_mut().enumerate().find_map(|(at, row)| {
        let failed = row.decrypt(session, cipher).err()?;
        Some((at, failed))
    });
    if let Some((at, failed)) = shut {
        if let StoreError::Encrypted { .. } = failed {
            return Err(failed);
        }
        // It is before one that cannot be read at all.
        unreadable.insert(0, failed.to_string());
        found.rows.truncate(at);
    }
    match state::places(c, format, session) {
        Ok(places) => found.places = places,
        Err(e) => unreadable.push(failed("the order of its events", e)),
    }
    match read::listed(c, format, Some(session), false) {
        Ok(mut rows) => found.listed = rows.pop(),
        Err(e) => unreadable.push(failed("the session's own row", e)),
    }
    match lease_epoch(c, session) {
        Ok(epoch) => found.lease_epoch = epoch,
        Err(e) => unreadable.push(failed("the lease", e)),
    }
    match read::open_intents_of(c, session) {
        Ok(rows) => found.open_intents = rows,
        Err(e) => unreadable.push(failed("an open intent", e)),
    }
    match read::act_keys_of(c, format, session) {
        Ok(rows) => found.act_keys = rows.into_iter().filter(|a| a.kept.is_none()).collect(),
        Err(e) => unreadable.push(failed("a claim of an act", e)),
    }
    if format >= 2 {
        match read::snapshot(c, session) {
            Ok(None) => {}
            Ok(Some(row)) => match keys::snapshot(cipher, session, row) {
                Ok(row) => found.snapshot = Some(row),
                Err(e) => return Err(e),
            },
            Err(e) => unreadable.push(failed("the snapshot", e)),
        }
    }
    found.unreadable = unreadable;
    Ok(found)
}

/// Nought for a session that is not there.
fn lease_epoch(c: &Connection, session: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(lease_epoch), 0) FROM sessions WHERE session_id = ?1";
    c.prepare_cached(sql)?.query_row([session], |r| r.get(0))
}

fn problems(c: &Connection, path: &Path, format: u32) -> Vec<String> {
    let mut found = Vec::new();
    if let Err(e) = wal::check(path) {
        found.push(e.to_string());
    }
    let integrity = format!("PRAGMA integrity_check({TOLD})");
    match texts(c, &integrity) {
        Ok(lines) => found.extend(lines.into_iter().filter(|l| l != "ok")),
        Err(e) => found.push(format!("SQLite's integrity_check: {e}")),
    }
    if format >= 3
        && let Err(e) = guard::check(c)
    {
        found.push(e.to_string());
    }
    if format >= state::FIRST_FORMAT {
        if let Err(e) = guard::check_state(c) {
            found.push(e.to_string());
        }
        match state::damaged(c, TOLD) {
            Ok(keys) => found.extend(keys.into_iter().map(|k| format!("a damaged value: {k}"))),
            Err(e) => found.push(format!("what tools keep: {e}")),
        }
    }
    let snapshots = (
        "a snapshot without a session",
        "SELECT session_id FROM snapshots n
         WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = n.session_id)",
    );
    for (what, sql) in STRAYS.into_iter().chain((format >= 2).then_some(snapshots)) {
        // What was kept of a pruned session belongs to nothing else.
        let kept = match format >= 2 && sql.contains("act_keys") {
            true => "AND kept IS NULL",
            false => "",
        };
        let number = match (format, sql.contains("act_keys")) {
            (1 | 2, _) => "",
            (_, true) => "AND s.id = a.session",
            (_, false) => "AND s.id = e.session",
        };
        let sql = sql.replace("{number}", number);
        match texts(c, &format!("{sql} {kept} LIMIT {TOLD}")) {
            Ok(names) => found.extend(names.into_iter().map(|n| format!("{what}: {n}"))),
            Err(e) => found.push(format!("{what}: {e}")),
        }
    }
    if let Err(e) = payloads(c, &mut found) {
        found.push(format!("payloads: {e}"));
    }
    found
}

fn texts(c: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare(sql)?;
    let rows = statement.query_map([], |r| r.get(0))?;
    rows.collect()
}

fn payloads(c: &Connection, found: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut statement = c.prepare("SELECT digest, body FROM payloads")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, body): (String, String) = (row.get(0)?, row.get(1)?);
        if Digest::of(body.as_bytes()).as_str() != digest {
            found.push(format!("a payload is not what its digest says: {digest}"));
        }
    }
    Ok(())
}
