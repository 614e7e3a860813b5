use std::sync::Arc;

use stoplog_journal::conformance::{batch, row, run_all};

use super::*;

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().expect("dir");
    let mut n = 0;
    run_all(|| {
        n += 1;
        let store = SqliteStore::open(&dir.path().join(format!("{n}.db"))).expect("open");
        Arc::new(store)
    })
    .await;
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("id")
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let store = SqliteStore::open(&path).expect("open");
    let lease = store
        .lease(&id("s"), "h", 0, 1000, false)
        .await
        .expect("lease");
    let rows = vec![row(1, lease.epoch, "1")];
    store
        .append(batch("s", lease.epoch, rows.clone()))
        .await
        .expect("append");
    drop(store);
    let store = SqliteStore::open(&path).expect("open again");
    assert_eq!(store.read(&id("s"), 1).await.expect("read"), rows);
}

#[test]
fn the_settings_are_read_back() {
    let dir = tempfile::tempdir().expect("dir");
    let c = connection::open_for_writing(&dir.path().join("j.db")).expect("open");
    let pragma = |name: &str| -> String {
        c.pragma_query_value(None, name, |r| {
            r.get::<_, String>(0)
                .or_else(|_| r.get::<_, i64>(0).map(|n| n.to_string()))
        })
        .expect("pragma")
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("synchronous"), "2");
    // An in-memory database has no WAL: it must be refused, and not taken as durable.
    assert!(matches!(
        connection::open_for_writing(Path::new(":memory:")),
        Err(StoreError::NotDurable(_))
    ));
}

#[tokio::test]
async fn a_newer_journal_and_a_damaged_one_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("newer.db");
    drop(SqliteStore::open(&path).expect("open"));
    let c = Connection::open(&path).expect("open");
    c.execute("UPDATE meta SET value = '2' WHERE name = 'format'", [])
        .expect("update");
    drop(c);
    let error = SqliteStore::open(&path).expect_err("newer");
    assert_eq!(error, StoreError::Newer { found: 2, known: 1 });

    let path = dir.path().join("garbage.db");
    std::fs::write(
        &path,
        "this is not a database, and long enough to look at".repeat(100),
    )
    .expect("write");
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::Corrupt(_))
    ));
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let store = SqliteStore::open(&path).expect("open");
    let refused = store
        .query(|c| {
            c.execute("INSERT INTO meta VALUES ('a', 'b')", [])
                .map(|_| ())
        })
        .await;
    assert!(refused.is_err());
}
