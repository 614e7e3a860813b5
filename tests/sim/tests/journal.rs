//! A session's journal over the real store: a commit that fails, and a snapshot that went bad.

use std::path::Path;
use std::sync::Arc;

use stoplog_journal::conformance::{batch, chained, row};
use stoplog_journal::session::SNAPSHOT_EVERY_EVENTS;
use stoplog_journal::{Lease, Opening, Part, SessionJournal, Store, read_one};
use stoplog_model::event::{Event, RunStarted, SessionStarted};
use stoplog_model::port::Unwatched;
use stoplog_model::{Session, SessionId, Tenant, TraceId};
use stoplog_sim::time::Time;
use stoplog_store::SqliteStore;
use stoplog_vfs::{Fault, Faults, Kind};

fn id() -> SessionId {
    SessionId::new("s").expect("id")
}

async fn lease(store: &SqliteStore) -> Lease {
    let leased = store.lease(&id(), "h", 0, 1000, true).await;
    leased.expect("a lease")
}

async fn seqs(store: &SqliteStore) -> Vec<u64> {
    let reading = read_one(store, &id(), Part::Whole).await.expect("read");
    reading.rows.iter().map(|r| r.seq).collect()
}

/// Told that it failed, and not there; and the store goes on with the next commit.
#[tokio::test]
async fn a_failed_commit_is_never_told_as_done() {
    for kind in [
        Kind::WriteFails,
        Kind::WriteFull,
        Kind::WriteShort,
        Kind::SyncFails,
        Kind::SyncLoses,
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let faults = Faults::below(dir.path()).expect("faults");
        let path = dir.path().join("journal.db");
        let store = SqliteStore::open(&path).expect("open");
        let epoch = lease(&store).await.epoch;
        let rows = chained("s", (1..=2).map(|n| row(n, epoch, "{}")).collect());
        let commit = |n: usize| store.append(batch("s", epoch, vec![rows[n].clone()]));
        commit(0).await.expect("the first");
        faults.arm(Fault::once(kind, 1));
        let told = commit(1).await;
        assert_eq!(faults.counts().failed, 1, "{kind:?} was not met");
        assert!(told.is_err(), "{kind:?} was told as done");
        assert_eq!(seqs(&store).await, [1], "{kind:?}");
        commit(1).await.expect("the store goes on");
        drop(store);
        let store = SqliteStore::open(&path).expect("open again");
        assert_eq!(seqs(&store).await, [1, 2], "{kind:?}");
    }
}

fn opening(path: &Path) -> Opening {
    Opening {
        store: Arc::new(SqliteStore::open(path).expect("open")),
        clock: Arc::new(Time::default()),
        watch: Arc::new(Unwatched),
        listeners: Vec::new(),
        holder: "h".into(),
        holders_are_dead: true,
    }
}

async fn reopened(path: &Path) -> Session {
    let journal = SessionJournal::open(opening(path), &id()).await;
    journal.expect("open").read(Session::clone)
}

/// A session of this many runs, in so many commits.
async fn written(path: &Path, runs: u64) {
    let started = SessionStarted {
        session: id(),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 5,
        tools: Vec::new(),
        client: None,
    };
    let journal = SessionJournal::create(opening(path), started).await;
    let journal = journal.expect("made");
    for _ in 0..runs {
        let run = RunStarted {
            trace_id: TraceId::new("a".repeat(32)).expect("id"),
            host: "first-host".into(),
            resumed_from: None,
            at_iteration: 1,
            after_crash: false,
            remote: None,
        };
        let told = journal.append(vec![Event::RunStarted(run)]).await;
        told.expect("a run");
    }
    journal.close().await.expect("closed");
}

/// A snapshot is a shortcut: changed by anybody, it is passed over, and the events are read.
#[tokio::test]
async fn a_damaged_snapshot_is_passed_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal.db");
    written(&path, SNAPSHOT_EVERY_EVENTS + 5).await;
    let before = reopened(&path).await;

    let c = rusqlite::Connection::open(&path).expect("open");
    let change = "UPDATE snapshots SET body = replace(body, 'first-host', 'other-host')
                  WHERE instr(body, 'first-host') > 0";
    assert_eq!(c.execute(change, []).expect("changed"), 1);
    drop(c);
    assert_eq!(reopened(&path).await, before);
}
