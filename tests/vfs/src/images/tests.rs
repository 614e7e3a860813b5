use super::*;
use crate::watch::Role;

const DB: &str = "a.db";
const WAL: &str = "a.db-wal";

fn write(path: &str, offset: u64, text: &[u8]) -> Entry {
    let path = path.into();
    let bytes = text.into();
    Entry::Write {
        path,
        offset,
        bytes,
    }
}

fn create(path: &str, role: Role) -> Entry {
    let path = path.into();
    Entry::Create { path, role }
}

fn sync(path: &str, sync_dir: bool) -> Entry {
    let path = path.into();
    Entry::Sync { path, sync_dir }
}

fn delete(path: &str, sync_dir: bool) -> Entry {
    let path = path.into();
    Entry::Delete { path, sync_dir }
}

fn lost(path: &str) -> Entry {
    Entry::Lost { path: path.into() }
}

fn truncate(path: &str, len: u64) -> Entry {
    let path = path.into();
    Entry::Truncate { path, len }
}

/// A file in text: a letter for each sector, `AAB` for two sectors of A and one of B. A dash for
/// a file that is not there.
fn text(file: Option<&[u8]>) -> String {
    let Some(bytes) = file else {
        return "-".into();
    };
    let sector = usize::try_from(SECTOR_BYTES).expect("small");
    let chunks = bytes.chunks(sector).map(|chunk| {
        assert!(chunk.iter().all(|b| *b == chunk[0]), "a mixed sector");
        if chunk[0] == 0 {
            '0'
        } else {
            char::from(chunk[0])
        }
    });
    chunks.collect()
}

/// What `path` may have after all entries.
#[track_caller]
fn check(entries: &[Entry], path: &str, expected: &[&str]) {
    let recorded = Recorded {
        base: BTreeMap::new(),
        entries: entries.to_vec(),
    };
    let images = recorded.images(1, 400);
    // What waits for a sync only grows, so images of earlier points stand for later ones, too.
    let waits = |e: &&Entry| matches!(e, Entry::Write { .. } | Entry::Truncate { .. });
    let from = entries.len() - entries.iter().rev().take_while(waits).count();
    let last = images.filter(|image| image.point >= from);
    let found: BTreeSet<String> = last
        .map(|image| {
            let files: BTreeMap<&Path, &[u8]> = image.files().collect();
            text(files.get(Path::new(path)).copied())
        })
        .collect();
    assert_eq!(found, expected.iter().map(|e| (*e).to_owned()).collect());
}

fn run(byte: u8, sectors: usize) -> Vec<u8> {
    vec![byte; sectors * usize::try_from(SECTOR_BYTES).expect("small")]
}

#[test]
fn each_sector_that_is_not_synced_is_old_or_new() {
    let mut log = vec![create(DB, Role::Database), write(DB, 0, &run(b'A', 2))];
    check(&log, DB, &["", "A", "AA", "0A"]);
    log.push(sync(DB, false));
    check(&log, DB, &["AA"]);
    log.push(write(DB, 0, &run(b'B', 2)));
    check(&log, DB, &["AA", "AB", "BA", "BB"]);
    log.push(write(DB, 0, &run(b'C', 1)));
    check(&log, DB, &["AA", "AB", "BA", "BB", "CA", "CB"]);
    log.push(sync(DB, false));
    check(&log, DB, &["CB"]);
}

#[test]
fn a_truncation_waits_for_its_sync() {
    let mut log = vec![
        create(DB, Role::Database),
        write(DB, 0, &run(b'A', 3)),
        sync(DB, false),
        truncate(DB, SECTOR_BYTES),
    ];
    check(&log, DB, &["A", "AAA"]);
    log.push(write(DB, SECTOR_BYTES, &run(b'B', 1)));
    check(&log, DB, &["A", "AAA", "AB", "ABA"]);
    log.push(sync(DB, false));
    check(&log, DB, &["AB"]);
}

#[test]
fn what_a_failed_sync_lost_does_not_come_back() {
    let mut log = vec![create(DB, Role::Database), write(DB, 0, &run(b'A', 1))];
    log.extend([sync(DB, false), write(DB, 0, &run(b'B', 1)), lost(DB)]);
    check(&log, DB, &["A"]);
    log.extend([write(DB, SECTOR_BYTES, &run(b'C', 1)), sync(DB, false)]);
    check(&log, DB, &["AC"]);
}

#[test]
fn a_name_is_certain_once_its_directory_is_synced() {
    let mut log = vec![
        create(WAL, Role::Wal),
        write(WAL, 0, &run(b'A', 1)),
        sync(WAL, false),
    ];
    check(&log, WAL, &["-", "A"]);
    log.push(sync(WAL, true));
    check(&log, WAL, &["A"]);
    log.push(delete(WAL, false));
    check(&log, WAL, &["-", "A"]);
    log.push(create(WAL, Role::Wal));
    check(&log, WAL, &["", "-", "A"]);
    log.push(sync(WAL, true));
    check(&log, WAL, &[""]);
    log.push(delete(WAL, true));
    check(&log, WAL, &["-"]);
}

#[test]
fn a_torn_write_is_cut_where_sectors_of_the_file_meet() {
    let ranges = |offset, len| sectors(offset, len).collect::<Vec<_>>();
    assert_eq!(ranges(0, 513), [0..512, 512..513]);
    assert_eq!(ranges(500, 600), [0..12, 12..524, 524..600]);
    assert_eq!(ranges(512, 0), []);
}

#[test]
fn an_image_goes_into_an_empty_directory_only() {
    let recorded = Recorded {
        base: BTreeMap::from([(PathBuf::from("below/a.db"), Arc::new(vec![1]))]),
        entries: vec![],
    };
    let image = recorded.images(0, 1).next().expect("an image");
    let dir = tempfile::tempdir().expect("a directory");
    image.write_to(dir.path()).expect("written");
    let written = fs::read(dir.path().join("below/a.db")).expect("there");
    assert_eq!(written, [1]);
    let error = image.write_to(dir.path()).expect_err("not empty");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn images_are_made_behind_a_point_and_in_part() {
    let mut entries = vec![create(DB, Role::Database)];
    entries.extend((0..50).map(|n| write(DB, n * SECTOR_BYTES, &run(b'A', 2))));
    let recorded = Recorded {
        base: BTreeMap::new(),
        entries,
    };
    let all = recorded.images(1, 4).count();
    let some = recorded.images(1, 4).sampled(100).count();
    assert!(some > 0 && some < all / 4, "{some} of {all}");
    let mut late = recorded.images(1, 4).behind(40);
    assert!(late.all(|image| image.point >= 40));
    let whole = |image: &Image| image.lost == 0 && image.torn == 0;
    assert_eq!(recorded.images(1, 2).filter(whole).count(), 52);
    assert!(recorded.images(1, 4).any(|image| image.torn == 1));
}

#[test]
fn without_its_syncs_a_log_may_be_lost() {
    let entries = vec![
        create(WAL, Role::Wal),
        write(WAL, 0, &run(b'A', 1)),
        sync(WAL, true),
    ];
    check(&entries, WAL, &["A"]);
    let recorded = Recorded {
        base: BTreeMap::new(),
        entries,
    };
    check(&recorded.without_wal_syncs().entries, WAL, &["-", "", "A"]);
}
