//! Power cuts: what SQLite promises holds in every image, and what it does not promise is lost
//! in some.

use std::time::Instant;

use stoplog_vfs::{Entry, Image, Recorded, Recording, Role};

use crate::ledger::{self, Damage, Mode, WAL_FULL};

const COMMITS: u64 = 30;

/// Records the making of a ledger, `COMMITS` commits, and its closing and opening in between.
fn record(mode: Mode) -> Recorded {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = Recording::start(dir.path()).expect("recording");
    let mut c = ledger::open(dir.path(), mode).expect("opened");
    recording.mark(0);
    for n in 1..=COMMITS {
        if n == COMMITS / 2 {
            c.close().expect("closed");
            c = ledger::open(dir.path(), mode).expect("opened");
        }
        ledger::commit(&mut c, n).expect("committed");
        recording.mark(n);
    }
    drop(c);
    recording.stop()
}

#[derive(Debug, Default)]
struct Tally {
    images: usize,
    lost: usize,
    broken: usize,
    /// Some with more than was acknowledged: the cut came between commit and mark.
    ahead: usize,
    first: Option<String>,
}

fn tally(recorded: &Recorded, seed: u64, per_point: usize) -> Tally {
    let mut tally = Tally::default();
    for image in recorded.images(seed, per_point) {
        tally.images += 1;
        let marked = image.marks.iter().filter(|n| **n > 0).count();
        let damage = match ledger::check_image(&image) {
            Ok(shown) => {
                assert!(shown.len() <= marked + 1, "{}", image.description);
                tally.ahead += usize::from(shown.len() > marked);
                continue;
            }
            Err(damage) => damage,
        };
        match damage {
            Damage::Lost(_) => tally.lost += 1,
            Damage::Broken(_) => tally.broken += 1,
        }
        let text = format!("{damage:?} at {}", image.description);
        tally.first.get_or_insert(text);
    }
    tally
}

#[test]
fn wal_and_full_lose_nothing() {
    let recorded = record(WAL_FULL);
    let has = |f: fn(&Entry) -> bool| recorded.entries().iter().any(f);
    assert!(has(|e| matches!(
        e,
        Entry::Create {
            role: Role::Wal,
            ..
        }
    )));
    assert!(
        has(|e| matches!(e, Entry::Truncate { .. })),
        "no WAL was cut off"
    );
    assert!(
        has(|e| matches!(e, Entry::Delete { .. })),
        "no WAL was deleted"
    );
    let tally = tally(&recorded, 1, 4);
    assert_eq!((tally.lost, tally.broken), (0, 0), "{tally:?}");
    assert!(tally.images > recorded.entries().len(), "{tally:?}");
    assert!(tally.ahead > 0, "{tally:?}");
}

/// This test shows that the one above can fail.
#[test]
fn wal_and_normal_lose_commits_and_stay_sound() {
    let synchronous = "NORMAL";
    let recorded = record(Mode {
        synchronous,
        ..WAL_FULL
    });
    let tally = tally(&recorded, 2, 3);
    assert!(tally.lost > 0, "{tally:?}");
    assert_eq!(tally.broken, 0, "{tally:?}");
}

/// This one shows that damage is found, and not only loss.
#[test]
fn without_syncs_the_file_breaks() {
    let synchronous = "OFF";
    let recorded = record(Mode {
        synchronous,
        ..WAL_FULL
    });
    let syncs = |e: &&Entry| matches!(e, Entry::Sync { .. });
    // The making of the WAL is before the pragma, and synced.
    let tally = tally(&recorded, 3, 3);
    assert!(tally.lost > 0 && tally.broken > 0, "{tally:?}");
    let count = recorded.entries().iter().filter(syncs).count();
    assert!(count < 10, "{count}");
}

/// SQLite syncs the directory after deleting a journal only when asked to (`EXTRA`): with `FULL`
/// a deleted journal may come back, and takes its commit back with it.
#[test]
fn a_rollback_journal_that_comes_back_takes_a_commit_unless_extra() {
    let journal = "DELETE";
    let full = tally(
        &record(Mode {
            journal,
            synchronous: "FULL",
        }),
        4,
        3,
    );
    assert!(full.lost > 0, "{full:?}");
    assert_eq!(full.broken, 0, "{full:?}");
    let extra = tally(
        &record(Mode {
            journal,
            synchronous: "EXTRA",
        }),
        4,
        3,
    );
    assert_eq!((extra.lost, extra.broken), (0, 0), "{extra:?}");
}

#[test]
fn the_same_seed_gives_the_same_images() {
    let recorded = record(WAL_FULL);
    let same = |one: u64, other: u64| -> bool {
        let equal = |(a, b): (Image, Image)| {
            a.description == b.description && a.marks == b.marks && a.files().eq(b.files())
        };
        let (one, other) = (recorded.images(one, 4), recorded.images(other, 4));
        one.zip(other).all(equal)
    };
    assert!(same(7, 7));
    assert!(!same(7, 8));
}

#[test]
fn two_directories_are_recorded_apart() {
    let recordings = std::thread::scope(|scope| {
        let both = [
            scope.spawn(|| record(WAL_FULL)),
            scope.spawn(|| record(WAL_FULL)),
        ];
        both.map(|thread| thread.join().expect("joined"))
    });
    for recorded in recordings {
        let marks = recorded.entries().iter();
        let marks = marks.filter(|e| matches!(e, Entry::Mark(_))).count();
        assert_eq!(marks, usize::try_from(COMMITS + 1).expect("small"));
        let last = recorded.images(0, 1).last().expect("an image");
        let shown = ledger::check_image(&last).expect("sound");
        assert_eq!(shown, (1..=COMMITS).collect());
    }
}

/// A thousand images of a megabyte are a matter of seconds, also in a build for debugging.
#[test]
fn images_are_made_fast() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    for n in 1..=200 {
        ledger::commit(&mut c, n).expect("committed");
    }
    let recording = Recording::start(dir.path()).expect("recording");
    drop(c);
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    for n in 201..=260 {
        ledger::commit(&mut c, n).expect("committed");
        recording.mark(n);
    }
    let recorded = recording.stop();
    let start = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    for image in recorded.images(5, 4).take(1_000) {
        count += 1;
        bytes += image.files().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    let took_ms = start.elapsed().as_millis();
    assert_eq!(count, 1_000);
    assert!(bytes / count > 1_000_000, "{}", bytes / count);
    println!("{count} images of {} bytes in {took_ms} ms", bytes / count);
    assert!(took_ms < 20_000, "{took_ms} ms");
}
