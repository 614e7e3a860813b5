//! Many sessions taken over at once, over the real store: each is as if it had been alone.

use std::path::Path;
use std::sync::Arc;

use stoplog_journal::session::SNAPSHOT_EVERY_EVENTS;
use stoplog_journal::{
    JournalError, Opening, SessionJournal, SessionRow, Store, Which, load, take_over,
};
use stoplog_model::event::{Event, RunStarted, SessionStarted};
use stoplog_model::port::Unwatched;
use stoplog_model::{Reason, SessionId, Tenant, TraceId};
use stoplog_sim::time::Time;
use stoplog_store::SqliteStore;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("id")
}

fn opening(store: &Arc<SqliteStore>, holder: &str, holders_are_dead: bool) -> Opening {
    Opening {
        store: store.clone(),
        clock: Arc::new(Time::default()),
        watch: Arc::new(Unwatched),
        listeners: Vec::new(),
        holder: holder.into(),
        holders_are_dead,
    }
}

fn run() -> Event {
    Event::RunStarted(RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "first-host".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    })
}

/// A store with sessions of these names and so many runs each, which nobody holds.
async fn written(path: &Path, runs: &[(&str, u64)]) -> Arc<SqliteStore> {
    let store = Arc::new(SqliteStore::open(path).expect("open"));
    for (name, runs) in runs {
        let started = SessionStarted {
            client: None,
            session: id(name),
            tenant: Tenant::new("acme").expect("id"),
            user: "u".into(),
            feature: "f".into(),
            task: "t".into(),
            system_prompt: String::new(),
            max_iterations: 5,
            tools: Vec::new(),
        };
        let journal = SessionJournal::create(opening(&store, "first", true), started).await;
        let journal = journal.expect("made");
        for _ in 0..*runs {
            journal.append(vec![run()]).await.expect("a run");
        }
        journal.close().await.expect("closed");
    }
    store
}

/// Every session, in the order of the names.
async fn listed(store: &SqliteStore) -> Vec<SessionRow> {
    let mut rows = store.sessions(Which::All).await.expect("sessions");
    rows.sort_by(|a, b| a.session.cmp(&b.session));
    rows
}

#[tokio::test]
async fn many_come_as_each_alone_and_can_be_written_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let long = SNAPSHOT_EVERY_EVENTS + 5;
    let runs = [("a", 1), ("b", long), ("c", 3), ("d", 0)];
    let store = written(&dir.path().join("journal.db"), &runs).await;
    let opening = opening(&store, "second", true);
    let taken = take_over(&opening, &listed(&store).await).await;
    for ((name, runs), taken) in runs.into_iter().zip(taken) {
        let taken = taken.expect("taken over");
        let (records, session) = load(&*store, &id(name))
            .await
            .expect("read")
            .expect("there");
        assert_eq!(taken.journal.read(|s| s.clone()), session, "{name}");
        // What a snapshot has left out is not told as all there is.
        let all = (runs < SNAPSHOT_EVERY_EVENTS).then_some(records);
        assert_eq!(taken.records, all, "{name}");
        taken.journal.append(vec![run()]).await.expect("its own");
        taken.journal.close().await.expect("closed");
    }
    let after: Vec<u64> = listed(&store).await.iter().map(|r| r.last_seq).collect();
    assert_eq!(after, [3, long + 2, 5, 2]);
}

/// One that is held, one with another text than was written, and one that is no event at all: each
/// is told, the held one stays with its holder, and the damaged ones are held by nobody.
#[tokio::test]
async fn who_cannot_be_taken_over_stands_in_nobodys_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal.db");
    let store = written(&path, &NAMES.map(|name| (name, 2))).await;
    let held = SessionJournal::open(opening(&store, "other", true), &id("a")).await;
    let held = held.expect("held");
    let c = rusqlite::Connection::open(&path).expect("open");
    for change in [
        "UPDATE events SET body = replace(body, 'first-host', 'other-host')
         WHERE session = (SELECT id FROM sessions WHERE session_id = 'b') AND seq = 2",
        "UPDATE events SET chain = x'00'
         WHERE session = (SELECT id FROM sessions WHERE session_id = 'c') AND seq = 3",
    ] {
        assert_eq!(c.execute(change, []).expect("changed"), 1);
    }
    drop(c);

    let taken = take_over(&opening(&store, "me", false), &listed(&store).await).await;
    let reasons: Vec<Option<Reason>> = taken
        .iter()
        .map(|taken| taken.as_ref().err().map(JournalError::reason))
        .collect();
    let corrupt = Some(Reason::JournalCorrupt);
    assert_eq!(
        reasons,
        [Some(Reason::SessionLeased), corrupt, corrupt, None]
    );
    let holders: Vec<Option<String>> = listed(&store)
        .await
        .into_iter()
        .map(|row| row.lease.map(|lease| lease.holder))
        .collect();
    let by = |name: &str| Some(name.to_owned());
    assert_eq!(holders, [by("other"), None, None, by("me")]);
    held.append(vec![run()]).await.expect("still its own");
}

/// A session that is gone when it is to be taken over is not made by that.
#[tokio::test]
async fn who_is_gone_is_not_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = written(&dir.path().join("journal.db"), &[("a", 1)]).await;
    let mut rows = listed(&store).await;
    rows[0].session = "gone".into();
    let taken = take_over(&opening(&store, "me", true), &rows).await.pop();
    let error = taken.expect("an answer").err().expect("an error");
    assert_eq!(error.reason(), Reason::SessionNotFound);
    assert_eq!(listed(&store).await.len(), 1);
    let found = SessionJournal::open(opening(&store, "me", true), &id("none")).await;
    assert!(matches!(found, Err(JournalError::NotFound(_))));
}
