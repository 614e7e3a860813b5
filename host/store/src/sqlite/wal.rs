//! A look into the write-ahead log before SQLite reads it.
//!
//! SQLite ends the log at the first frame whose checksum is wrong: that is right for what a power
//! cut tore, and silent about a byte that went bad later, behind which good commits are lost. The
//! two can be told apart. A commit is synced before the next one is begun, and the checksum of
//! each frame goes on from that of the frame before. So where a frame goes on from a commit, that
//! commit was whole on the disk, and so was all before it: a broken frame before such a place
//! means damage, and the host must not start on the rest.
//!
//! That frames of this generation lie behind the broken one means nothing by itself: a transaction
//! that a power cut tore stays there until it is written over, and may be longer than what was
//! written since. Its frames do not go on from the commit that now ends before them.
//!
//! What cannot be told: damage to the very last transaction looks like a power cut.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#walformat>.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stoplog_journal::StoreError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// SQLite's own, since 2016.
const DEFAULT_PAGE_BYTES: usize = 4096;
/// The magic number, without its last bit, which tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// How long to wait before a broken log is looked at again: another process may be writing to it.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// The log's file.
pub(super) fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Refuses a log in which a commit is broken that others followed.
pub(super) fn check(database: &Path) -> Result<(), StoreError> {
    let wal = beside(database);
    let look = || -> std::io::Result<Option<String>> {
        match fs::read(&wal) {
            Ok(bytes) => Ok(damage(&bytes, database)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    };
    let unreadable = |e| StoreError::Unwritable(format!("{}: {e}", wal.display()));
    let Some(first) = look().map_err(unreadable)? else {
        return Ok(());
    };
    std::thread::sleep(SECOND_LOOK);
    match look().map_err(unreadable)? {
        Some(again) if again == first => {
            Err(StoreError::Corrupt(format!("{}: {first}", wal.display())))
        }
        _ => Ok(()),
    }
}

/// How many frames SQLite would read, for tests.
#[cfg(test)]
pub(super) fn good_frames(bytes: &[u8], database: &Path) -> usize {
    Log::new(bytes, database).map_or(0, |log| log.first_bad())
}

struct Log<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    big_endian: bool,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

impl<'a> Log<'a> {
    /// None for what is too short to be one. The page size is the database's, where that has one
    /// already: a broken log must not tell how it is read.
    fn new(bytes: &'a [u8], database: &Path) -> Option<Log<'a>> {
        let log = Log {
            bytes,
            page_bytes: page_bytes_of(database)
                .or_else(|| page_bytes(word(bytes, 8)))
                .unwrap_or(DEFAULT_PAGE_BYTES),
            big_endian: word(bytes, 0) & 1 == 1,
        };
        (bytes.len() > HEADER_BYTES).then_some(log)
    }

    fn frames(&self) -> usize {
        (self.bytes.len() - HEADER_BYTES) / (FRAME_HEADER_BYTES + self.page_bytes)
    }

    fn frame(&self, index: usize) -> &'a [u8] {
        let size = FRAME_HEADER_BYTES + self.page_bytes;
        let at = HEADER_BYTES + index * size;
        &self.bytes[at..at + size]
    }

    fn salts(&self) -> (u32, u32) {
        (word(self.bytes, 16), word(self.bytes, 20))
    }

    fn checksum(&self, bytes: &[u8], (mut s0, mut s1): (u32, u32)) -> (u32, u32) {
        let (pairs, _) = bytes.as_chunks::<8>();
        for pair in pairs {
            let [a, b, c, d, e, f, g, h] = *pair;
            let (x, y) = if self.big_endian {
                (
                    u32::from_be_bytes([a, b, c, d]),
                    u32::from_be_bytes([e, f, g, h]),
                )
            } else {
                (
                    u32::from_le_bytes([a, b, c, d]),
                    u32::from_le_bytes([e, f, g, h]),
                )
            };
            s0 = s0.wrapping_add(x).wrapping_add(s1);
            s1 = s1.wrapping_add(y).wrapping_add(s0);
        }
        (s0, s1)
    }

    fn has_good_header(&self) -> bool {
        let sum = self.checksum(&self.bytes[..24], (0, 0));
        word(self.bytes, 0) & !1 == MAGIC & !1
            && sum == (word(self.bytes, 24), word(self.bytes, 28))
    }

    fn stored_sum(&self, index: usize) -> (u32, u32) {
        let frame = self.frame(index);
        (word(frame, 16), word(frame, 20))
    }

    /// The sum that the one of a frame goes on from.
    fn sum_before(&self, index: usize) -> (u32, u32) {
        match index.checked_sub(1) {
            Some(before) => self.stored_sum(before),
            None => (word(self.bytes, 24), word(self.bytes, 28)),
        }
    }

    fn sum_from(&self, index: usize, before: (u32, u32)) -> (u32, u32) {
        let frame = self.frame(index);
        let sum = self.checksum(&frame[..8], before);
        self.checksum(&frame[FRAME_HEADER_BYTES..], sum)
    }

    fn has_salts(&self, index: usize) -> bool {
        frame_salts(self.frame(index)) == self.salts()
    }

    /// The first frame that SQLite would not read.
    fn first_bad(&self) -> usize {
        let is_good = |index: &usize| {
            let sum = self.sum_from(*index, self.sum_before(*index));
            self.has_salts(*index) && sum == self.stored_sum(*index)
        };
        (0..self.frames()).take_while(is_good).count()
    }

    /// Whether the sum of a frame goes on from the one before, as that is stored or, should it be
    /// that which went bad, as it would be.
    fn goes_on(&self, index: usize) -> bool {
        let is_sum = |before| self.sum_from(index, before) == self.stored_sum(index);
        let computed = |before| self.sum_from(before, self.sum_before(before));
        let before = index.checked_sub(1);
        is_sum(self.sum_before(index)) || before.is_some_and(|b| is_sum(computed(b)))
    }

    /// Whether the frame behind this one was begun when this one ended a commit. `bad` is the first
    /// that is broken. Another one must be whole, or its mark of a commit is worth nothing: a power
    /// cut can tear a header within, and leave the mark of an older frame before a newer sum.
    fn was_followed(&self, index: usize, bad: usize) -> bool {
        let next = index + 1;
        if next >= self.frames() || !is_commit(self.frame(index)) || !self.has_salts(next) {
            return false;
        }
        let is_whole = || self.has_salts(index) && self.goes_on(index);
        (index == bad || is_whole()) && self.goes_on(next)
    }
}

fn page_bytes(word: u32) -> Option<usize> {
    let bytes = word as usize;
    (bytes.is_power_of_two() && (512..=65536).contains(&bytes)).then_some(bytes)
}

/// The page size in the header of the database: two bytes at 16, in which 1 means 65536.
fn page_bytes_of(database: &Path) -> Option<usize> {
    let mut header = [0; 18];
    File::open(database).ok()?.read_exact(&mut header).ok()?;
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => Some(65536),
        n => page_bytes(n.into()),
    }
}

fn frame_salts(frame: &[u8]) -> (u32, u32) {
    (word(frame, 8), word(frame, 12))
}

/// Whether the frame ends a transaction.
fn is_commit(frame: &[u8]) -> bool {
    word(frame, 4) != 0
}

/// What is wrong with a log that no power cut explains.
fn damage(bytes: &[u8], database: &Path) -> Option<String> {
    let log = Log::new(bytes, database)?;
    if !log.has_good_header() {
        return lost_generation(&log, database);
    }
    let bad = log.first_bad();
    let is_damage = (bad..log.frames()).any(|index| log.was_followed(index, bad));
    is_damage.then(|| {
        let frame = bad + 1;
        format!("frame {frame} of the write-ahead log is damaged, and commits follow on it")
    })
}

/// With a broken header SQLite reads nothing. That is right when the log is an old one, whose
/// pages are all in the database.
fn lost_generation(log: &Log<'_>, database: &Path) -> Option<String> {
    if log.frames() == 0 {
        return None;
    }
    let salts = frame_salts(log.frame(0));
    let mut pages = BTreeMap::new();
    let mut open = BTreeMap::new();
    for index in 0..log.frames() {
        let frame = log.frame(index);
        if frame_salts(frame) != salts {
            break;
        }
        open.insert(word(frame, 0), index);
        if is_commit(frame) {
            pages.append(&mut open);
        }
    }
    let mut file = File::open(database).ok()?;
    let mut page = vec![0; log.page_bytes];
    let is_there = |(number, index): (&u32, &usize)| {
        let at = u64::from(number.saturating_sub(1)) * log.page_bytes as u64;
        let read = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut page));
        read.is_ok() && page == log.frame(*index)[FRAME_HEADER_BYTES..]
    };
    let all = pages.iter().all(is_there);
    (!all).then(|| "the header of the write-ahead log is damaged, and commits are in it".to_owned())
}
