//! Stores for the journal: rows in, rows out. All meaning lives in `stoplog-journal`.
//!
//! * [`SqliteStore`]: the embedded default. One file, WAL, `synchronous=FULL`, one writer thread.
//! * [`MemoryStore`]: for tests and simulations. The same suite, no disk.
//! * [`FaultyStore`]: any other store, failing on schedule.
//! * [`DataDir`]: the directory that a host works in, and the lock on it.

pub mod data_dir;
mod faulty;
pub mod memory;
pub mod sqlite;

pub use data_dir::DataDir;
pub use faulty::{FAULT_TEXT, FailFrom, Fault, FaultyStore, Op, Schedule};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
