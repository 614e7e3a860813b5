//! A world whose model is a provider, and what its journal and its spans say of it.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::Value;
use stoplog_journal::load;
use stoplog_model::SessionId;
use stoplog_model::event::Event;
use stoplog_model::session::Session;
use stoplog_store::SqliteStore;
use stoplog_tests::{World, bins};

use crate::provider::Plan;

/// A read, a write, and an answer.
pub(crate) fn read_and_write() -> Plan {
    Plan {
        turns: vec![vec![("lookup", "x")], vec![("keyed", "x")]],
        text_chars: 30,
    }
}

/// A world in which the tools of [`read_and_write`] are accepted.
pub(crate) fn world() -> anyhow::Result<World> {
    World::new(bins!(), &["lookup", "keyed"])
}

/// `[model]` of a provider of these tests. Waits are short: the machine has other things to do.
pub(crate) fn model(address: SocketAddr, more: &str) -> String {
    format!(
        "[model]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"first\"\n\
         input_usd_micros_per_million = 1000000\noutput_usd_micros_per_million = 2000000\n{more}\n\
         [model.retry]\nfirst_wait_ms = 1\n"
    )
}

/// Puts a model in the place of the script.
pub(crate) fn configure(world: &World, model: &str) -> anyhow::Result<()> {
    world.write_config("")?;
    let path = world.path().join("stoplog.toml");
    let text = fs::read_to_string(&path)?;
    let script = "[model]\nkind = \"scripted\"\nscript = \"script.json\"\n";
    ensure!(text.contains(script), "{text}");
    Ok(fs::write(&path, text.replace(script, model))?)
}

/// The events of session `s`, and their fold.
pub(crate) fn journal(world: &World) -> anyhow::Result<(Vec<Event>, Session)> {
    let store = SqliteStore::open_to_read(&world.data_dir().join("journal.db"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let loaded = runtime.block_on(load(&store, &SessionId::new("s")?))?;
    let (records, session) = loaded.context("the session")?;
    Ok((records.into_iter().map(|r| r.event).collect(), session))
}

/// How many events of a kind there are.
pub(crate) fn count(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|e| e.kind() == kind).count()
}

/// Micro-dollars: of the journal's runs, and of the spans. They are the same sum.
pub(crate) fn costs(world: &World) -> anyhow::Result<(u64, u64)> {
    let (_, session) = journal(world)?;
    let of_journal = session.runs.iter().map(|r| r.cost.0).sum();
    let spans = world.spans()?;
    let roots = spans.iter().filter(|s| s["span_kind"] == "final_response");
    let of_spans = roots.filter_map(|s| s["cost_total_micros"].as_u64()).sum();
    Ok((of_journal, of_spans))
}

/// Spans of a kind.
pub(crate) fn spans(world: &World, kind: &str) -> anyhow::Result<Vec<Value>> {
    let all = world.spans()?.into_iter();
    Ok(all.filter(|s| s["span_kind"] == kind).collect())
}
