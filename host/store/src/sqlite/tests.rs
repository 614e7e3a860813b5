use std::sync::Arc;

use stoplog_journal::conformance::{batch, chained, row, run_all, run_feed, run_upkeep};

use stoplog_journal::{Row, StateRow, read_one};

use super::*;

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().expect("dir");
    let mut n = 0;
    let mut fresh = || {
        n += 1;
        let store = SqliteStore::open(&dir.path().join(format!("{n}.db"))).expect("open");
        Arc::new(store)
    };
    run_all(&mut fresh).await;
    run_upkeep(&mut fresh).await;
    run_feed(&mut fresh).await;
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
    read_one(&store, &id("s"), Part::Whole)
        .await
        .expect("a reader");
    drop(store);
    assert!(!dir.path().join("journal.db-wal").exists(), "checkpointed");
    let store = SqliteStore::open(&path).expect("open again");
    let reading = read_one(&store, &id("s"), Part::Whole).await.expect("read");
    assert_eq!(reading.rows, rows);
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
    let newer = FORMAT + 1;
    c.execute(
        "UPDATE meta SET value = ?1 WHERE name = 'format'",
        [newer.to_string()],
    )
    .expect("update");
    drop(c);
    let error = SqliteStore::open(&path).expect_err("newer");
    assert_eq!(
        error,
        StoreError::Newer {
            found: newer,
            known: FORMAT
        }
    );

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

/// A journal with three sessions' worth of commits, as bytes of its files with the host killed:
/// the write-ahead log is still there.
async fn killed_journal(dir: &Path) -> Vec<Row> {
    let path = dir.join("journal.db");
    let store = SqliteStore::open(&path).expect("open");
    let lease = store.lease(&id("s"), "h", 0, 1000, false).await;
    let epoch = lease.expect("lease").epoch;
    let rows = chained("s", (1..=6).map(|n| row(n, epoch, "{}")).collect());
    for row in &rows {
        let mut batch = batch("s", epoch, vec![row.clone()]);
        batch.claims = vec![ActKeyRow {
            scope: "tenant/acme".into(),
            key: format!("act_{}", row.seq),
            tool: "t".into(),
            session: "s".into(),
            iteration: 1,
            ordinal: 0,
            args_digest: "d".into(),
            state: stoplog_journal::ActKeyState::Done,
            seq: row.seq,
            class: 4,
            at_ms: 1,
            kept: None,
        }];
        store.append(batch).await.expect("append");
    }
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(dir.join(name), dir.join(format!("killed-{name}"))).expect("copy");
    }
    rows
}

fn put(dir: &Path, to: &Path, flip: Option<(&str, usize, u8)>) {
    for name in ["journal.db", "journal.db-wal"] {
        let mut bytes = std::fs::read(dir.join(format!("killed-{name}"))).expect("read");
        if let Some((file, at, mask)) = flip.filter(|f| f.0 == name) {
            assert!(at < bytes.len(), "{file}");
            bytes[at] ^= mask;
        }
        std::fs::write(to.join(name), bytes).expect("write");
    }
    let _ = std::fs::remove_file(to.join("journal.db-shm"));
}

/// What a host would believe after this: the session checked against its chain, and the keys.
async fn believed(to: &Path) -> Result<(Vec<Row>, usize), StoreError> {
    let store = SqliteStore::open(&to.join("journal.db"))?;
    let reading = read_one(&store, &id("s"), Part::Whole).await?;
    stoplog_journal::chain::check("s", &reading)?;
    let mut keys = 0;
    for n in 1..=6 {
        let key = store.act_key("tenant/acme", &format!("act_{n}")).await?;
        keys += usize::from(key.is_some());
    }
    Ok((reading.rows, keys))
}

/// Damage behind which commits were made is an error; the last commit may be lost, as a power cut
/// loses one that was not synced, and nothing else.
#[tokio::test]
async fn a_flipped_byte_in_the_log_is_never_a_shorter_journal() {
    let dir = tempfile::tempdir().expect("dir");
    let rows = killed_journal(dir.path()).await;
    let to = tempfile::tempdir().expect("dir");
    put(dir.path(), to.path(), None);
    assert_eq!(believed(to.path()).await, Ok((rows.clone(), 6)));
    let wal = std::fs::metadata(dir.path().join("killed-journal.db-wal"));
    let wal = wal.expect("metadata").len() as usize;
    let mut refused = 0;
    let mut unharmed = 0;
    let mut shorter = 0;
    // The header, some of every frame's header, and a sample of the pages.
    let places = (0..wal).filter(|at| {
        *at < 32 || (at - 32) % 4120 % 7 == 0 && (at - 32) % 4120 < 24 || at % 4993 == 0
    });
    for at in places {
        put(dir.path(), to.path(), Some(("journal.db-wal", at, 0x41)));
        match believed(to.path()).await {
            Err(StoreError::Corrupt(_)) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok((found, 6)) if found == rows => unharmed += 1,
            Ok((found, 5)) if found == rows[..5] => shorter += 1,
            Ok((found, keys)) => panic!("byte {at}: {} rows, {keys} keys", found.len()),
        }
    }
    assert!(
        refused > shorter,
        "{refused} refused, {shorter} lost the last commit"
    );
    assert!(unharmed + shorter + refused > 100);
}

/// Frames of a journal's log that SQLite would read.
fn frames_of(path: &Path) -> usize {
    let log = std::fs::read(wal::beside(path)).expect("log");
    wal::good_frames(&log, path)
}

/// What one power cut tore stays in the log behind what is written since. Another cut then tears
/// the last commit before it: that is no damage either.
#[tokio::test]
async fn two_power_cuts_are_no_damage() {
    const FRAME_BYTES: usize = 24 + 4096;
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let copy = |to: &Path, broken: Option<usize>| {
        for name in ["journal.db", "journal.db-wal"] {
            let mut bytes = std::fs::read(dir.path().join(name)).expect("read");
            if let Some(frame) = broken.filter(|_| name.ends_with("-wal")) {
                // Of this frame its header arrived, and its page did not.
                let at = 32 + frame * FRAME_BYTES + 24;
                bytes[at..at + 4096].fill(0);
            }
            std::fs::write(to.join(name), bytes).expect("write");
        }
    };
    let frames = || frames_of(&path);
    let store = SqliteStore::open(&path).expect("open");
    let lease = store.lease(&id("s"), "h", 0, 1000, false).await;
    let epoch = lease.expect("lease").epoch;
    let first = frames();
    let large = "x".repeat(60_000);
    let large = chained("s", vec![row(1, epoch, &large)]);
    let append = store.append(batch("s", epoch, large)).await;
    append.expect("append");
    assert!(frames() > first + 10);
    let cut = tempfile::tempdir().expect("dir");
    copy(cut.path(), Some(first));
    drop(store);

    std::fs::remove_file(&path).expect("remove");
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(cut.path().join(name), dir.path().join(name)).expect("copy");
    }
    let store = SqliteStore::open(&path).expect("the first cut is no damage");
    let small = chained("s", (1..=2).map(|n| row(n, epoch, "{}")).collect());
    let mut ends = Vec::new();
    for row in &small {
        let one = batch("s", epoch, vec![row.clone()]);
        store.append(one).await.expect("append");
        let log = std::fs::read(dir.path().join("journal.db-wal")).expect("read");
        ends.push(wal::good_frames(&log, &path));
    }
    let cut = tempfile::tempdir().expect("dir");
    // The last frame of the second commit, which has the mark of a commit.
    copy(cut.path(), Some(ends[1] - 1));
    drop(store);
    let store = SqliteStore::open(&cut.path().join("journal.db"));
    let store = store.expect("the second cut is no damage");
    let found = read_one(&store, &id("s"), Part::Whole)
        .await
        .expect("read")
        .rows;
    assert_eq!(found, small[..1]);
}

/// A power cut loses some pages of a transaction, and of one header that lies over the end of a
/// sector the first part: there, the mark of a commit is that of an older frame.
#[tokio::test]
async fn a_torn_header_with_an_old_mark_is_no_damage() {
    const FRAME_BYTES: usize = 24 + 4096;
    // Its first eight bytes, page and mark, are in one sector, salts and sum in the next.
    const TORN: usize = 41;
    const { assert!((32 + TORN * FRAME_BYTES + 8).is_multiple_of(512)) };
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let frames = || frames_of(&path);
    let store = SqliteStore::open(&path).expect("open");
    let lease = store.lease(&id("s"), "h", 0, 1000, false).await;
    let epoch = lease.expect("lease").epoch;
    let first = frames();
    let large = "x".repeat(300_000);
    let large = chained("s", vec![row(1, epoch, &large)]);
    store
        .append(batch("s", epoch, large))
        .await
        .expect("append");
    assert!(
        first + 3 < TORN && frames() > TORN + 3,
        "{first}, {}",
        frames()
    );
    let cut = tempfile::tempdir().expect("dir");
    for name in ["journal.db", "journal.db-wal"] {
        let mut bytes = std::fs::read(dir.path().join(name)).expect("read");
        if name.ends_with("-wal") {
            let at = |frame: usize| 32 + frame * FRAME_BYTES;
            bytes[at(first + 1) + 24..at(first + 2)].fill(0);
            bytes[at(TORN)..at(TORN) + 8].copy_from_slice(&[0, 0, 0, 3, 0, 0, 0, 7]);
        }
        std::fs::write(cut.path().join(name), bytes).expect("write");
    }
    drop(store);
    let store = SqliteStore::open(&cut.path().join("journal.db")).expect("a power cut");
    let found = read_one(&store, &id("s"), Part::Whole).await.expect("read");
    assert!(found.rows.is_empty(), "the transaction is not there");
}

/// The same for the database file, when the log is in it.
#[tokio::test]
async fn a_flipped_byte_in_the_database_is_an_error_or_harmless() {
    let dir = tempfile::tempdir().expect("dir");
    let rows = killed_journal(dir.path()).await;
    let to = tempfile::tempdir().expect("dir");
    put(dir.path(), to.path(), None);
    believed(to.path())
        .await
        .expect("closing writes the log into the file");
    std::fs::copy(
        to.path().join("journal.db"),
        dir.path().join("killed-journal.db"),
    )
    .expect("copy");
    std::fs::write(dir.path().join("killed-journal.db-wal"), "").expect("write");
    let size = std::fs::metadata(dir.path().join("killed-journal.db"));
    let size = size.expect("metadata").len() as usize;
    let mut refused = 0;
    for at in (0..size).step_by(199) {
        put(dir.path(), to.path(), Some(("journal.db", at, 0x05)));
        match believed(to.path()).await {
            Err(_) => refused += 1,
            Ok((found, keys)) => {
                assert_eq!((found.len(), keys), (rows.len(), 6), "byte {at}");
                assert_eq!(found, rows, "byte {at}");
            }
        }
    }
    assert!(refused > 10, "{refused} refused");
}

#[tokio::test]
async fn a_journal_of_format_1_is_read_as_it_is_and_brought_up_to_date() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/format-1.db");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    std::fs::copy(&golden, &path).expect("copy");
    let suresh = id("sess_suresh");

    let looked = SqliteStore::open_to_read(&path).expect("look");
    let before = read_one(&looked, &suresh, Part::Whole).await.expect("read");
    assert_eq!(before.rows.len(), 28);
    assert_eq!(before.row.as_ref().and_then(|r| r.chain), None);
    let loaded = stoplog_journal::load(&looked, &suresh).await.expect("load");
    let (_, session) = loaded.expect("a session");
    assert_eq!(session.iterations(), 6);
    drop(looked);
    let bytes = |p: &Path| std::fs::read(p).expect("read");
    assert_eq!(bytes(&golden), bytes(&path), "a look changes nothing");

    let store = SqliteStore::open(&path).expect("open");
    let after = read_one(&store, &suresh, Part::Whole).await.expect("read");
    assert!(stoplog_journal::chain::check("sess_suresh", &after).is_ok());
    assert!(after.row.and_then(|r| r.chain).is_some());
    let bare = |rows: Vec<Row>| -> Vec<Row> {
        rows.into_iter()
            .map(|r| Row {
                chain: Default::default(),
                ..r
            })
            .collect()
    };
    assert_eq!(bare(after.rows), bare(before.rows));
    let (_, again) = stoplog_journal::load(&store, &suresh)
        .await
        .expect("load")
        .expect("a session");
    assert_eq!(again, session);
    drop(store);
    SqliteStore::open(&path).expect("and it opens again");
}

/// Made by the host before format 4, of the same demo.
#[tokio::test]
async fn a_journal_of_format_3_is_read_as_it_is_and_then_keeps_state() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/format-3.db");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    std::fs::copy(&golden, &path).expect("copy");
    let suresh = id("sess_suresh");

    let looked = SqliteStore::open_to_read(&path).expect("look");
    assert_eq!(looked.format(), 3);
    let before = read_one(&looked, &suresh, Part::Whole).await.expect("read");
    assert!(stoplog_journal::chain::check("sess_suresh", &before).is_ok());
    assert_eq!(looked.deep_check().await.expect("check"), [""; 0]);
    for (ask, seen) in [
        (
            StateAsk::Value("k".into()),
            StateSeen::Value {
                key: "k".into(),
                value: None,
            },
        ),
        (StateAsk::Keys, StateSeen::Keys { keys: vec![] }),
        (StateAsk::Room, StateSeen::Room { keys: 0, bytes: 0 }),
    ] {
        assert_eq!(looked.state("acme", "t", &ask).await, Ok(seen));
    }
    assert_eq!(looked.state_entries(("", "", ""), 9).await, Ok(vec![]));
    drop(looked);

    let store = SqliteStore::open(&path).expect("open");
    assert_eq!(store.format(), FORMAT);
    let after = read_one(&store, &suresh, Part::Whole).await.expect("read");
    assert_eq!(after.rows, before.rows, "links included");
    assert_eq!(store.deep_check().await.expect("check"), [""; 0]);
    keep_one(&store).await;
    drop(store);
    let again = SqliteStore::open(&path).expect("open");
    assert_eq!(
        again.state_entries(("", "", ""), 9).await.map(|e| e.len()),
        Ok(1)
    );
}

/// Has a session keep one key.
async fn keep_one(store: &SqliteStore) {
    let lease = store
        .lease(&id("keeps"), "h", 0, 1000, true)
        .await
        .expect("lease");
    let mut keeps = batch(
        "keeps",
        lease.epoch,
        chained("keeps", vec![row(1, lease.epoch, "1")]),
    );
    keeps.state = vec![StateRow {
        tenant: "acme".into(),
        tool: "t".into(),
        key: "k".into(),
        value: Some(b"v".to_vec()),
        seq: 1,
        at_ms: 9,
    }];
    store.append(keeps).await.expect("append");
}

/// A row of the state that is changed or lost, and a value that is damaged, are found: the first two
/// when a host starts, the last when it is read.
#[tokio::test]
async fn state_that_is_not_what_was_written_is_an_error() {
    for (damage, at_start) in [
        ("DELETE FROM tool_state", true),
        ("UPDATE tool_state SET key = 'other'", true),
        ("UPDATE tool_state SET tenant_id = 'initech'", true),
        ("UPDATE tool_state SET place = place + 1", true),
        ("UPDATE tool_state SET value = x'00'", false),
    ] {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("journal.db");
        let store = SqliteStore::open(&path).expect("open");
        keep_one(&store).await;
        assert_eq!(store.deep_check().await.expect("check"), [""; 0]);
        drop(store);
        Connection::open(&path)
            .and_then(|c| c.execute_batch(damage))
            .expect(damage);
        let looked = SqliteStore::open_to_read(&path).expect("a look");
        assert_ne!(
            looked.deep_check().await.expect("check"),
            [""; 0],
            "{damage}"
        );
        let ask = StateAsk::Value("k".into());
        match SqliteStore::open(&path) {
            Err(error) => assert!(
                at_start && matches!(error, StoreError::Corrupt(_)),
                "{damage}"
            ),
            Ok(store) => {
                let read = store.state("acme", "t", &ask).await;
                assert!(
                    !at_start && matches!(read, Err(StoreError::Corrupt(_))),
                    "{damage}"
                );
            }
        }
    }
}

/// Made by the host before format 3, of the journal above.
#[tokio::test]
async fn a_journal_of_format_2_is_read_as_it_is_and_brought_up_to_date() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/format-2.db");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    std::fs::copy(&golden, &path).expect("copy");
    let suresh = id("sess_suresh");
    let key = "refund_448200_delay";

    let looked = SqliteStore::open_to_read(&path).expect("look");
    assert_eq!(looked.format(), 2);
    let before = read_one(&looked, &suresh, Part::Whole).await.expect("read");
    assert!(stoplog_journal::chain::check("sess_suresh", &before).is_ok());
    assert_eq!(looked.deep_check().await.expect("check"), [""; 0]);
    let dossier = looked.dossier("sess_suresh").await.expect("a dossier");
    assert!(!dossier.act_keys.is_empty());
    let claim = dossier.act_keys.iter().find(|a| a.key == key).cloned();
    let claim = claim.expect("the refund is claimed");
    let found = looked.act_key(&claim.scope, key).await.expect("a look");
    assert_eq!(found.as_ref(), Some(&claim));
    drop(looked);

    let store = SqliteStore::open(&path).expect("open");
    assert_eq!(store.format(), FORMAT);
    let after = read_one(&store, &suresh, Part::Whole).await.expect("read");
    assert_eq!(after.rows, before.rows, "links included");
    let found = store.act_key(&claim.scope, key).await.expect("a look");
    assert_eq!(found.as_ref(), Some(&claim));
    assert_eq!(store.deep_check().await.expect("check"), [""; 0]);
    drop(store);

    // One whose claims are not those that were written stays as it is.
    std::fs::copy(&golden, &path).expect("copy");
    let c = Connection::open(&path).expect("open");
    let forged = "UPDATE act_keys SET args_digest = 'other'";
    assert!(c.execute(forged, []).expect(forged) > 0);
    drop(c);
    let refused = SqliteStore::open(&path);
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    let looked = SqliteStore::open_to_read(&path).expect("look");
    assert_eq!(looked.format(), 2);
}

/// Names a session's rows, its end and its state in one go.
async fn write_over(store: &SqliteStore, name: &str, at_ms: u64, events: u64, body: &str) {
    let lease = store.lease(&id(name), "h", 0, 1000, false).await;
    let lease = lease.expect("lease");
    let rows = (1..=events).map(|n| Row {
        at_ms,
        ..row(n, lease.epoch, body)
    });
    let mut all = batch(name, lease.epoch, chained(name, rows.collect()));
    all.head.status = "ended".into();
    store.append(all).await.expect("append");
    store.release(&lease).await.expect("release");
}

fn older_than(before_ms: u64) -> Retention {
    Retention {
        sessions_before_ms: before_ms,
        keep_latest: 0,
        keys_before_ms: [before_ms; 5],
        now_ms: 5000,
        batch: 50,
    }
}

async fn prune_all(store: &SqliteStore, rule: &Retention) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let step = store.prune(rule).await.expect("prune");
        if step.is_nothing() {
            store.shrink().await.expect("shrink");
            return all;
        }
        all.sessions += step.sessions;
        all.events += step.events;
        all.keys += step.keys;
    }
}

/// Four rounds of 5,000 events are written and pruned: the file is never larger than after the
/// first round, and small in the end.
#[tokio::test]
async fn what_is_pruned_is_given_back_to_the_disk() {
    let dir = tempfile::tempdir().expect("dir");
    let store = SqliteStore::open(&dir.path().join("journal.db")).expect("open");
    let body = format!("{{\"text\": \"{}\"}}", "x".repeat(400));
    let apart = format!(
        "\"{}\"",
        "y".repeat(stoplog_journal::store::PAYLOAD_APART_BYTES)
    );
    let mut full = Vec::new();
    let mut empty = Vec::new();
    for round in 0..4_u64 {
        for n in 0..50 {
            let body = if n % 10 == 0 { &apart } else { &body };
            let events = if n % 10 == 0 { 5 } else { 110 };
            write_over(&store, &format!("s{round}-{n}"), round, events, body).await;
        }
        full.push(store.size().await.expect("size").bytes);
        let rule = older_than(round + 1);
        let counted = store.prunable(&rule).await.expect("count");
        let pruned = prune_all(&store, &rule).await;
        assert_eq!(counted, pruned, "a dry run counts what goes");
        assert_eq!((pruned.sessions, pruned.events), (50, 45 * 110 + 5 * 5));
        let size = store.size().await.expect("size");
        assert_eq!(size.free_pages, 0, "{size:?}");
        empty.push(size.bytes);
    }
    assert!(full[0] > 2_000_000, "{full:?}");
    assert!(
        empty.iter().all(|b| *b < full[0] / 10),
        "{full:?} {empty:?}"
    );
    assert!(full.iter().all(|b| *b < full[0] * 5 / 4), "{full:?}");
    assert_eq!(store.deep_check().await, Ok(vec![]));
}

#[test]
fn what_may_be_pruned_is_found_by_its_index() {
    let dir = tempfile::tempdir().expect("dir");
    let c = connection::open_for_writing(&dir.path().join("j.db")).expect("open");
    for sql in prune::queries() {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = c.prepare(&explain).expect("prepare");
        let mut rows = statement.raw_query();
        let row = rows.next().expect("plan").expect("a row");
        let plan: String = row.get(3).expect("text");
        assert!(plan.contains("sessions_over"), "{plan}");
    }
}

/// A look at a journal whose log is damaged must not make the damage the truth: the good part of
/// the log stays where it is, and a host that starts refuses.
#[tokio::test]
async fn a_look_leaves_the_log_for_the_host_to_judge() {
    let dir = tempfile::tempdir().expect("dir");
    killed_journal(dir.path()).await;
    let to = tempfile::tempdir().expect("dir");
    let path = to.path().join("journal.db");
    let wal = std::fs::metadata(dir.path().join("killed-journal.db-wal"));
    let middle = wal.expect("metadata").len() as usize / 2;
    put(
        dir.path(),
        to.path(),
        Some(("journal.db-wal", middle, 0x41)),
    );
    let files = || ["journal.db", "journal.db-wal"].map(|f| std::fs::read(to.path().join(f)).ok());
    let before = files();
    let looked = SqliteStore::open_to_read(&path).expect("look");
    looked.sessions(Which::All).await.expect("sessions");
    let problems = looked.deep_check().await.expect("check");
    assert!(problems.iter().any(|p| p.contains("frame")), "{problems:?}");
    drop(looked);
    assert!(files() == before, "a look has changed a file");
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::Corrupt(_))
    ));
}

#[tokio::test]
async fn rows_that_belong_to_nothing_are_found() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    let store = SqliteStore::open(&path).expect("open");
    write_over(&store, "s", 1, 2, "{}").await;
    drop(store);
    let strays = [
        (
            "UPDATE events SET session_id = 't' WHERE seq = 2",
            "events without a session: t",
        ),
        (
            "UPDATE events SET session = 9 WHERE seq = 2",
            "events without a session: s",
        ),
        (
            "INSERT INTO payloads VALUES ('d', 'body')",
            "a payload without use: d",
        ),
        (
            "INSERT INTO open_intents VALUES ('t', 1, 0, 'main', 'k', 1, 1)",
            "an open intent without a session: t, call 1.0",
        ),
        (
            "INSERT INTO snapshots VALUES ('t', 1, 1, x'00', x'00', '{}')",
            "a snapshot without a session: t",
        ),
        (
            "INSERT INTO act_keys VALUES
                 (NULL, 0, 'sc', 'k', 't', 9, 't', 1, 0, 'd', 'done', 1, 4, 1, NULL)",
            "an act without a session: t, sc, k",
        ),
    ];
    for (sql, expected) in strays {
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("copy");
        let c = Connection::open(&copy).expect("open");
        c.pragma_update(None, "foreign_keys", "OFF")
            .expect("pragma");
        c.execute_batch(sql).expect(sql);
        drop(c);
        let store = SqliteStore::open_to_read(&copy).expect("look");
        let found = store.deep_check().await.expect("check");
        assert!(found.iter().any(|p| p == expected), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_claim_that_a_lookup_would_miss_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    drop(killed_journal(dir.path()).await);
    drop(SqliteStore::open(&path).expect("sound"));
    let damages = [
        "UPDATE act_keys SET hash = hash + 1 WHERE id = 1",
        "INSERT INTO act_keys SELECT 1000, hash, scope, key, tool, session, session_id, iteration,
             ordinal, args_digest, state, seq, class, at_ms, kept FROM act_keys WHERE id = 1",
    ];
    for sql in damages {
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("copy");
        let c = Connection::open(&copy).expect("open");
        assert_eq!(c.execute(sql, []).expect(sql), 1);
        drop(c);
        let opened = SqliteStore::open(&copy);
        assert!(
            matches!(opened, Err(StoreError::Corrupt(_))),
            "a claim that no lookup finds: {sql}"
        );
    }
}
