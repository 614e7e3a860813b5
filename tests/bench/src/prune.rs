//! The size of the journal when many events are written, and pruned again.
//!
//! Rows go through the store as they are: what is in them does not matter to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{StreamExt, TryStreamExt};
use stoplog_journal::{Batch, Head, Pruned, Retention, Row, Store, Upkeep, chain, store};
use stoplog_model::SessionId;
use stoplog_store::SqliteStore;

use crate::Bench;
use crate::report::{Goal, Measure};

/// Sessions that are written and pruned.
const SESSIONS: usize = 20_000;
/// Events of each: a million in all.
const EVENTS: usize = 50;
/// Sessions that are written at once, and so share commits.
const AT_ONCE: usize = 64;
/// Sessions that `stoplog prune` deletes in a commit.
const BATCH: u32 = 50;
/// Bytes of an event's body: about what a read of the benchmark has.
const BODY_BYTES: usize = 600;

/// Writes a million events, prunes them, and looks at the file.
pub(crate) async fn prune(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let path = bench.fresh_file("prune");
    let store = Arc::new(SqliteStore::open(&path)?);
    let began = Instant::now();
    write(&store).await?;
    let wrote = began.elapsed().as_secs_f64();
    let before = store.size().await?;
    let began = Instant::now();
    let (pruned, slowest) = delete(&store).await?;
    let deleted = began.elapsed().as_secs_f64();
    store.shrink().await?;
    let shrunk = began.elapsed().as_secs_f64();
    let after = store.size().await?;
    anyhow::ensure!(
        pruned.events == (SESSIONS * EVENTS) as u64,
        "{pruned:?} were deleted"
    );
    drop(store);
    let closed = bytes_of(&path);
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let alone = |name: &str, unit, value, goal| Measure::alone(name, unit, value, goal);
    Ok(vec![
        alone("prune: written", "s", wrote, Goal::Stated)
            .noted(format!("{SESSIONS} sessions of {EVENTS} events")),
        alone("prune: before", "MiB", mib(before.bytes), Goal::Stated),
        alone("prune: after", "MiB", mib(after.bytes), Goal::AtMost(1.0)).noted(format!(
            "{} pages, {} free; {closed} bytes when closed",
            after.pages, after.free_pages
        )),
        alone("prune: deleting", "s", deleted, Goal::Stated)
            .noted(format!("{:.1} s with giving the rest back", shrunk)),
        alone("prune: longest commit", "ms", slowest * 1e3, Goal::Stated)
            .noted("so long a host's commit may wait behind it"),
    ])
}

async fn write(store: &Arc<SqliteStore>) -> anyhow::Result<()> {
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(BODY_BYTES));
    futures::stream::iter(0..SESSIONS)
        .map(|n| one(store.clone(), n, body.clone()))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn one(store: Arc<SqliteStore>, n: usize, body: String) -> anyhow::Result<()> {
    let name = format!("s-{n:07}");
    let id = SessionId::new(name.clone())?;
    let lease = store.lease(&id, "bench", 0, 1000, false).await?;
    let mut last = chain::genesis(&name);
    let rows = (1..=EVENTS as u64).map(|seq| {
        let mut row = Row {
            seq,
            format: store::CLEAR_FORMAT,
            epoch: lease.epoch,
            at_ms: n as u64 + 1,
            kind: "call_started".into(),
            iteration: Some(1),
            ordinal: Some(0),
            tool: None,
            args_digest: None,
            key: None,
            summary: None,
            body: body.clone(),
            encrypted: None,
            chain: last,
        };
        row.chain = chain::link(&last, &row);
        last = row.chain;
        row
    });
    let batch = Batch {
        session: name,
        epoch: lease.epoch,
        rows: rows.collect(),
        head: Head {
            tenant: "acme".into(),
            user: "u".into(),
            feature: "f".into(),
            status: "ended".into(),
            trace_id: String::new(),
        },
        opened: Vec::new(),
        closed: Vec::new(),
        claims: Vec::new(),
        released: Vec::new(),
        state: Vec::new(),
        snapshot: None,
    };
    store.append(batch).await?;
    store.release(&lease).await?;
    Ok(())
}

/// Prunes everything. Gives the longest step too, in seconds.
async fn delete(store: &SqliteStore) -> anyhow::Result<(Pruned, f64)> {
    let rule = Retention {
        sessions_before_ms: u64::from(u32::MAX),
        keep_latest: 0,
        keys_before_ms: [0; 5],
        now_ms: u64::from(u32::MAX),
        batch: BATCH,
    };
    let (mut all, mut slowest) = (Pruned::default(), 0.0_f64);
    loop {
        let began = Instant::now();
        let step = store.prune(&rule).await?;
        slowest = slowest.max(began.elapsed().as_secs_f64());
        if step.is_nothing() {
            return Ok((all, slowest));
        }
        all.sessions += step.sessions;
        all.events += step.events;
        all.keys += step.keys;
    }
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}
