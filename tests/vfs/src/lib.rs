//! A SQLite VFS for tests: it records what is written and synced, fails on demand, and makes the
//! images that a power cut may leave.

mod disk;
mod faults;
mod ffi;
mod images;
mod record;
mod rng;
mod watch;

pub use faults::{Counts, Fault, Faults, Kind, Op};
pub use images::{Image, Images, SECTOR_BYTES};
pub use record::{Entry, Marker, Recorded, Recording};
pub use watch::{Moment, OnSync, Role, SyncWatcher, WatchError, on_sync};
