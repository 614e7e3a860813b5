//! Seeded simulation of host, journal and far side against an oracle.
//!
//! One seed is one world: sessions, tools, people, a far side, and hosts that die, freeze, lose
//! their store and are started again, in virtual time and without a socket, a disk or WebAssembly.
//! Dispatcher, journal, policy, egress and driver are the real ones.
//!
//! * [`world`] runs a seed to its end; [`oracle`] judges the history that it leaves;
//! * [`far`] is the far side, [`tools`] what runs in the sandbox's place, [`agent`] the model;
//! * [`disk`] is the disk of a world in which the power goes;
//! * [`life`] is what befalls a host; [`coverage`] counts what happened, so that a simulation that
//!   reaches less than it did fails.
//!
//! Invariant: a seed decides everything. Nothing here reads the machine's clock or its randomness.

pub mod agent;
pub mod coverage;
pub mod dice;
pub mod disk;
pub mod far;
pub mod life;
pub mod oracle;
pub mod people;
pub mod report;
pub mod time;
pub mod tools;
mod transcript;
pub mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hosts die while they hold locks; what is behind them is whole all the same.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
