//! The way of one call: judged, gated, intended, sent, observed; and recovered after a crash.
//!
//! ```text
//! call --> policy::judge --> Clearance --> the sandbox runs the tool ----------> Observation
//!             | refuse, hold                  |              ^                        ^
//!             v                               v              |                        |
//!         Observation, or wait      gate: Permit + request --> Intent (durable) --> egress --> Outcome
//! ```
//!
//! Invariants:
//! * `dispatch` knows neither wasmtime nor SQLite: it sees a `Runner` and a `Store`.
//! * Nothing that may change the outside leaves before its intent is durable; the types of
//!   `policy`, `journal` and `egress` leave no other way.
//! * A request runs on a task of the host, never inside the guest's future: a guest that traps,
//!   times out or is dropped does not stop it, and its outcome is recorded all the same.
//! * A tool runs in a place of its tenant's, and tenants take turns: see `place.rs`.
//! * What ran before is not run again differently: recorded reads and settled effects are
//!   replayed, and a rerun that asks for something else is parked.

mod act;
mod confirm;
mod dispatcher;
mod execute;
mod gate;
mod place;
mod recover;
mod schema;
mod state;

pub use dispatcher::{Access, Dispatched, Dispatcher, Wait};
pub use place::{
    CALL_WAIT, CALLS_AT_ONCE, CALLS_AT_ONCE_PER_TENANT, CALLS_WAITING, CALLS_WAITING_PER_TENANT,
    default_bounds,
};
pub use schema::output_problem;
pub use state::StateRecord;
