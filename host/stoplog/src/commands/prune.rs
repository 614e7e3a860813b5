//! `prune`: deletes sessions that are over and old, in small commits, beside a running host.
//!
//! No lock is taken: a host that starts meanwhile must not be turned away. What is safe to delete
//! is judged in the commit that deletes it. `spans.jsonl` is a projection and stays as it is.

use serde_json::json;
use stoplog_journal::{Pruned, Retention, Upkeep};
use stoplog_model::port::Clock;
use stoplog_store::sqlite::Size;
use stoplog_store::{DataDir, SqliteStore};

use super::Context;
use crate::args::Prune;
use crate::error::{CliError, Exit};
use crate::host::{self, SystemClock};
use crate::output;

/// Sessions that go in one commit: a host's commits wait for some milliseconds.
const BATCH: u32 = 50;

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
    let looked = host::look(&config.data_dir)?;
    if args.dry_run {
        let counted = looked.prunable(&rule).await?;
        return Ok(tell_dry_run(context, &counted));
    }
    drop(looked);
    let data = DataDir::unlocked(&config.data_dir)?;
    let store = SqliteStore::open_watched(&data.journal(), context.watch.clone())?;
    let size = store.size().await?;
    let pruned = prune(context, &store, &rule).await?;
    store.shrink().await?;
    tell(context, &pruned, &size, &store.size().await?);
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

fn tell(context: &Context, pruned: &Pruned, before: &Size, after: &Size) {
    let given_back = before.pages.saturating_sub(after.pages);
    if context.json {
        return output::json(&json!({
            "dry_run": false, "sessions": pruned.sessions, "events": pruned.events,
            "keys": pruned.keys, "bytes_before": before.bytes, "bytes_after": after.bytes,
            "pages_given_back": given_back,
        }));
    }
    output::line(format!(
        "deleted {} session(s), {} event(s), {} key(s) of acts",
        pruned.sessions, pruned.events, pruned.keys
    ));
    output::line(format!(
        "journal with its log: {} bytes before, {} after; {given_back} page(s) given back",
        before.bytes, after.bytes
    ));
}
