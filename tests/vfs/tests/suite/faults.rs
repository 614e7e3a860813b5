//! Each fault comes out of rusqlite as what it is, and leaves a database that has all that was
//! acknowledged.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use stoplog_vfs::{Counts, Fault, Faults, Kind, WatchError};

use crate::ledger::{self, WAL_FULL};

fn code_of(error: &rusqlite::Error) -> (ErrorCode, i32) {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => (e.code, e.extended_code),
        other => panic!("not of SQLite: {other}"),
    }
}

/// Meets the fault in the way that leads to its operation first.
fn meet(c: &mut Connection, kind: Kind, dir: &Path) -> rusqlite::Result<()> {
    match kind {
        Kind::OpenFails => ledger::open(dir, WAL_FULL).map(drop),
        Kind::TruncateFails => c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())),
        _ => ledger::commit(c, 2),
    }
}

fn check(kind: Kind, expected: (ErrorCode, i32)) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    ledger::commit(&mut c, 1).expect("committed");
    let faults = Faults::below(dir.path()).expect("faults");
    faults.arm(Fault::once(kind, 1));
    let error = meet(&mut c, kind, dir.path()).expect_err("it fails");
    assert_eq!(code_of(&error), expected, "{kind:?}");
    assert_eq!(expected.1, kind.code());
    assert_eq!(faults.counts().failed, 1);
    drop(c);
    let shown = ledger::check(dir.path(), &BTreeSet::from([0, 1])).expect("sound");
    assert_eq!(shown, BTreeSet::from([1]), "{kind:?}");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    ledger::commit(&mut c, 2).expect("committed");
}

#[test]
fn each_kind_is_the_right_error() {
    for kind in Kind::ALL {
        let expected = match kind {
            Kind::OpenFails => (ErrorCode::CannotOpen, 14),
            Kind::WriteFails => (ErrorCode::SystemIoFailure, 778),
            Kind::WriteFull | Kind::WriteShort => (ErrorCode::DiskFull, 13),
            Kind::TruncateFails => (ErrorCode::SystemIoFailure, 1546),
            Kind::SyncFails | Kind::SyncLoses => (ErrorCode::SystemIoFailure, 1034),
        };
        check(kind, expected);
    }
}

/// Makes a ledger of a few commits; gives what was acknowledged up to the first error.
fn run(dir: &Path) -> (BTreeSet<u64>, Option<rusqlite::Error>) {
    let mut acknowledged = BTreeSet::new();
    let mut work = || {
        let mut c = ledger::open(dir, WAL_FULL)?;
        acknowledged.insert(0);
        for n in 1..=6 {
            ledger::commit(&mut c, n)?;
            acknowledged.insert(n);
        }
        c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    let error = work().err();
    (acknowledged, error)
}

fn count() -> Counts {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faults::below(dir.path()).expect("faults");
    let (_, error) = run(dir.path());
    assert!(error.is_none(), "{error:?}");
    faults.counts()
}

/// Every operation of a run fails once, in every way: nothing that was acknowledged is missing
/// after reopening, and the database goes on.
#[test]
fn no_single_fault_takes_an_acknowledged_commit() {
    let counts = count();
    for kind in Kind::ALL {
        let all = counts.of(kind.op());
        assert!(all > 0, "{kind:?} cannot happen");
        // Writes are many, and most are alike: a prime step meets each sort.
        let step = if all > 40 { 5 } else { 1 };
        for nth in (1..=all).step_by(step) {
            for fault in [Fault::once(kind, nth), Fault::from(kind, nth)] {
                let dir = tempfile::tempdir().expect("a directory");
                let faults = Faults::below(dir.path()).expect("faults");
                faults.arm(fault);
                let (acknowledged, _) = run(dir.path());
                assert!(faults.counts().failed > 0, "{fault:?} was not met");
                faults.clear();
                let shown = ledger::check(dir.path(), &acknowledged);
                let shown = shown.unwrap_or_else(|damage| panic!("{damage:?} after {fault:?}"));
                let next = shown.last().map_or(1, |n| n + 1);
                let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
                ledger::commit(&mut c, next).expect("committed");
            }
        }
    }
}

#[test]
fn a_full_disk_stays_full_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    ledger::commit(&mut c, 1).expect("committed");
    let faults = Faults::below(dir.path()).expect("faults");
    faults.arm(Fault::from(Kind::WriteFull, 2));
    for _ in 0..3 {
        let error = ledger::commit(&mut c, 2).expect_err("the disk is full");
        assert_eq!(code_of(&error).0, ErrorCode::DiskFull);
    }
    faults.clear();
    ledger::commit(&mut c, 2).expect("there is room");
    drop(c);
    let shown = ledger::check(dir.path(), &BTreeSet::from([0, 1, 2])).expect("sound");
    assert_eq!(shown, BTreeSet::from([1, 2]));
}

#[test]
fn faults_of_one_directory_leave_others_alone_and_end_with_their_guard() {
    let (here, there) = (tempfile::tempdir(), tempfile::tempdir());
    let (here, there) = (here.expect("a directory"), there.expect("a directory"));
    let faults = Faults::below(here.path()).expect("faults");
    faults.arm(Fault::from(Kind::OpenFails, 1));
    ledger::open(there.path(), WAL_FULL).expect("opened");
    assert_eq!(faults.counts().of(Kind::OpenFails.op()), 0);
    ledger::open(here.path(), WAL_FULL).expect_err("it fails");
    drop(faults);
    ledger::open(here.path(), WAL_FULL).expect("opened");
}

#[test]
fn a_directory_has_one_guard_of_a_sort_and_none_below_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let below = dir.path().join("below");
    std::fs::create_dir(&below).expect("made");
    let faults = Faults::below(dir.path()).expect("faults");
    assert!(matches!(
        Faults::below(dir.path()),
        Err(WatchError::Taken(_))
    ));
    assert!(matches!(Faults::below(&below), Err(WatchError::Nested(_))));
    let missing = dir.path().join("missing");
    assert!(matches!(Faults::below(missing), Err(WatchError::Io(_))));
    drop(faults);
    assert!(Faults::below(&below).is_ok());
}

#[test]
fn a_database_that_is_open_around_the_vfs_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(ledger::open(dir.path(), WAL_FULL).expect("opened"));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let file = dir.path().join(ledger::FILE);
    let around = Connection::open_with_flags_and_vfs(file, flags, c"unix").expect("opened");
    let refused = Faults::below(dir.path());
    assert!(matches!(refused, Err(WatchError::Unseen(_))));
    drop(around);
    let _through = ledger::open(dir.path(), WAL_FULL).expect("opened");
    assert!(Faults::below(dir.path()).is_ok());
}
