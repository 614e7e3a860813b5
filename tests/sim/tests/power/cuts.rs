//! Power cuts at the crash points of a recorded host, and cuts of hosts that recovered from one.
//!
//! A power cut is no damage: whatever image it leaves is opened, and nothing acknowledged is lost.

use std::io::Write;
use std::sync::Arc;

use rusqlite::Connection;
use stoplog_journal::{Retention, Store, Upkeep};
use stoplog_store::SqliteStore;
use stoplog_vfs::{Entry, Image, Recorded, Recording};

use crate::judge::{Known, judge, links};
use crate::work::{Amount, PRUNED, Told, folder, side_by_side};

const SMALL: Amount = Amount {
    turns: 2,
    reads: 1,
    answer_bytes: 100,
    ends: false,
};
const LARGE: Amount = Amount {
    turns: 3,
    reads: 2,
    answer_bytes: 70 * 1024,
    ends: false,
};
/// Over 256 events, so with a snapshot.
const MANY: Amount = Amount {
    turns: 4,
    reads: 80,
    answer_bytes: 100,
    ends: false,
};
const OVER: Amount = Amount {
    turns: 2,
    reads: 1,
    answer_bytes: 100,
    ends: true,
};

/// What is done when the sessions of a stay are closed, and before the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The session that is over is pruned.
    Prune,
    /// The log is written into the file, and the sessions go on: the log begins anew.
    Checkpoint,
}

/// One opening of the store.
type Stay<'a> = (&'a [(&'a str, Amount)], Then);

fn prune_all() -> Retention {
    Retention {
        sessions_before_ms: u64::MAX >> 1,
        keep_latest: 0,
        keys_before_ms: [0; 5],
        now_ms: crate::work::NOW_MS,
        batch: 10,
    }
}

/// Records the stays, one after the other, each with an opening and a closing of the store.
async fn record(stays: &[Stay<'_>]) -> (Recorded, Known) {
    let folder = folder();
    let recording = Recording::start(folder.path()).expect("recording");
    let mut known = Known::default();
    for (amounts, then) in stays {
        let store = SqliteStore::open(&folder.path().join("journal.db")).expect("open");
        let store = Arc::new(store);
        let marker = recording.marker();
        let told: Told = Arc::new(move |mark| marker.mark(mark));
        let both: Arc<dyn Store> = store.clone();
        side_by_side(&both, amounts, &told).await.expect("no fault");
        if *then == Then::Checkpoint {
            let beside = Connection::open(folder.path().join("journal.db")).expect("open");
            let whole = |r: &rusqlite::Row<'_>| Ok(r.get::<_, i64>(1)? == r.get::<_, i64>(2)?);
            let done = beside.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], whole);
            assert_eq!(done, Ok(true), "not all of the log is in the file");
            drop(beside);
            let more = side_by_side(&both, amounts, &told).await;
            more.expect("no fault");
        }
        // Links of a session that is about to go are those before it goes.
        known.links.append(&mut links(&*store).await);
        if *then == Then::Prune {
            let pruned = store.prune(&prune_all()).await.expect("pruned");
            assert_eq!(pruned.sessions, 1);
            recording.mark(PRUNED);
            known.may_be_pruned = true;
        }
    }
    if known.may_be_pruned {
        known.links.remove("old");
    }
    (recording.stop(), known)
}

/// What the images of a recording came to.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    judged: usize,
    torn: usize,
    took: usize,
    wrong: Vec<String>,
}

async fn judged(image: &Image, known: &Known) -> Result<(), String> {
    let folder = folder();
    image.write_to(folder.path()).expect("written");
    let marks = known.marks.union(&image.marks).copied().collect();
    let known = Known {
        marks,
        ..known.clone()
    };
    judge(folder.path(), &known).await
}

fn took(image: &Image) -> bool {
    image.lost + image.torn > 0
}

/// Judges so many of a thousand images.
async fn tally(
    recorded: &Recorded,
    known: &Known,
    seed: u64,
    per_point: usize,
    per_mille: usize,
) -> Tally {
    let mut tally = Tally {
        points: recorded.entries().len() + 1,
        ..Tally::default()
    };
    for image in recorded.images(seed, per_point).sampled(per_mille) {
        tally.judged += 1;
        tally.torn += usize::from(image.torn > 0);
        tally.took += usize::from(took(&image));
        if let Err(wrong) = judged(&image, known).await {
            tally.wrong.push(format!("{wrong}, {}", image.description));
        }
    }
    tally
}

#[track_caller]
fn good(tally: &Tally) {
    let _ = writeln!(
        std::io::stderr(),
        "{} images of {} points: {} lost something, {} were torn",
        tally.judged,
        tally.points,
        tally.took,
        tally.torn
    );
    let first = tally.wrong.first();
    assert!(
        first.is_none(),
        "{} of {}: {first:?}",
        tally.wrong.len(),
        tally.judged
    );
    assert!(tally.torn > 10 && tally.took > 10, "{tally:?}");
}

const SIDE_BY_SIDE: [(&str, Amount); 3] = [("a", SMALL), ("b", SMALL), ("c", SMALL)];

/// Every crash point of two short stays; and without the syncs of the log, the same finds losses.
#[tokio::test]
async fn every_crash_point_of_a_short_run() {
    let (recorded, known) = record(&[
        (&SIDE_BY_SIDE[..2], Then::Nothing),
        (&[("a", SMALL)], Then::Nothing),
    ])
    .await;
    let tally = tally(&recorded, &known, 1, 3, 1000).await;
    good(&tally);
    assert!(tally.judged >= tally.points / 2, "{tally:?}");
}

#[tokio::test]
async fn without_syncs_of_the_log_the_same_run_loses_what_was_acknowledged() {
    let (recorded, known) = record(&[(&SIDE_BY_SIDE, Then::Nothing)]).await;
    let unsynced = recorded.without_wal_syncs();
    let tally = tally(&unsynced, &known, 1, 4, 300).await;
    let is_loss = |w: &&String| w.contains("were acknowledged") || w.contains(" events, point");
    let lost = tally.wrong.iter().filter(is_loss).count();
    assert!(lost > 10, "{lost} of {} lost something", tally.judged);
}

/// With large answers, a snapshot, a pruning, and a log that begins anew while it is open.
#[tokio::test]
async fn sampled_crash_points_of_a_long_run() {
    let first = [("a", SMALL), ("b", SMALL), ("c", SMALL), ("old", OVER)];
    let second = [("a", SMALL), ("b", LARGE), ("c", MANY)];
    let third = [("a", SMALL), ("b", LARGE)];
    let stays: [Stay<'_>; 3] = [
        (&first, Then::Nothing),
        (&second, Then::Prune),
        (&third, Then::Checkpoint),
    ];
    let (recorded, known) = record(&stays).await;
    let wal_begins = |e: &&Entry| matches!(e, Entry::Write { path, offset: 0, .. } if path.ends_with("journal.db-wal"));
    let begun = recorded.entries().iter().filter(wal_begins).count();
    assert!(begun > stays.len(), "the log began {begun} times");
    let tally = tally(&recorded, &known, 2, 4, 40).await;
    good(&tally);
    assert!(tally.judged > 100, "{tally:?}");
}

/// A host that recovered from a cut has another one: what the first one tore is still in the log,
/// behind what was written since.
#[tokio::test]
async fn cut_again_after_a_recovery() {
    let large = Amount { turns: 1, ..LARGE };
    let (recorded, known) = record(&[(&[("a", SMALL), ("b", large)], Then::Nothing)]).await;
    let mut all = Tally::default();
    for image in recorded.images(3, 4).sampled(25).filter(took) {
        let (again, known) = recovered(&image, &known).await;
        let mut tally = tally(&again, &known, 3, 3, 100).await;
        all.points += tally.points;
        all.judged += tally.judged;
        all.torn += tally.torn;
        all.took += tally.took;
        let told = tally.wrong.drain(..);
        all.wrong
            .extend(told.map(|w| format!("{w}, after {}", image.description)));
    }
    good(&all);
    assert!(all.judged > 100, "{all:?}");
}

/// Records a host that goes on from an image.
async fn recovered(image: &Image, known: &Known) -> (Recorded, Known) {
    let folder = folder();
    image.write_to(folder.path()).expect("written");
    let recording = Recording::start(folder.path()).expect("recording");
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&folder.path().join("journal.db")).expect("open"));
    let marker = recording.marker();
    let told: Told = Arc::new(move |mark| marker.mark(mark));
    let amounts = [("a", SMALL), ("b", SMALL)];
    side_by_side(&store, &amounts, &told)
        .await
        .expect("no fault");
    let known = Known {
        marks: image.marks.clone(),
        links: links(&*store).await,
        ..known.clone()
    };
    drop(store);
    (recording.stop(), known)
}
