//! The durable record of every session.
//!
//! * [`SessionJournal`] is the only way to write: it takes events, checks each against the fold of
//!   all events before, commits them through a [`Store`], and only then applies them. So no state
//!   in memory is ever ahead of the disk.
//! * [`Intent`] and [`Observation`] are proofs that something is durable; only this crate makes
//!   them.
//! * [`Store`] is the trait of the stores below: rows in, rows out, no meaning.
//! * [`conformance`] is the suite that every store passes.
//!
//! Fault model: the process may die at any instruction; a commit may fail, or succeed and be
//! reported as failed; another host may take the session over. A store answers `Ok` only for what
//! is on disk, and refuses what an older lease writes.

pub mod chain;
pub mod cipher;
pub mod codec;
pub mod conformance;
pub mod error;
pub mod feed;
pub mod lease;
pub mod opening;
pub mod proof;
pub mod session;
pub mod state;
pub mod store;
pub mod takeover;

pub use cipher::{Cipher, CipherKey, KeyId, Place};
pub use error::JournalError;
pub use feed::{Cursor, Fed, Feed, Portion};
pub use lease::LeaseKeeper;
pub use opening::{Loaded, OnCommit, Opening, load, load_each, read_each, read_one};
pub use proof::{Intent, Observation, Settled};
pub use session::SessionJournal;
pub use state::{StateEntry, StateRow, States};
pub use store::{
    ActKeyRow, ActKeyState, Batch, Dossier, Head, Lease, Link, OpenIntentRow, Part, Pruned,
    Reading, Retention, Row, SessionRow, SnapshotRow, Store, StoreError, Upkeep, Which,
};
pub use takeover::{Taken, take_over};
