//! Facts in, verdict out. Pure: no clock, no store, no network.
//!
//! * [`judge()`] decides whether a call may run, must wait for a person, or is refused. It is the
//!   only maker of [`Clearance`], and a [`Permit`] comes from a clearance alone.
//! * [`recovery`] decides what cures a call whose effect is in doubt.
//! * [`aftermath`] decides what is believed when a call failed.
//! * [`claims`] decides whether an answer says that something was done which nothing did.
//! * [`placeholder`] keeps the model from naming secrets.
//! * [`readable`] makes text safe for the eyes of the person who approves.
//!
//! Invariant: nothing here performs anything. A verdict is a value; the dispatcher acts on it.

pub mod aftermath;
pub mod approval;
pub mod claims;
pub mod clearance;
pub mod judge;
pub mod placeholder;
pub mod readable;
pub mod recovery;

pub use approval::ApprovalRules;
pub use claims::ClaimRules;
pub use clearance::{Clearance, Permit};
pub use judge::{Facts, Judgement, judge};
