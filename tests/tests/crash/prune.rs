//! Kills while old sessions are deleted.
//!
//! Invariants: a session is there whole or not at all; what is left checks out against its chain;
//! and the key of an act of class 4 stays with its result, so the act is not done again.

use std::sync::Arc;

use anyhow::{Context, ensure};
use stoplog_journal::{Store, Which, load};
use stoplog_model::SessionId;
use stoplog_store::SqliteStore;
use stoplog_tests::{Said, World, bins, said};

/// Sessions that are over: more than one batch of the pruner, which has two.
const OVER: [&str; 3] = ["old_1", "old_2", "old_3"];

/// A session that waits for a person, and may not go.
const WAITS: &str = "waits";

/// Where the pruner dies, and how many sessions it has deleted by then.
const POINTS: [(&str, usize); 12] = [
    ("sessions_pruned:before:1", 0),
    ("sessions_pruned:after:1", 2),
    ("sessions_pruned:before:2", 2),
    ("sessions_pruned:after:2", 3),
    ("transaction_committed:before:1", 0),
    ("transaction_committed:after:1", 2),
    ("transaction_committed:before:2", 2),
    ("transaction_committed:after:2", 3),
    // The log is empty when a host has opened it: the first sync is that of its header.
    ("file_synced:before:1/transaction_committed:before:1", 0),
    ("file_synced:after:1/transaction_committed:before:1", 0),
    // The commit's frames are with the kernel by then, and a kill takes nothing from it.
    ("file_synced:before:2/transaction_committed:before:1", 2),
    ("file_synced:after:2/transaction_committed:before:1", 2),
];

fn run(world: &World, session: &str) -> anyhow::Result<Said> {
    world.host(&["run", "--tenant", "acme", "--session", session, "do it"])
}

/// Three sessions that did an act of class 4 each, and one that waits for approval.
fn world() -> anyhow::Result<World> {
    let world = World::new(bins!(), &["lookup", "paid"])?;
    let act = |name: &str| serde_json::json!({"tool": "paid", "arguments": {"name": name}});
    world.script_calls(&[vec![act("{{session}}")]])?;
    world.write_config("[tools.paid]\nclear_when = [\"name != 'waits'\"]\n")?;
    for session in OVER {
        let ended = run(&world, session)?;
        ensure!(ended.code == Some(0), "{ended:?}");
    }
    let waits = run(&world, WAITS)?;
    ensure!(waits.code == Some(3), "{waits:?}");
    Ok(world)
}

/// Prunes all that is over; dies at a point, if one is named.
fn prune(world: &World, at: Option<&str>) -> anyhow::Result<Option<i32>> {
    let mut pruner = world.command(&[]);
    let ever = u32::MAX as u64 * 1000;
    pruner.env("STOPLOG_PRUNE", format!("{ever},{ever},{ever}"));
    if let Some(at) = at {
        pruner.env("STOPLOG_DIE_AT", at);
    }
    Ok(said(pruner.output()?)?.code)
}

/// The sessions that are left, each checked against its chain.
fn left(world: &World) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&world.data_dir().join("journal.db"))?);
        let mut names = Vec::new();
        for row in store.sessions(Which::All).await? {
            let id = SessionId::new(row.session.clone())?;
            let (records, session) = load(&*store, &id).await?.context("a session")?;
            ensure!(records.len() as u64 == session.last_seq, "{id} is cut");
            names.push(row.session);
        }
        names.sort();
        Ok(names)
    })
}

fn check(at: &str, deleted: usize) -> anyhow::Result<()> {
    let world = world()?;
    ensure!(prune(&world, Some(at))?.is_none(), "it did not die");
    let names = left(&world)?;
    let kept = [&OVER[deleted..], &[WAITS]].concat();
    ensure!(names == kept, "left are {names:?}, not {kept:?}");
    for table in ["events", "snapshots", "sessions"] {
        let strays = world.sql(&format!(
            "SELECT DISTINCT session_id FROM {table} ORDER BY session_id"
        ))?;
        let strays: Vec<String> = strays.into_iter().flatten().collect();
        ensure!(
            strays.iter().all(|s| kept.contains(&s.as_str())),
            "{table} has {strays:?}"
        );
    }
    // The keys are all there: those of deleted sessions with their results.
    let bare = "SELECT count(*), sum(kept IS NOT NULL) FROM act_keys WHERE state = 'done'";
    let keys = world.sql(bare)?;
    ensure!(keys[0] == ["3".to_owned(), deleted.to_string()], "{keys:?}");

    ensure!(prune(&world, None)? == Some(0));
    ensure!(left(&world)? == [WAITS], "{:?}", left(&world)?);
    // The far side would do it again for anybody who asks. But a session that decides on the act
    // of a deleted one is told what came of it, also when it has that one's name.
    world.far.misbehave("forget_keys", 0, 0)?;
    let requests = world.far.counts("requests")?;
    for session in [OVER[0], "another"] {
        world.script(&[&[("paid", OVER[0])]])?;
        let again = run(&world, session)?;
        ensure!(again.code == Some(0), "{again:?}");
        let spans = world.spans()?;
        let told = spans
            .iter()
            .filter(|s| s["session_id"] == session && s["disposition"] == "deduplicated");
        ensure!(told.count() == 1, "{session} did not use the kept result");
    }
    ensure!(
        world.far.counts("requests")? == requests,
        "it was sent again"
    );
    Ok(())
}

#[test]
fn a_pruner_that_is_killed_leaves_whole_sessions_and_every_key() -> anyhow::Result<()> {
    for (at, deleted) in POINTS {
        check(at, deleted).with_context(|| at.to_owned())?;
    }
    Ok(())
}
