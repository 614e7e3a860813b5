//! The durable record: the only maker of Intent and Observation, the Store trait and its
//! conformance suite.

pub mod proof;

pub use proof::{Intent, Observation, Settled};
