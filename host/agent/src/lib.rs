//! The agent's loop: a pure function that says what comes next, and a driver that does it.
//!
//! * [`next`] looks at the session and names one [`Step`]. It decides nothing about
//!   tools; that is the dispatcher's.
//! * [`Driver`] performs steps until the run ends: with an answer, with an error, or waiting for a
//!   person. It keeps no state of its own: kill it anywhere, and another driver goes on from the
//!   journal.
//! * A host that shuts down tells the driver: it takes no new step, waits for the calls that are
//!   under way, and ends the run with `shutting_down`.
//!
//! * A [`ClientCall`] is a turn that a client took: the driver has it done, and asks no model.
//!
//! Topology: a ReAct loop with parallel reads and chained writes. Its signature crack is the
//! runaway iteration; here the iteration limit stops it.

mod client;
mod context;
mod desk;
mod driver;
mod prompt;
mod step;
mod tally;

pub use client::ClientCall;
pub use driver::{Driver, Ended, RunSpec};
pub use step::{Step, next, owes_confirmation};
pub use tally::Calls;

/// Turns of one session at most, unless the config says otherwise (requirement 102: 10 to 25 for
/// most workflows).
pub const DEFAULT_MAX_ITERATIONS: u32 = 20;
