use std::path::Path;
use std::sync::Arc;

use stoplog_journal::cipher::KEY_BYTES;
use stoplog_journal::conformance::{batch, chained, row, run_all, run_feed, run_upkeep};
use stoplog_journal::store::ENCRYPTED_FORMAT;
use stoplog_journal::{CipherKey, Cursor, Feed, Part, Portion, Retention, Store, Upkeep, read_one};
use stoplog_model::SessionId;
use stoplog_model::port::Unwatched;
use stoplog_model::state::{StateAsk, StateSeen, Value, value_digest};

use super::super::SqliteStore;
use stoplog_journal::Row;

use super::*;

const SECRET: &str = "priya@example.com";

fn key(byte: u8) -> CipherKey {
    CipherKey::new(&[byte; KEY_BYTES])
}

fn with(current: u8, older: &[u8]) -> Cipher {
    Cipher::new(Some(key(current)), older.iter().map(|b| key(*b)).collect())
}

fn open(path: &Path, cipher: Cipher) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_watched(path, Arc::new(Unwatched), cipher)
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("id")
}

/// The rows as a journal over this store would write them.
fn encrypted(store: &SqliteStore, session: &str, rows: Vec<Row>) -> Vec<Row> {
    let seal = |mut row: Row| {
        let place = Place::Event(session, row.seq);
        row.encrypted = store.cipher().encrypt(place, &row.body).expect("encrypt");
        if row.encrypted.is_some() {
            row.format = ENCRYPTED_FORMAT;
        }
        row
    };
    chained(session, rows.into_iter().map(seal).collect())
}

/// Three events, the last one large, with a snapshot, a claim that is done, and a value.
async fn write(store: &SqliteStore, session: &str) -> Vec<Row> {
    let lease = store.lease(&id(session), "h", 0, 1000, true).await;
    let epoch = lease.as_ref().expect("lease").epoch;
    let large = format!("{{\"{SECRET}\":\"{}\"}}", "x".repeat(70_000));
    let bodies = [format!("{{\"a\":\"{SECRET}\"}}"), "{}".into(), large];
    let rows = (1..).zip(&bodies).map(|(n, body)| row(n, epoch, body));
    let rows = encrypted(store, session, rows.collect());
    let mut all = batch(session, epoch, rows.clone());
    let body = format!("{{\"frozen\":\"{SECRET}\"}}");
    all.snapshot = Some(SnapshotRow {
        seq: 3,
        format: 1,
        chain: rows[2].chain,
        seal: chain::seal(&rows[2].chain, &body),
        body,
    });
    all.head.status = "ended".into();
    all.claims = vec![ActKeyRow {
        scope: "acme".into(),
        key: format!("refund_{session}"),
        tool: "t".into(),
        session: session.into(),
        iteration: 1,
        ordinal: 0,
        args_digest: "d".into(),
        state: stoplog_journal::ActKeyState::Done,
        seq: 1,
        class: 4,
        at_ms: 9_999_999,
        kept: None,
    }];
    all.state = vec![StateRow {
        tenant: "acme".into(),
        tool: "t".into(),
        key: session.into(),
        value: Some(SECRET.into()),
        seq: 2,
        at_ms: 9,
    }];
    store.append(all).await.expect("append");
    store
        .release(&lease.expect("lease"))
        .await
        .expect("release");
    rows
}

/// Every byte of the file and its log.
fn bytes(path: &Path) -> Vec<u8> {
    let log = std::fs::read(super::super::wal::beside(path)).unwrap_or_default();
    [std::fs::read(path).expect("the file"), log].concat()
}

fn has_secret(path: &Path) -> bool {
    let found = bytes(path);
    found.windows(SECRET.len()).any(|w| w == SECRET.as_bytes())
}

fn missing(byte: u8) -> StoreError {
    let keys = vec![key(byte).id().clone()];
    StoreError::Encrypted { keys }
}

fn all_but_keys() -> Retention {
    Retention {
        sessions_before_ms: 5000,
        keep_latest: 0,
        keys_before_ms: [5000; 5],
        now_ms: 5000,
        batch: 50,
    }
}

async fn value(store: &SqliteStore, of: &str) -> Option<Vec<u8>> {
    use stoplog_journal::States;
    let ask = StateAsk::Value(of.into());
    match store.state("acme", "t", &ask).await.expect("state") {
        StateSeen::Value { value, .. } => value.map(|Value(bytes)| bytes),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn conforms_with_a_key() {
    let dir = tempfile::tempdir().expect("dir");
    let mut n = 0;
    let mut fresh = || {
        n += 1;
        Arc::new(open(&dir.path().join(format!("{n}.db")), with(1, &[])).expect("open"))
    };
    run_all(&mut fresh).await;
    run_upkeep(&mut fresh).await;
    run_feed(&mut fresh).await;
}

/// Without a key the search finds it: with one, everything comes back, and no byte of it is there.
#[tokio::test]
async fn what_is_written_comes_back_and_is_nowhere_in_the_file() {
    let dir = tempfile::tempdir().expect("dir");
    let clear = dir.path().join("clear.db");
    write(&open(&clear, Cipher::none()).expect("open"), "s").await;
    assert!(has_secret(&clear));

    let path = dir.path().join("journal.db");
    let store = open(&path, with(1, &[])).expect("open");
    let rows = write(&store, "s").await;
    assert!(!has_secret(&path));
    let whole = read_one(&store, &id("s"), Part::Whole).await.expect("read");
    assert_eq!(whole.rows, rows);
    let tail = read_one(&store, &id("s"), Part::Tail).await.expect("read");
    let frozen = tail.snapshot.expect("a snapshot");
    assert!(frozen.body.contains(SECRET) && chain::is_sealed(&frozen));
    let portion = Portion {
        rows: 9,
        bytes: 1 << 30,
    };
    let fed = store.feed(&Cursor::default(), portion).await.expect("feed");
    let fed: Vec<Row> = fed
        .expect("ours")
        .rows
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    assert_eq!(fed, rows);
    let dossier = store.dossier("s").await.expect("dossier");
    assert_eq!((dossier.rows, dossier.unreadable), (rows, Vec::new()));
    assert_eq!(value(&store, "s").await, Some(SECRET.into()));
    let entries = store.state_entries(("", "", ""), 9).await.expect("entries");
    assert_eq!(entries[0].digest, value_digest(SECRET.as_bytes()));
    assert_eq!(entries[0].bytes, SECRET.len() as u64);
    assert_eq!(store.deep_check().await.expect("check"), [""; 0]);

    // What is kept of a pruned session is as shut as it was in it.
    store.prune(&all_but_keys()).await.expect("prune");
    let kept = store.act_key("acme", "refund_s").await.expect("the act");
    let kept = kept.and_then(|row| row.kept).expect("its result");
    assert!(kept.contains(SECRET), "{kept}");
    assert_eq!(
        store.kept_act_keys(0, 9).await.expect("kept")[0].1.kept,
        Some(kept)
    );
    assert!(!has_secret(&path));
}

#[tokio::test]
async fn without_its_key_a_host_does_not_open_it_and_a_look_reads_no_body() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    write(&open(&path, with(1, &[])).expect("open"), "s").await;
    for cipher in [Cipher::none(), with(2, &[]), with(2, &[3])] {
        let refused = open(&path, cipher.clone()).expect_err("refused");
        assert_eq!(refused, missing(1));
        let looked = SqliteStore::open_to_read(&path).expect("a look");
        let looked = looked.with_cipher(cipher);
        assert_eq!(looked.require_keys().await, Err(missing(1)));
        let listed = looked.sessions(stoplog_journal::Which::All).await;
        assert_eq!(listed.expect("the list").len(), 1);
        let read = read_one(&looked, &id("s"), Part::Whole).await;
        assert_eq!(read, Err(missing(1)));
        let start = Cursor::default();
        let fed = looked.feed(&start, Portion { rows: 9, bytes: 9 });
        assert_eq!(fed.await, Err(missing(1)));
    }
    // The refused ones have noted nothing.
    let looked = SqliteStore::open_to_read(&path).expect("a look");
    assert_eq!(looked.keys().await, Ok(vec![key(1).id().clone()]));
}

#[tokio::test]
async fn a_key_is_needed_until_nothing_is_left_of_it() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    write(&open(&path, with(1, &[])).expect("open"), "before").await;
    let store = open(&path, with(2, &[1])).expect("both keys");
    write(&store, "behind").await;
    let ids = |bytes: &[u8]| Ok(bytes.iter().map(|b| key(*b).id().clone()).collect());
    assert_eq!(store.keys().await, ids(&[1, 2]));
    for name in ["before", "behind"] {
        read_one(&store, &id(name), Part::Whole).await.expect(name);
        assert_eq!(value(&store, name).await, Some(SECRET.into()));
    }
    assert_eq!(store.unneeded_keys().await, ids(&[]));
    // The session goes, its result and its value stay: the key is still needed.
    store.prune(&all_but_keys()).await.expect("prune");
    assert_eq!(store.unneeded_keys().await, ids(&[]));
    let mut none_stay = all_but_keys();
    none_stay.keys_before_ms = [99_999_999; 5];
    while !store.prune(&none_stay).await.expect("prune").is_nothing() {}
    assert_eq!(store.unneeded_keys().await, ids(&[]));
    assert_eq!(
        open(&path, with(2, &[])).expect_err("its value"),
        missing(1)
    );
    let forgotten = store.forget_state("acme", "t", Some("before"));
    forgotten.await.expect("forget");
    assert_eq!(store.unneeded_keys().await, ids(&[1]));
    drop(store);
    let store = open(&path, with(2, &[])).expect("the old key is not needed");
    assert_eq!(store.keys().await, ids(&[2]));
    drop(store);
    assert_eq!(
        open(&path, Cipher::none()).expect_err("refused"),
        missing(2)
    );
}

/// Killed between the note and the first write, and the key is lost or was a mistake: nothing needs
/// it.
#[tokio::test]
async fn a_key_that_was_never_used_locks_nobody_out() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    drop(open(&path, with(1, &[])).expect("open"));
    let store = open(&path, Cipher::none()).expect("nothing is encrypted");
    assert_eq!(store.keys().await, Ok(Vec::new()));
}

/// A host reads what a command writes beside it, whatever the configuration says by now.
#[tokio::test]
async fn beside_a_host_is_written_as_the_host_does() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let beside = |cipher| SqliteStore::open_beside(&path, Arc::new(Unwatched), cipher);
    // The host has no key, and the configuration has one by now.
    let host = open(&path, Cipher::none()).expect("a host");
    let command = beside(with(1, &[])).expect("a command");
    assert_eq!(command.cipher().current(), None);
    assert_eq!(host.keys().await, Ok(Vec::new()));
    drop((host, command));
    // The host has the old one.
    let host = open(&path, with(1, &[])).expect("a host");
    let command = beside(with(2, &[1])).expect("a command");
    assert_eq!(command.cipher().current(), Some(key(1).id()));
    write(&command, "s").await;
    read_one(&host, &id("s"), Part::Whole)
        .await
        .expect("the host reads it");
    assert_eq!(host.keys().await, Ok(vec![key(1).id().clone()]));
    assert_eq!(beside(with(2, &[])).expect_err("refused"), missing(1));
}

/// The host has a key that nothing is encrypted with yet: a command without it must not write in the
/// clear beside it. And one that a host has struck off meanwhile is not written with.
#[tokio::test]
async fn a_command_never_writes_with_another_key_than_the_file_needs() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let beside = |cipher| SqliteStore::open_beside(&path, Arc::new(Unwatched), cipher);
    drop(open(&path, with(1, &[])).expect("a host"));
    assert_eq!(beside(Cipher::none()).expect_err("refused"), missing(1));
    let command = beside(with(1, &[])).expect("a command");
    let host = open(&path, with(2, &[])).expect("another host, without the first one's key");
    let lease = command.lease(&id("s"), "h", 0, 1000, true).await;
    let epoch = lease.expect("lease").epoch;
    let rows = encrypted(&command, "s", vec![row(1, epoch, "{}")]);
    let refused = command.append(batch("s", epoch, rows)).await;
    assert_eq!(refused, Err(missing(1)));
    let read = read_one(&host, &id("s"), Part::Whole).await.expect("read");
    assert!(read.rows.is_empty(), "nothing of it is there");
}

/// A claim that is refused tells what came of the act, also when that was kept of a pruned session.
#[tokio::test]
async fn who_comes_second_is_told_what_was_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let store = open(&path, with(1, &[])).expect("open");
    write(&store, "s").await;
    store.prune(&all_but_keys()).await.expect("prune");
    let lease = store.lease(&id("late"), "h", 0, 1000, true).await;
    let epoch = lease.expect("lease").epoch;
    let rows = encrypted(&store, "late", vec![row(1, epoch, "{}")]);
    let mut late = batch("late", epoch, rows);
    let there = store.act_key("acme", "refund_s").await.expect("the act");
    late.claims = vec![ActKeyRow {
        session: "late".into(),
        kept: None,
        ..there.clone().expect("it is there")
    }];
    let taken = store.append(late).await.expect_err("taken");
    assert_eq!(taken, StoreError::ActTaken(there.expect("it is there")));
}

/// What was written before there was a key is gone with its session, also from pages in use.
#[tokio::test]
async fn what_was_clear_is_wiped_when_it_is_deleted() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let store = open(&path, Cipher::none()).expect("open");
    for name in ["one", "two"] {
        write(&store, name).await;
    }
    drop(store);
    assert!(has_secret(&path));
    let store = open(&path, with(1, &[])).expect("open");
    write(&store, "zz_stays").await;
    let mut none_stay = all_but_keys();
    none_stay.keys_before_ms = [99_999_999; 5];
    none_stay.keep_latest = 1;
    while !store.prune(&none_stay).await.expect("prune").is_nothing() {}
    for name in ["one", "two"] {
        store
            .forget_state("acme", "t", Some(name))
            .await
            .expect("forget");
    }
    read_one(&store, &id("zz_stays"), Part::Whole)
        .await
        .expect("it stays");
    store.shrink().await.expect("shrink");
    assert!(!has_secret(&path));
}

/// With old keys alone, nothing is encrypted from then on, and what was is read.
#[tokio::test]
async fn it_can_be_turned_off_by_saying_so() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    write(&open(&path, with(1, &[])).expect("open"), "before").await;
    let off = Cipher::new(None, vec![key(1)]);
    let store = open(&path, off).expect("open");
    write(&store, "behind").await;
    assert!(has_secret(&path));
    read_one(&store, &id("before"), Part::Whole)
        .await
        .expect("read");
}

#[tokio::test]
async fn what_was_put_elsewhere_is_damage() {
    let dir = tempfile::tempdir().expect("dir");
    for damage in [
        "UPDATE events SET body = (SELECT body FROM events WHERE seq = 2) WHERE seq = 1",
        "UPDATE events SET body = replace(body, 'enc1:', 'enc1:0')  WHERE seq = 1",
        "UPDATE payloads SET body = substr(body, 1, 900)",
    ] {
        let path = dir.path().join(format!("{}.db", damage.len()));
        write(&open(&path, with(1, &[])).expect("open"), "s").await;
        rusqlite::Connection::open(&path)
            .and_then(|c| c.execute_batch(damage))
            .expect(damage);
        let store = open(&path, with(1, &[])).expect("open");
        let read = read_one(&store, &id("s"), Part::Whole).await.expect("read");
        let broken = read.rows.iter().filter(|r| {
            let record = stoplog_journal::codec::decode(r);
            record.is_err_and(|e| e.to_string().contains("not what was encrypted"))
        });
        assert_eq!(broken.count(), 1, "{damage}");
        let dossier = store.dossier("s").await.expect("dossier");
        // The others' events still come, and this one as it is stored.
        let portion = Portion {
            rows: 9,
            bytes: 1 << 30,
        };
        let fed = store.feed(&Cursor::default(), portion).await.expect("fed");
        let shut = |(_, r): &&(String, Row)| r.encrypted.is_none();
        assert_eq!(fed.expect("ours").rows.iter().filter(shut).count(), 1);
        assert!(
            dossier.rows.len() < 3 && !dossier.unreadable.is_empty(),
            "{damage}"
        );
    }
    // A damaged snapshot is passed over for the events.
    let path = dir.path().join("snapshot.db");
    write(&open(&path, with(1, &[])).expect("open"), "s").await;
    rusqlite::Connection::open(&path)
        .and_then(|c| c.execute_batch("UPDATE snapshots SET body = substr(body, 1, 40)"))
        .expect("damage");
    let store = open(&path, with(1, &[])).expect("open");
    let tail = read_one(&store, &id("s"), Part::Tail).await.expect("read");
    assert!(!chain::is_sealed(&tail.snapshot.expect("the damaged one")));
}
