//! Counts what SQLite writes, from the outside: by its write-ahead log.
//!
//! A frame is one page. The last frame of each commit has the size of the database in it, so
//! commits can be counted too. See "WAL-Index Format" and "WAL File Format" of SQLite's file
//! format documentation.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// Bytes of a frame in the log, with 4 KiB pages.
pub(crate) const FRAME_BYTES: u64 = 4096 + FRAME_HEADER_BYTES;

fn beside(journal: &Path, suffix: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(four)
}

/// The log as it is: its salts, and the commits in it.
pub(crate) struct Log {
    salts: [u8; 8],
    commits: u64,
}

/// Salts of a log that has not begun.
const EMPTY: [u8; 8] = [0; 8];

/// Reads the log.
pub(crate) fn read(journal: &Path) -> anyhow::Result<Log> {
    let mut bytes = Vec::new();
    File::open(beside(journal, "-wal"))?.read_to_end(&mut bytes)?;
    // A host that opens a journal leaves its log empty.
    if (bytes.len() as u64) < HEADER_BYTES {
        return Ok(Log {
            salts: EMPTY,
            commits: 0,
        });
    }
    let mut salts = [0; 8];
    salts.copy_from_slice(&bytes[16..24]);
    let page_bytes = u64::from(be32(&bytes, 8));
    let frame = (page_bytes + FRAME_HEADER_BYTES) as usize;
    let valid = bytes[HEADER_BYTES as usize..]
        .chunks_exact(frame)
        .take_while(|f| f[8..16] == salts);
    let commits = valid.filter(|f| be32(f, 4) != 0).count() as u64;
    Ok(Log { salts, commits })
}

/// Commits between two looks; an error if the log began anew in between.
pub(crate) fn commits_between(before: &Log, after: &Log) -> anyhow::Result<u64> {
    anyhow::ensure!(
        before.salts == EMPTY || before.salts == after.salts,
        "the log began anew: make fewer calls"
    );
    Ok(after.commits - before.commits)
}

/// Counts frames while something runs, by looking at the log's index every millisecond. What was
/// written between the last look and a new beginning of the log is missed: a few per cent.
pub(crate) struct FrameCounter {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl FrameCounter {
    /// Begins to count.
    pub(crate) fn start(journal: &Path) -> anyhow::Result<FrameCounter> {
        let index = File::open(beside(journal, "-shm"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::Builder::new()
            .name("frame-counter".to_owned())
            .spawn(move || {
                let mut seen = frames(&index);
                let mut total = 0;
                while !told.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    let now = frames(&index);
                    total += u64::from(if now >= seen { now - seen } else { now });
                    seen = now;
                }
                total
            })?;
        Ok(FrameCounter { stop, thread })
    }

    /// How many it counted.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// `mxFrame` of the log's index, in the byte order of the machine.
fn frames(index: &File) -> u32 {
    let mut four = [0; 4];
    let _ = index.read_exact_at(&mut four, 16);
    u32::from_ne_bytes(four)
}
