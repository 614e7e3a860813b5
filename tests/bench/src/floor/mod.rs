//! The floor: plain `rusqlite` doing the least that is correct.
//!
//! It does:
//! * write the same rows with the same bytes, taken from a run of the product before;
//! * make them durable in as few commits as the promise allows: one a read, two a write (the
//!   intent before the request leaves, the outcome behind it), WAL and `synchronous=FULL`;
//! * share commits among writers: one writer thread, the same number of sessions at once;
//! * keep one append table with a unique (session number, seq), and a table of claimed acts, so that
//!   two calls cannot do the same act;
//! * send the same request to the same far side, with the same HTTP client and kept connections;
//! * with [`Guest::Runs`]: run the guest in the product's sandbox, with a gate that does the above.
//!
//! It does not: encode, fold, judge, validate, vet, digest, lease, keep a table of sessions or of
//! open intents, isolate one session's error from another's, replay, recover, or ask a model.

mod client;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use rusqlite::types::Value;
use tokio::sync::Barrier;

use crate::host::Parts;
use crate::paced::{Pace, Round};
use crate::tools::Kind;

use client::Client;
pub(crate) use client::sandbox_round;
pub(crate) use writer::open_plainly;
use writer::{Claim, Columns, FloorRow, Writer};

/// What one call writes: the rows of each of its commits.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    kind: Kind,
    columns: Columns,
    commits: Vec<Vec<FloorRow>>,
}

impl Template {
    /// Takes the rows of one call out of a journal that the product wrote: the first session with
    /// `calls` calls of this kind, and in it the call in the middle.
    pub(crate) fn recorded(journal: &Path, kind: Kind, calls: u32) -> anyhow::Result<Template> {
        let connection = open_plainly(journal)?;
        let (columns, rows) = writer::rows_of_first_session(&connection)?;
        let kind_at = columns.iter().position(|(name, _)| name == "kind");
        let word = |row: &FloorRow| match kind_at.and_then(|at| row.0.get(at)) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let mut turns: Vec<Vec<FloorRow>> = Vec::new();
        for row in rows {
            if word(&row) == "turn_taken" {
                turns.push(Vec::new());
            }
            if let Some(turn) = turns.last_mut() {
                turn.push(row);
            }
        }
        anyhow::ensure!(
            turns.len() == calls as usize + 1,
            "{} turns in the recording, {calls} calls were made",
            turns.len()
        );
        let middle = turns.swap_remove(calls as usize / 2);
        let mut commits = vec![Vec::new()];
        for row in middle {
            let is_intent = word(&row) == "intent_recorded";
            if let Some(open) = commits.last_mut() {
                open.push(row);
            }
            if is_intent {
                commits.push(Vec::new());
            }
        }
        anyhow::ensure!(commits.len() == kind.least_commits() as usize);
        Ok(Template {
            kind,
            columns,
            commits,
        })
    }

    /// Bytes of text in the rows of one call.
    fn bytes(&self) -> usize {
        let text = |value: &Value| match value {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        let all = self.commits.iter().flatten();
        all.flat_map(|row| &row.0).map(text).sum()
    }

    /// Rows of one call.
    fn rows(&self) -> usize {
        self.commits.iter().map(Vec::len).sum()
    }
}

/// Whether the floor runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// No: the strict floor.
    Left,
    /// Yes, in the product's sandbox.
    Runs,
}

/// One floor, with its database.
pub(crate) struct Floor {
    template: Template,
    writer: Writer,
    client: Client,
    parts: Parts,
    counter: AtomicU64,
}

impl Floor {
    /// A floor with a new database in this file.
    pub(crate) fn new(parts: &Parts, file: &Path, template: Template) -> anyhow::Result<Floor> {
        Ok(Floor {
            writer: Writer::start(file, &template.columns)?,
            template,
            client: Client::new(parts.far)?,
            parts: parts.clone(),
            counter: AtomicU64::new(0),
        })
    }

    /// Rows of one call.
    pub(crate) fn rows(&self) -> usize {
        self.template.rows()
    }

    /// Bytes of text in the rows of one call.
    pub(crate) fn row_bytes(&self) -> usize {
        self.template.bytes()
    }

    /// Writes one of the commits of a call. `seq` is counted on.
    async fn commit(&self, which: usize, session: &str, act: &str, seq: u64) -> anyhow::Result<()> {
        let rows = self.template.commits[which].clone();
        let before: usize = self.template.commits[..which].iter().map(Vec::len).sum();
        let is_intent = which + 1 < self.template.commits.len();
        let claim = is_intent.then(|| Claim {
            key: format!("act_{act}"),
            session: session.to_owned(),
        });
        let first = seq + before as u64;
        self.writer
            .append(session.to_owned(), first, rows, claim)
            .await
    }

    /// One call.
    async fn call(&self, session: &str, name: &str, seq: u64) -> anyhow::Result<()> {
        match self.template.kind {
            Kind::Pure | Kind::Computes => {}
            Kind::Read | Kind::Waits => {
                self.client.look(name).await?;
            }
            Kind::Write => {
                self.commit(0, session, name, seq).await?;
                self.client.act(name).await?;
            }
        }
        let last = self.template.commits.len() - 1;
        self.commit(last, session, name, seq).await
    }

    /// So many sessions at once, each with so many calls.
    pub(crate) async fn round(
        self: &Arc<Floor>,
        guest: Guest,
        sessions: usize,
        calls: u32,
    ) -> anyhow::Result<Round> {
        let gate = Arc::new(Barrier::new(sessions));
        let mut tasks = Vec::with_capacity(sessions);
        let mut paces = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let n = self.counter.fetch_add(1, Ordering::Relaxed);
            let name = format!("f-{n:07}");
            let kind = self.template.kind;
            let pace = Arc::new(Pace::new(kind, name.clone(), calls, gate.clone()));
            paces.push(pace.clone());
            let floor = self.clone();
            tasks.push(tokio::spawn(async move {
                pace.gate.wait().await;
                for i in 0..calls {
                    pace.mark();
                    let act = pace.name(i);
                    let seq = u64::from(i) * floor.template.rows() as u64 + 1;
                    match guest {
                        Guest::Left => floor.call(&name, &act, seq).await?,
                        Guest::Runs => client::in_sandbox(&floor, &name, &act, seq).await?,
                    }
                }
                pace.mark();
                pace.gate.wait().await;
                anyhow::Ok(())
            }));
        }
        for done in try_join_all(tasks).await? {
            done?;
        }
        Ok(Round::of(&paces))
    }
}
