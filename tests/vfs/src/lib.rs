//! A SQLite VFS for tests: it records what is written and synced, fails on demand, and makes the
//! images that a power cut may leave.
//!
//! A process that is killed loses nothing that it wrote: the kernel has it. A test that kills
//! hosts therefore never sees a missing sync. This crate does, without a machine to unplug.
//!
//! It stands in front of SQLite's "unix" VFS as the default of the process, so code under test
//! opens its files as ever. Three things can be asked of a directory, alone or together:
//!
//! - [`Recording`]: the order of writes, syncs and the test's own marks; then [`Recorded::images`],
//!   directories as a power cut at any point may leave them.
//! - [`Faults`]: the nth open, write, truncation or sync fails, once or from then on.
//! - [`on_sync`]: a callback before and after each real sync, for instance to kill the process.
//!
//! # Use
//!
//! Watch the directory, or [`install`], **before** the code under test opens its database: a
//! connection that was open before the VFS was installed is not seen, and its directory is refused
//! ([`WatchError::Unseen`]). The directory has to exist. Each test has its own, so tests of one
//! process run side by side.
//!
//! ```
//! use rusqlite::Connection;
//! use stoplog_vfs::{Fault, Faults, Kind, Recording};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let recording = Recording::start(dir.path())?;
//! let faults = Faults::below(dir.path())?;
//!
//! let c = Connection::open(dir.path().join("a.db"))?;
//! c.pragma_update(None, "journal_mode", "WAL")?;
//! c.pragma_update(None, "synchronous", "FULL")?;
//! c.execute("CREATE TABLE t (n INTEGER)", [])?;
//! for n in 1..=5 {
//!     c.execute("INSERT INTO t VALUES (?)", [n])?;
//!     recording.mark(n); // commit n was acknowledged
//! }
//! faults.arm(Fault::once(Kind::SyncFails, 1));
//! assert!(c.execute("INSERT INTO t VALUES (6)", []).is_err());
//! drop(c);
//!
//! for image in recording.stop().images(42, 4) {
//!     let dir = tempfile::tempdir()?;
//!     image.write_to(dir.path())?;
//!     let c = Connection::open(dir.path().join("a.db"))?;
//!     for n in &image.marks {
//!         let found = c.query_row("SELECT n FROM t WHERE n = ?", [n], |r| r.get::<_, u64>(0));
//!         assert!(found.is_ok(), "{n} is lost: {}", image.description);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A sweep over all operations runs the work once without faults, takes [`Faults::counts`], and
//! then arms each `nth` up to that count in a fresh directory. [`Counts::failed`] says whether
//! the fault was met.
//!
//! # What a power cut takes
//!
//! A point is a number of log entries that had happened. Points lie between all neighbouring
//! entries: before a write, between write and sync, during a sync (which is the point before
//! it), after it, and on both sides of a mark.
//!
//! - **Durable** is what was written to a file before a sync of it that succeeded, what was in
//!   the directory when the recording began, and what was in a file that SQLite found made by
//!   other means ([`Entry::Found`]).
//! - **Writes and truncations since the last sync** of a file reach the disk or do not: none, all,
//!   a prefix, or any subset, in which later ones arrive without earlier ones. Files are drawn
//!   independently. One write may be torn: of its sectors ([`SECTOR_BYTES`], aligned to the file,
//!   so also within a page) the first, the last or any arrive. Kept ones are applied in their
//!   order, as a page cache never writes an older value over a newer one. A gap is zero.
//! - **Names.** A database is there for certain as soon as SQLite made it: "unix" does not sync
//!   its directory, and whoever relies on the file has to. A journal or WAL may be missing until
//!   its first sync, with which "unix" syncs the directory. A deleted file may be back, with what
//!   was durable of it, until its directory is synced: with the deletion if SQLite asks for it
//!   (`synchronous = EXTRA` only), or with the first sync of a new journal or WAL beside it. A
//!   name that changed several times may stop at any of the changes; names are independent.
//! - **Shared memory** (`-shm`) is in no image: SQLite makes it anew from the WAL.
//!
//! # What a fault does
//!
//! See [`Kind`]. [`Kind::SyncLoses`] is the kernel that throws dirty pages away after a failed
//! fsync: the writes since the last sync are taken back from the file that the process sees, no
//! image has them any more, and later syncs succeed. Faults are counted over databases, journals
//! and WALs together, in the order of the process.
//!
//! # What is not modelled
//!
//! - A disk that lies: a sync that succeeds is believed. Nor bits that rot, nor garbage in
//!   sectors that were never written, nor damage beside a write (SQLite is told
//!   `POWERSAFE_OVERWRITE`, as "unix" tells it; atomic writes that the file system may offer are
//!   hidden from it).
//! - A lossy sync after which the cache still shows what the disk lacks (ext4 does that): here
//!   the process sees the loss at once. Nor one that loses a part only.
//! - Several torn writes to one file in one image.
//! - Files that others write, or delete, while the recording runs: they are in the images as they
//!   were at its beginning. Temporary files of SQLite are passed through, and counted nowhere.
//! - Writes through a memory map: SQLite makes none, as it maps databases for reading only.
//! - Other processes: each has its own VFS. Do not record a directory that another writes to.
//! - Concurrency of the disk: while a directory is watched, its writes and syncs happen one at a
//!   time, in the order of the log.
//! - Failing reads, deletions, locks and shared memory. A real failure of the machine's own file
//!   system goes to SQLite, and not into the log.

mod disk;
mod faults;
mod ffi;
mod images;
mod open;
mod record;
mod rng;
mod watch;

pub use faults::{Counts, Fault, Faults, Kind, Op};
pub use ffi::install;
pub use images::{Image, Images, SECTOR_BYTES};
pub use record::{Entry, Marker, Recorded, Recording};
pub use watch::{Moment, OnSync, Role, SyncWatcher, WatchError, on_sync};
