//! Stores for the journal, and for traces: rows in, rows out. All meaning lives in
//! `stoplog-journal` and `stoplog-telemetry`.
//!
//! * [`SqliteStore`]: the embedded default. One file, WAL, `synchronous=FULL`, one writer thread.
//! * [`MemoryStore`]: for tests and simulations. The same suite, no disk.
//! * [`FaultyStore`]: any other store, failing on schedule.
//! * [`TraceDb`]: spans in columns, a projection of the journal in a file of its own.
//! * [`DataDir`]: the directory that a host works in, and the lock on it.

pub mod data_dir;
mod faulty;
pub mod memory;
pub mod sqlite;
pub mod traces;

pub use data_dir::DataDir;
pub use faulty::{FAULT_TEXT, FailFrom, Fault, FaultyStore, Op, Schedule};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use traces::TraceDb;
