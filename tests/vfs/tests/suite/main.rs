//! The VFS against rusqlite itself: it has to find what is known to be lost, and nothing else.

mod faults;
mod fsyncgate;
mod ledger;
mod power;
mod syncs;
