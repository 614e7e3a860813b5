//! A journal that is made, and one of an older format that is brought up to date, while the power
//! goes or the disk fails: the file opens afterwards, and is whole.

use std::path::Path;

use stoplog_journal::{Part, chain, load, read_one};
use stoplog_store::SqliteStore;
use stoplog_vfs::{Fault, Faults, Kind, Recording};

use crate::judge::{Known, judge};
use crate::work::{folder, id};

/// Sessions and events of the journal of format 1.
const OLD_SESSION: &str = "sess_suresh";
const OLD_EVENTS: usize = 28;

fn old_journal(folder: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/format-1.db");
    std::fs::copy(golden, folder.join("journal.db")).expect("copied");
}

async fn old_is_whole(folder: &Path) -> Result<(), String> {
    let store = SqliteStore::open(&folder.join("journal.db")).map_err(|e| e.to_string())?;
    let old = id(OLD_SESSION);
    let reading = read_one(&store, &old, Part::Whole)
        .await
        .map_err(|e| e.to_string())?;
    let is_linked = reading.row.as_ref().is_some_and(|r| r.chain.is_some());
    chain::check(OLD_SESSION, &reading).map_err(|e| e.to_string())?;
    let loaded = load(&store, &old).await.map_err(|e| e.to_string())?;
    match (loaded.map(|(records, _)| records.len()), is_linked) {
        (Some(OLD_EVENTS), true) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn the_power_goes_while_a_journal_is_made() {
    let made = folder();
    let recording = Recording::start(made.path()).expect("recording");
    drop(SqliteStore::open(&made.path().join("journal.db")).expect("open"));
    let mut images = 0;
    for image in recording.stop().images(1, 4) {
        let folder = folder();
        image.write_to(folder.path()).expect("written");
        let wrong = judge(folder.path(), &Known::default()).await;
        assert_eq!(wrong, Ok(()), "{}", image.description);
        images += 1;
    }
    assert!(images > 50, "{images} images");
}

#[tokio::test]
async fn the_power_goes_while_an_old_journal_is_brought_up_to_date() {
    let made = folder();
    old_journal(made.path());
    let recording = Recording::start(made.path()).expect("recording");
    drop(SqliteStore::open(&made.path().join("journal.db")).expect("open"));
    let mut images = 0;
    for image in recording.stop().images(2, 3) {
        let folder = folder();
        image.write_to(folder.path()).expect("written");
        let wrong = old_is_whole(folder.path()).await;
        assert_eq!(wrong, Ok(()), "{}", image.description);
        images += 1;
    }
    assert!(images > 50, "{images} images");
}

#[tokio::test]
async fn the_disk_fails_while_an_old_journal_is_brought_up_to_date() {
    let mut met = 0;
    for kind in Kind::ALL {
        for nth in 1.. {
            let folder = folder();
            old_journal(folder.path());
            let faults = Faults::below(folder.path()).expect("faults");
            faults.arm(Fault::from(kind, nth));
            drop(SqliteStore::open(&folder.path().join("journal.db")));
            let failed = faults.counts().failed;
            faults.clear();
            let wrong = old_is_whole(folder.path()).await;
            assert_eq!(wrong, Ok(()), "{kind:?} {nth}");
            if failed == 0 {
                break;
            }
            met += 1;
        }
    }
    assert!(met > 30, "{met} faults");
}
