//! After a failed sync: what is known, what is not, and where going on is wrong.
//!
//! The kernel may throw away what it could not write, and the next sync succeeds. SQLite with WAL
//! and `FULL` rolls a commit back whose sync failed, and writes all of it again when it is tried
//! again, so even then nothing acknowledged is lost. Two things remain: a failed commit may be
//! there after a crash, and with less than `FULL` the loss is of what SQLite does not write again.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use stoplog_vfs::{Fault, Faults, Kind, Recorded, Recording};

use crate::ledger::{self, Damage, Mode, WAL_FULL};

/// Put into the record when a commit was reported as failed.
const FAILED: u64 = 1_000;

/// Commits 1, and 2 with a sync that fails; gives what images show from the failure on.
fn shown_after_a_failed_commit(kind: Kind) -> BTreeSet<BTreeSet<u64>> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    let recording = Recording::start(dir.path()).expect("recording");
    let faults = Faults::below(dir.path()).expect("faults");
    ledger::commit(&mut c, 1).expect("committed");
    recording.mark(1);
    faults.arm(Fault::once(kind, 1));
    ledger::commit(&mut c, 2).expect_err("it fails");
    recording.mark(FAILED);
    let recorded = recording.stop();
    let mut shown = BTreeSet::new();
    for mut image in recorded.images(1, 12) {
        if image.marks.remove(&FAILED) {
            shown.insert(ledger::check_image(&image).expect("sound"));
        }
    }
    shown
}

/// "It failed" is not "it was not done": only reading after a reopening tells.
#[test]
fn a_commit_whose_sync_failed_is_there_after_some_power_cuts() {
    let either = BTreeSet::from([BTreeSet::from([1]), BTreeSet::from([1, 2])]);
    assert_eq!(shown_after_a_failed_commit(Kind::SyncFails), either);
}

#[test]
fn a_commit_that_the_kernel_threw_away_is_there_after_none() {
    let without = BTreeSet::from([BTreeSet::from([1])]);
    assert_eq!(shown_after_a_failed_commit(Kind::SyncLoses), without);
}

fn losses(recorded: &Recorded) -> (usize, Option<(Damage, String)>) {
    let damaged = |image: stoplog_vfs::Image| {
        let damage = ledger::check_image(&image).err()?;
        Some((damage, image.description))
    };
    let mut all = recorded.images(2, 3).filter_map(damaged);
    let first = all.next();
    (usize::from(first.is_some()) + all.count(), first)
}

/// Commits until told that it is done, with the nth sync failing; true if the fault was met.
fn retry(kind: Kind, nth: u64) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    let recording = Recording::start(dir.path()).expect("recording");
    let faults = Faults::below(dir.path()).expect("faults");
    faults.arm(Fault::once(kind, nth));
    for n in 1..=6 {
        if ledger::commit(&mut c, n).is_err() {
            ledger::commit(&mut c, n).expect("the second time");
        }
        recording.mark(n);
    }
    let was_met = faults.counts().failed > 0;
    let (count, first) = losses(&recording.stop());
    assert_eq!(count, 0, "{kind:?} {nth}: {first:?}");
    was_met
}

#[test]
fn wal_and_full_write_a_failed_commit_again() {
    for kind in [Kind::SyncFails, Kind::SyncLoses] {
        let met = (1..).take_while(|nth| retry(kind, *nth)).count();
        assert!(
            met > 6,
            "only {met} syncs, so no checkpoint's were among them"
        );
    }
}

fn checkpoint(c: &Connection) -> rusqlite::Result<()> {
    c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Commits 1 to 3 wait for a checkpoint's sync, which loses them. Commits 4 to 6 are synced.
fn go_on(reopens: bool) -> Recorded {
    let synchronous = "NORMAL";
    let dir = tempfile::tempdir().expect("a directory");
    let open = |dir: &Path| {
        let c = ledger::open(
            dir,
            Mode {
                synchronous,
                ..WAL_FULL
            },
        )
        .expect("opened");
        c.pragma_update(None, "wal_autocheckpoint", 0).expect("set");
        c
    };
    let mut c = open(dir.path());
    checkpoint(&c).expect("the tables are durable");
    let recording = Recording::start(dir.path()).expect("recording");
    let faults = Faults::below(dir.path()).expect("faults");
    for n in 1..=3 {
        ledger::commit(&mut c, n).expect("committed");
    }
    faults.arm(Fault::once(Kind::SyncLoses, 1));
    checkpoint(&c).expect_err("its sync fails");
    assert_eq!(faults.counts().failed, 1);
    if reopens {
        drop(c);
        c = open(dir.path());
    }
    c.pragma_update(None, "synchronous", "FULL").expect("set");
    for n in 4..=6 {
        ledger::commit(&mut c, n).expect("committed");
        recording.mark(n);
    }
    recording.stop()
}

/// The connection still counts on frames that are gone. What it writes behind them is synced and
/// acknowledged, and behind a gap, where nobody reads it after a crash.
#[test]
fn what_follows_a_lost_sync_is_lost_unless_the_database_is_reopened() {
    let (count, first) = losses(&go_on(false));
    assert!(count > 0);
    assert!(matches!(first, Some((Damage::Lost(4), _))), "{first:?}");
    let (count, first) = losses(&go_on(true));
    assert_eq!(count, 0, "{first:?}");
}
