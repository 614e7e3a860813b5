//! The far side of a case: scripted, counting, in a process of its own.
//!
//! * [`script`]: what it is told, and what it answers. Pure.
//! * [`ledger`]: what it did, and what it was asked.
//! * [`server`]: the process, on loopback; commands on standard input, answers on standard output.
//! * [`process`]: starting it and asking it, from the side of the test.
//!
//! It outlives the hosts that are killed, so its counts are what really happened.

mod ledger;
mod process;
mod script;
mod server;

pub(super) use ledger::{Did, Seen};
pub(super) use process::{FarSide, Happened, World};
pub(super) use script::{KeyPlace, Route, Script};
pub(crate) use server::serve;
