//! Facts of the call, and ways to be heard. Every class may use this.
//!
//! Outside a component, in the unit tests of a tool, those that speak do nothing and
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

/// Puts a name and a value on the call's span: 32 a call at most, values up to 1,024 bytes. Traces
/// show it if the tool lists the name, `#[tool(annotations = ["region"])]`, and hide it if not.
pub fn annotate(name: &str, value: impl Display) {
    let value = value.to_string();
    #[cfg(target_family = "wasm")]
    crate::bindings::context::annotate(name, &value);
    #[cfg(not(target_family = "wasm"))]
    let _ = (name, value);
}

/// Begins a part of the call: a span of its own below the call's, until the value is dropped or the
/// call is over. The host times it. Traces show its name if the tool lists it,
/// `#[tool(spans = ["lookup"])]`, and hide it if not.
///
/// ```
/// # use stoplog_sdk::prelude::*;
/// let lookup = context::span("lookup");
/// lookup.annotate("rows", 3);
/// drop(lookup);
/// ```
pub fn span(name: &str) -> Span {
    #[cfg(target_family = "wasm")]
    return Span(crate::bindings::context::Span::new(name));
    #[cfg(not(target_family = "wasm"))]
    {
        let _ = name;
        Span(())
    }
}

/// A part of the call that lasts. See [`span`].
#[derive(Debug)]
#[must_use = "a span that is dropped at once is over at once"]
pub struct Span(
    #[cfg(target_family = "wasm")] crate::bindings::context::Span,
    #[cfg(not(target_family = "wasm"))] (),
);

impl Span {
    /// Puts a name and a value on it, as [`annotate`] does on the call's.
    pub fn annotate(&self, name: &str, value: impl Display) {
        let value = value.to_string();
        #[cfg(target_family = "wasm")]
        self.0.annotate(name, &value);
        #[cfg(not(target_family = "wasm"))]
        let _ = (name, value);
    }
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
