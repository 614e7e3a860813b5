//! `prune`: deletes sessions that are over and old, in small commits, beside a running host.
//!
//! No lock is taken: a host that starts meanwhile must not be turned away. What is safe to delete
//! is judged in the commit that deletes it. Before a session goes, its spans are in the trace store,
//! where they stay for as long as `[retention] traces_days` says; `spans.jsonl` stays as it is.

use std::sync::Arc;

use serde_json::json;
use stoplog_journal::{Pruned, Retention, Store, Upkeep, Which};
use stoplog_model::SessionId;
use stoplog_model::port::Clock;
use stoplog_store::sqlite::Size;
use stoplog_store::{DataDir, LabelDb, SqliteStore, TraceDb};
use stoplog_telemetry::{Scope, TraceStore};

use super::Context;
use crate::args::Prune;
use crate::error::{CliError, Exit};
use crate::host::{self, SystemClock};
use crate::output;

/// Sessions that go in one commit: a host's commits wait for some milliseconds.
const BATCH: u32 = 50;

/// Spans that go in one step.
const SPANS: u32 = 1000;

/// How often progress is told, milliseconds.
const PROGRESS_EVERY_MS: u64 = 2000;

pub(super) async fn run(context: &Context, args: Prune) -> Result<Exit, CliError> {
    let config = context.config()?;
    let now_ms = SystemClock.now_ms();
    let before = |age_ms: u64| now_ms.saturating_sub(age_ms);
    let kept = &config.retention;
    let keys = before(kept.keys_ms);
    let rule = Retention {
        sessions_before_ms: before(args.older_than.unwrap_or(kept.sessions_ms)),
        keep_latest: args.keep_latest,
        keys_before_ms: [keys, keys, keys, keys, before(kept.audit_ms)],
        now_ms,
        batch: BATCH,
    };
    let looked = context.look().await?;
    if args.dry_run {
        let counted = looked.prunable(&rule).await?;
        return Ok(tell_dry_run(context, &counted));
    }
    drop(looked);
    let data = DataDir::unlocked(&config.data_dir)?;
    let store = SqliteStore::open_beside(
        &data.journal(),
        context.watch.clone(),
        context.keys().await?,
    )?;
    let store = Arc::new(store);
    let size = store.size().await?;
    let (traces, mut projector) = host::following(&config.data_dir, store.clone())?;
    projector.catch_up().await?;
    let pruned = prune(context, &store, &rule).await?;
    store.shrink().await?;
    let spans = prune_spans(&traces, before(kept.traces_ms)).await?;
    forget_labels(&data, &store, &traces).await?;
    for id in store.unneeded_keys().await? {
        output::note(format!(
            "nothing is encrypted with key {id} any more: [journal] old_encryption_keys may leave it out"
        ));
    }
    tell(context, &pruned, spans, &size, &store.size().await?);
    Ok(Exit::Ok)
}

/// Prunes until nothing is left that may go.
async fn prune(
    context: &Context,
    store: &SqliteStore,
    rule: &Retention,
) -> Result<Pruned, CliError> {
    let mut all = Pruned::default();
    let mut told_at_ms = rule.now_ms;
    loop {
        let step = store.prune(rule).await?;
        if step.is_nothing() {
            return Ok(all);
        }
        all.sessions += step.sessions;
        all.events += step.events;
        all.keys += step.keys;
        let now_ms = SystemClock.now_ms();
        if !context.json && now_ms.saturating_sub(told_at_ms) >= PROGRESS_EVERY_MS {
            told_at_ms = now_ms;
            output::note(format!("{} session(s) so far", all.sessions));
        }
    }
}

/// Spans that began before this time.
async fn prune_spans(traces: &TraceDb, before_ms: u64) -> Result<u64, CliError> {
    let mut all = 0;
    loop {
        match traces.prune(before_ms, SPANS).await? {
            0 => return Ok(all),
            spans => all += spans,
        }
    }
}

/// What people said of sessions goes when nobody knows the session any more.
async fn forget_labels(
    data: &DataDir,
    store: &SqliteStore,
    traces: &TraceDb,
) -> Result<(), CliError> {
    if LabelDb::look(&data.labels())?.is_none() {
        return Ok(());
    }
    let labels = LabelDb::open(&data.labels())?;
    for session in labels.latest()?.into_keys() {
        let Ok(id) = SessionId::new(session.clone()) else {
            continue;
        };
        let in_journal = !store.sessions(Which::One(&id)).await?.is_empty();
        if !in_journal && traces.spans(Scope::Session(&session)).await?.is_empty() {
            labels.forget(&session)?;
        }
    }
    Ok(())
}

fn tell_dry_run(context: &Context, counted: &Pruned) -> Exit {
    if context.json {
        output::json(&json!({
            "dry_run": true, "sessions": counted.sessions, "events": counted.events,
            "keys": counted.keys,
        }));
    } else {
        output::line(format!(
            "would delete {} session(s), {} event(s), {} key(s) of acts; nothing was deleted",
            counted.sessions, counted.events, counted.keys
        ));
    }
    Exit::Ok
}

fn tell(context: &Context, pruned: &Pruned, spans: u64, before: &Size, after: &Size) {
    let given_back = before.pages.saturating_sub(after.pages);
    if context.json {
        return output::json(&json!({
            "dry_run": false, "sessions": pruned.sessions, "events": pruned.events,
            "keys": pruned.keys, "spans": spans, "bytes_before": before.bytes, "bytes_after": after.bytes,
            "pages_given_back": given_back,
        }));
    }
    output::line(format!(
        "deleted {} session(s), {} event(s), {} key(s) of acts; {spans} old span(s)",
        pruned.sessions, pruned.events, pruned.keys
    ));
    output::line(format!(
        "journal with its log: {} bytes before, {} after; {given_back} page(s) given back",
        before.bytes, after.bytes
    ));
}
