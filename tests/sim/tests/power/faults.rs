//! Each write, sync, truncation and opening fails, once or for good: the host stops with a reason,
//! nothing acknowledged is lost, and with the disk in order again it goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stoplog_journal::{JournalError, Store};
use stoplog_model::Reason;
use stoplog_store::SqliteStore;
use stoplog_vfs::{Counts, Entry, Fault, Faults, Kind, Recording, Role};

use crate::judge::{Known, judge};
use crate::work::{Amount, Told, Work, folder, run_started, side_by_side};

const AMOUNT: Amount = Amount {
    turns: 1,
    reads: 1,
    answer_bytes: 100,
    ends: false,
};
/// With an answer that is kept apart, on some pages.
const LARGE: Amount = Amount {
    answer_bytes: 66 * 1024,
    ..AMOUNT
};

/// Longest that a host with a broken disk may take: it hangs otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// What was acknowledged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeSet<u64>>>);

impl Heard {
    fn told(&self) -> Told {
        let heard = self.0.clone();
        Arc::new(move |mark| {
            heard.lock().expect("lock").insert(mark);
        })
    }

    fn marks(&self) -> BTreeSet<u64> {
        self.0.lock().expect("lock").clone()
    }
}

/// What happened under one fault.
#[derive(Debug, Default)]
struct Tally {
    runs: u32,
    refused_open: u32,
    failed: u32,
    unharmed: u32,
    lost_syncs: u32,
}

fn open(folder: &Path) -> Result<Arc<dyn Store>, JournalError> {
    Ok(Arc::new(SqliteStore::open(&folder.join("journal.db"))?))
}

/// A host on a disk with faults. What is below is true of it in any case.
async fn host(folder: &Path, faults: &Faults, heard: &Heard, tally: &mut Tally) {
    match open(folder) {
        Err(error) => {
            tally.refused_open += 1;
            let reason = error.reason();
            let may = matches!(
                reason,
                Reason::JournalUnwritable | Reason::JournalNotDurable
            );
            assert!(may, "opening says {reason:?}: {error}");
        }
        Ok(store) => {
            let amounts = [("a", AMOUNT), ("b", LARGE)];
            let told = heard.told();
            let work = side_by_side(&store, &amounts, &told);
            match tokio::time::timeout(LIMIT, work).await.expect("it hangs") {
                Ok(()) => tally.unharmed += 1,
                Err(error) => {
                    tally.failed += 1;
                    let reason = error.reason();
                    assert_eq!(reason, Reason::JournalUnwritable, "{error}");
                }
            }
            faults.clear();
            // The disk is in order: the same host may open its sessions again.
            let again = async {
                let work = Work::open(store.clone(), "c", heard.told()).await?;
                work.append(vec![run_started()]).await
            };
            again.await.expect("the store is of use again");
        }
    }
    faults.clear();
}

async fn under(fault: Fault, tally: &mut Tally) {
    let folder = folder();
    let recording = Recording::start(folder.path()).expect("recording");
    let faults = Faults::below(folder.path()).expect("faults");
    faults.arm(fault);
    let heard = Heard::default();
    tally.runs += 1;
    host(folder.path(), &faults, &heard, tally).await;
    let recorded = recording.stop();
    tally.lost_syncs += nothing_is_synced_again(recorded.entries());
    let known = Known {
        marks: heard.marks(),
        ..Known::default()
    };
    let wrong = judge(folder.path(), &known).await;
    assert_eq!(wrong, Ok(()), "{fault:?}");
}

/// After a sync that lost its data, the log is written to only by a connection that was opened
/// since, and the database is not synced again unless it was written again. How many there were.
fn nothing_is_synced_again(entries: &[Entry]) -> u32 {
    // Before there is a log, the file is being made: a failure takes it back to nothing, and that
    // nothing is synced.
    let has_log = |e: &Entry| {
        matches!(
            e,
            Entry::Create {
                role: Role::Wal,
                ..
            }
        )
    };
    let begun = entries.iter().position(has_log).unwrap_or(entries.len());
    let mut lost = 0;
    for (at, entry) in entries.iter().enumerate() {
        let Entry::Lost { path } = entry else {
            continue;
        };
        if at < begun {
            continue;
        }
        lost += 1;
        let is_log = path.ends_with("journal.db-wal");
        let good = entries[at + 1..].iter().find_map(|next| match next {
            Entry::Open { path } if is_log && path.ends_with("journal.db") => Some(true),
            Entry::Write { path: on, .. } | Entry::Truncate { path: on, .. } if on == path => {
                Some(!is_log)
            }
            Entry::Delete { path: on, .. } if on == path => Some(true),
            Entry::Sync { path: on, .. } if on == path && !is_log => Some(false),
            _ => None,
        });
        let around = entries[at.saturating_sub(3)..].iter().take(12);
        let around: Vec<String> = around.map(Entry::to_string).collect();
        assert_ne!(good, Some(false), "a failed sync was retried: {around:#?}");
    }
    lost
}

async fn counts() -> Counts {
    let folder = folder();
    let faults = Faults::below(folder.path()).expect("faults");
    let heard = Heard::default();
    let store = open(folder.path()).expect("open");
    let amounts = [("a", AMOUNT), ("b", LARGE)];
    side_by_side(&store, &amounts, &heard.told())
        .await
        .expect("no fault");
    drop(store);
    faults.counts()
}

/// Every so-manieth operation of its sort, from the first on.
async fn sweep(kinds: &[Kind], step: usize) -> Tally {
    let counts = counts().await;
    let mut tally = Tally::default();
    for kind in kinds {
        let most = counts.of(kind.op());
        for nth in (1..=most).step_by(step) {
            under(Fault::once(*kind, nth), &mut tally).await;
            under(Fault::from(*kind, nth), &mut tally).await;
        }
    }
    tally
}

#[tokio::test]
async fn every_sync_fails_or_loses() {
    let tally = sweep(&[Kind::SyncFails, Kind::SyncLoses], 1).await;
    assert!(tally.failed > 20 && tally.lost_syncs > 10, "{tally:?}");
}

#[tokio::test]
async fn every_opening_and_truncation_fails() {
    let tally = sweep(&[Kind::OpenFails, Kind::TruncateFails], 1).await;
    assert!(tally.refused_open > 2, "{tally:?}");
}

/// Every write meets a full disk or a broken one; neighbours meet different ones.
#[tokio::test]
async fn every_write_fails() {
    let counts = counts().await;
    let kinds = [Kind::WriteFull, Kind::WriteFails, Kind::WriteShort];
    let mut tally = Tally::default();
    for nth in 1..=counts.writes {
        let kind = kinds[(nth % 3) as usize];
        let fault = match nth / 3 % 2 {
            0 => Fault::once(kind, nth),
            _ => Fault::from(kind, nth),
        };
        under(fault, &mut tally).await;
    }
    assert!(tally.failed > 50 && tally.refused_open > 5, "{tally:?}");
}

/// The files of a host that was killed, its log not yet in the database.
async fn killed() -> (tempfile::TempDir, Known) {
    let (from, to) = (folder(), folder());
    let heard = Heard::default();
    let store = open(from.path()).expect("open");
    let amounts = [("a", AMOUNT), ("b", AMOUNT)];
    side_by_side(&store, &amounts, &heard.told())
        .await
        .expect("no fault");
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(from.path().join(name), to.path().join(name)).expect("copied");
    }
    let known = Known {
        marks: heard.marks(),
        ..Known::default()
    };
    (to, known)
}

/// A host that is killed leaves its log: taking that over fails at each operation.
#[tokio::test]
async fn taking_over_a_log_fails_at_each_operation() {
    let (files, known) = killed().await;
    let mut met = 0;
    for kind in Kind::ALL {
        for nth in 1.. {
            let folder = folder();
            for name in ["journal.db", "journal.db-wal"] {
                let from = files.path().join(name);
                std::fs::copy(from, folder.path().join(name)).expect("copied");
            }
            let faults = Faults::below(folder.path()).expect("faults");
            faults.arm(Fault::from(kind, nth));
            match open(folder.path()) {
                Ok(store) => drop(store),
                Err(error) => assert_eq!(error.reason(), Reason::JournalUnwritable, "{error}"),
            }
            let failed = faults.counts().failed;
            faults.clear();
            let wrong = judge(folder.path(), &known).await;
            assert_eq!(wrong, Ok(()), "{kind:?} {nth}");
            if failed == 0 {
                break;
            }
            met += 1;
        }
    }
    assert!(met > 20, "{met} faults");
}
