//! Facts of the call, and ways to be heard. Every class may use this.
//!
//! Outside a component, in the unit tests of a tool, the three that speak do nothing and
//! [`current`] tells of a call of its own making.

use std::fmt::Display;

pub use crate::bindings::context::{CallInfo, Level};

/// The facts of this call. They are the same when the call is run again after a crash, but for
/// `attempt`.
pub fn current() -> CallInfo {
    #[cfg(target_family = "wasm")]
    return crate::bindings::context::current();
    #[cfg(not(target_family = "wasm"))]
    CallInfo {
        tenant: "test".to_owned(),
        session: "test".to_owned(),
        call_id: "0".repeat(64),
        attempt: 1,
        started_at_ms: 0,
        scheduled_for_ms: None,
        deadline_ms: 10_000,
    }
}

/// Puts a name and a value on the call's span: 32 a call at most, values up to 1,024 bytes. It is
/// not redacted, so no personal data here.
pub fn annotate(name: &str, value: impl Display) {
    let value = value.to_string();
    #[cfg(target_family = "wasm")]
    crate::bindings::context::annotate(name, &value);
    #[cfg(not(target_family = "wasm"))]
    let _ = (name, value);
}

/// Writes a line to the call's log, which is bounded like standard output.
pub fn log(level: Level, message: impl Display) {
    let message = message.to_string();
    #[cfg(target_family = "wasm")]
    crate::bindings::context::log(level, &message);
    #[cfg(not(target_family = "wasm"))]
    let _ = (level, message);
}

/// Says how far the call is: `done` of `total`, if that is known. Shown, not recorded.
pub fn progress(done: u64, total: Option<u64>, note: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::context::progress(done, total, note);
    #[cfg(not(target_family = "wasm"))]
    let _ = (done, total, note);
}
