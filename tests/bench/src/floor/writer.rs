//! One thread that writes, and shares each commit among all that wait.

use std::path::Path;
use std::sync::mpsc;

use anyhow::Context;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use tokio::sync::oneshot;

/// As many as the product's writer takes into one commit.
const GROUP_COMMIT_MAX: usize = 256;

/// One row, its columns in the order of the table. `session`, `session_id` and `seq` are put in
/// anew.
#[derive(Debug, Clone)]
pub(crate) struct FloorRow(pub(crate) Vec<Value>);

/// The claim of an act: unique, or the commit fails.
pub(super) struct Claim {
    pub(super) key: String,
    pub(super) session: String,
}

struct Job {
    session: String,
    first_seq: u64,
    rows: Vec<FloorRow>,
    claim: Option<Claim>,
    reply: oneshot::Sender<Result<(), String>>,
}

/// The writer. Its thread ends when it is dropped.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Opens a file as it is.
pub(crate) fn open_plainly(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// Names of columns, with their types.
pub(super) type Columns = Vec<(String, String)>;

/// The columns of `events` but for its row id, with their types, and the rows of the session
/// that stands first.
pub(super) fn rows_of_first_session(c: &Connection) -> anyhow::Result<(Columns, Vec<FloorRow>)> {
    let columns: Columns = c
        .prepare("SELECT name, type FROM pragma_table_info('events') WHERE name <> 'id'")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let query = format!(
        "SELECT {} FROM events WHERE session_id = (SELECT min(session_id) FROM events)
         ORDER BY seq",
        names.join(", ")
    );
    let rows = c
        .prepare(&query)?
        .query_map([], |r| {
            (0..names.len())
                .map(|i| r.get(i))
                .collect::<Result<_, _>>()
                .map(FloorRow)
        })?
        .collect::<Result<_, _>>()?;
    Ok((columns, rows))
}

impl Writer {
    /// A new database with a table of these columns.
    pub(super) fn start(file: &Path, columns: &[(String, String)]) -> anyhow::Result<Writer> {
        let connection = open_plainly(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let described: Vec<String> = columns.iter().map(|(n, t)| format!("{n} {t}")).collect();
        connection.execute_batch(&format!(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, {}, UNIQUE (session, seq)) STRICT;
             CREATE TABLE acts (key TEXT PRIMARY KEY, session_id TEXT NOT NULL) WITHOUT ROWID;",
            described.join(", ")
        ))?;
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("floor-writer".to_owned())
            .spawn(move || run(&connection, &names, &inbox))?;
        Ok(Writer {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Comes back when the rows are on disk.
    pub(super) async fn append(
        &self,
        session: String,
        first_seq: u64,
        rows: Vec<FloorRow>,
        claim: Option<Claim>,
    ) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            session,
            first_seq,
            rows,
            claim,
            reply,
        };
        let jobs = self.jobs.as_ref().context("the writer is gone")?;
        jobs.send(job).ok().context("the writer ended")?;
        answer.await?.map_err(anyhow::Error::msg)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A session's number, which the floor has in its name.
fn number(session: &str) -> i64 {
    let digits = session.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or(0)
}

fn run(connection: &Connection, names: &[String], inbox: &mpsc::Receiver<Job>) {
    let places = vec!["?"; names.len()].join(", ");
    let insert = format!(
        "INSERT INTO events ({}) VALUES ({places})",
        names.join(", ")
    );
    let at = |name: &str| names.iter().position(|n| n == name).unwrap_or(0);
    let (number_at, session_at, seq_at) = (at("session"), at("session_id"), at("seq"));
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_COMMIT_MAX
            && let Ok(job) = inbox.try_recv()
        {
            group.push(job);
        }
        let write = |group: &mut [Job]| -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            for job in group {
                let mut statement = connection.prepare_cached(&insert)?;
                for (i, row) in job.rows.iter_mut().enumerate() {
                    row.0[number_at] = Value::Integer(number(&job.session));
                    row.0[session_at] = Value::Text(job.session.clone());
                    row.0[seq_at] = Value::Integer(job.first_seq as i64 + i as i64);
                    statement.execute(params_from_iter(&row.0))?;
                }
                if let Some(claim) = &job.claim {
                    connection
                        .prepare_cached("INSERT INTO acts VALUES (?1, ?2)")?
                        .execute(params![claim.key, claim.session])?;
                }
            }
            connection.execute_batch("COMMIT")
        };
        let result = write(&mut group).map_err(|e| e.to_string());
        for job in group {
            let _ = job.reply.send(result.clone());
        }
    }
}
