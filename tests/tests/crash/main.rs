//! The host is killed with SIGKILL at every stage, for every class that writes and every kind of far
//! side, once and again while it recovers; it is started again, and its far side, a process of its
//! own, has counted.
//!
//! Invariants, in every case:
//! * each effect is in force once and was done once; or it is parked with a record, a person who
//!   looks at the far side decides, and the session ends;
//! * what was observed before the kill is there afterwards as it was, and the session goes on at the
//!   iteration of the first call that was not;
//! * every request carried the key of its effect;
//! * each effect has one span of its own, and each run one root;
//! * what the agent saw and did is what it sees and does when nobody kills it.
//!
//! The whole matrix runs by default; `STOPLOG_SWEEP=sample` takes a ninth of it: see `sweep`.

mod approvals;
mod between;
mod cell;
mod door;
mod points;
mod prune;
mod second;
mod state;
mod sweep;
