//! The watcher of syncs: told of each, in order, and able to end the process at it.

use std::collections::BTreeSet;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stoplog_vfs::{Entry, Fault, Faults, Kind, Moment, Recording, on_sync};

use crate::ledger::{self, WAL_FULL};

#[test]
fn a_watcher_is_told_before_and_after_each_real_sync() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let callback = move |moment, path: &Path| {
        tell.lock().expect("lock").push((moment, path.to_owned()));
    };
    let watcher = on_sync(dir.path(), Arc::new(callback)).expect("watcher");
    let recording = Recording::start(dir.path()).expect("recording");
    let faults = Faults::below(dir.path()).expect("faults");
    let mut c = ledger::open(dir.path(), WAL_FULL).expect("opened");
    ledger::commit(&mut c, 1).expect("committed");
    let told_before = told.lock().expect("lock").len();
    faults.arm(Fault::once(Kind::SyncFails, 1));
    ledger::commit(&mut c, 2).expect_err("it fails");
    assert_eq!(
        told.lock().expect("lock").len(),
        told_before,
        "no real sync"
    );
    drop(watcher);
    ledger::commit(&mut c, 2).expect("committed");
    assert_eq!(
        told.lock().expect("lock").len(),
        told_before,
        "the watcher is gone"
    );

    let root = dir.path().canonicalize().expect("there");
    let recorded = recording.stop();
    let synced: Vec<PathBuf> = recorded
        .entries()
        .iter()
        .filter_map(|entry| match entry {
            Entry::Sync { path, .. } => Some(root.join(path)),
            _ => None,
        })
        .collect();
    let told = told.lock().expect("lock");
    assert!(told.len() > 4, "{told:?}");
    for (pair, path) in told.chunks(2).zip(&synced) {
        let expected = [
            (Moment::Before, path.clone()),
            (Moment::After, path.clone()),
        ];
        assert_eq!(pair, expected);
    }
}

const DIR: &str = "STOPLOG_VFS_KILLED_IN";
const AT: &str = "STOPLOG_VFS_KILLED_AT";

/// The process that the next test starts, and that kills itself.
#[test]
#[ignore = "started by a_host_killed_around_a_sync_keeps_what_it_acknowledged"]
fn host_that_is_killed() {
    let dir = PathBuf::from(env::var_os(DIR).expect("set"));
    let at: u64 = env::var(AT).expect("set").parse().expect("a number");
    let seen = AtomicU64::new(0);
    let callback = move |_: Moment, _: &Path| {
        if seen.fetch_add(1, Ordering::Relaxed) == at {
            let pid = process::id().to_string();
            let sent = Command::new("kill").args(["-9", &pid]).status();
            panic!("still alive: {sent:?}");
        }
    };
    let _watcher = on_sync(&dir, Arc::new(callback)).expect("watcher");
    let mut c = ledger::open(&dir, WAL_FULL).expect("opened");
    for n in 1..=100 {
        ledger::commit(&mut c, n).expect("committed");
        std::fs::write(dir.join("acknowledged"), n.to_string()).expect("noted");
    }
}

#[test]
fn a_host_killed_around_a_sync_keeps_what_it_acknowledged() {
    for at in 0..16 {
        let dir = tempfile::tempdir().expect("a directory");
        let status = Command::new(env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "syncs::host_that_is_killed"])
            .env(DIR, dir.path())
            .env(AT, at.to_string())
            .stdout(Stdio::null())
            .status()
            .expect("started");
        assert_eq!(status.signal(), Some(9), "at {at}");
        let last = std::fs::read_to_string(dir.path().join("acknowledged"));
        let last = last.map_or(0, |text| text.parse().expect("a number"));
        let marks: BTreeSet<u64> = (1..=last).collect();
        let shown = ledger::check(dir.path(), &marks).expect("sound");
        let shown = u64::try_from(shown.len()).expect("64 bits");
        assert!((last..=last + 1).contains(&shown), "{shown} after {last}");
    }
}
