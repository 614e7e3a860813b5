//! Write a stoplog tool in Rust: a struct in, a struct out, one function.
//!
//! A tool is a WebAssembly component of one of five blast-radius classes. The class is an argument
//! of [`#[tool]`](macro@tool), and what it owes is checked when the tool is compiled: a write tool
//! without a key, a field without a disclosure, an irreversible tool without a preview do not
//! compile, and the message says what to add.
//!
//! | class | changes | owes besides the function |
//! |---|---|---|
//! | `pure` | nothing, and reaches nothing | |
//! | `read` | nothing | |
//! | `reversible` | what can be changed back | `key`, `probe`, `undo` |
//! | `external` | something at someone else's | `key`, `probe` |
//! | `irreversible` | what cannot be changed back | `key`, `probe`, `preview` |
//!
//! # A tool that pays money back
//!
//! ```
//! use stoplog_sdk::prelude::*;
//!
//! const REFUNDS: &str = "http://nimbus.internal/refunds";
//!
//! #[input]
//! struct RefundInput {
//!     /// Six-digit order number.
//!     #[audit] #[identifier("order_id")]
//!     order_id: String,
//!     /// Whole rupees.
//!     #[audit] amount_inr: u64,
//!     #[audit] reason: Reason,
//!     /// For the customer.
//!     #[personal] note: Option<String>,
//! }
//!
//! /// Why the money goes back.
//! #[choice]
//! enum Reason { Delay, Damaged }
//!
//! #[output]
//! struct RefundOutput {
//!     #[audit] #[identifier("refund_id")]
//!     refund_id: String,
//! }
//!
//! /// Pays money back for an order. Use it once the customer's claim is checked.
//! #[tool(
//!     class = irreversible,
//!     key = "refund_{order_id}_{reason}", scope = tenant,
//!     keeps_keys = true, timeout_ms = 10_000,
//!     egress = ["http://nimbus.internal"],
//!     preview = preview, probe = probe,
//! )]
//! fn issue_refund(input: RefundInput, permit: Permit) -> Result<RefundOutput, ToolError> {
//!     let response = permit.perform(Request::post(REFUNDS).json(&input))?;
//!     response.success()?.json()
//! }
//!
//! fn preview(input: RefundInput) -> Result<String, ToolError> {
//!     let RefundInput { order_id, amount_inr, reason, .. } = input;
//!     Ok(format!("Pay back {amount_inr} rupees for order {order_id}: {reason}."))
//! }
//!
//! fn probe(_: RefundInput, key: &str) -> Result<Finding<RefundOutput>, ToolError> {
//!     let found: Vec<Refund> = http::get_with(REFUNDS, &[("key", &key)])?.success()?.json()?;
//!     Ok(match found.as_slice() {
//!         [] => Finding::Absent,
//!         [refund] => Finding::Once(RefundOutput { refund_id: refund.refund_id.clone() }),
//!         many => Finding::Several(many.len() as u32),
//!     })
//! }
//!
//! /// A refund as the far side lists it.
//! #[wire]
//! struct Refund { refund_id: String }
//! # fn main() {}
//! ```
//!
//! It is built as a `cdylib` with `cargo build --release --target wasm32-wasip2`. This crate is
//! its only dependency:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! stoplog-sdk = { path = "../../tools/sdk" }
//!
//! [profile.release]
//! opt-level = "s"
//! lto = true
//! strip = true
//! panic = "abort"
//! ```
//!
//! # The signatures
//!
//! | function | type |
//! |---|---|
//! | the tool, `pure` or `read` | `fn(Input) -> Result<Output, ToolError>` |
//! | the tool, a write class | `fn(Input, Permit) -> Result<Output, ToolError>` |
//! | `preview` | `fn(Input) -> Result<String, ToolError>` |
//! | `probe` | `fn(Input, &str) -> Result<Finding<Output>, ToolError>` |
//! | `undo` | `fn(Input, Option<Output>, Permit) -> Result<String, ToolError>` |
//!
//! `undo` gets `None` when nobody knows whether the call got through: undoing what was never done
//! must succeed. `probe` and `preview` may look and not write.
//!
//! # Errors
//!
//! `?` does the right thing. [`Permit::perform`] says by its error whether something may have
//! happened; [`http::Response::success`] maps statuses; [`ToolError`] has a constructor for each
//! kind: `ToolError::not_found("no order 4711").hint("ask for the order number")`.
//!
//! # State
//!
//! From class 1 up a tool may keep values between its calls, for each tenant apart: see [`state`].
//!
//! # Outside a component
//!
//! The crate compiles for the host as well, so a tool's logic can have unit tests. [`context`]
//! works there with made-up facts; sending a request panics, for there is no host to send it.

#[cfg(test)]
extern crate self as stoplog_sdk;

#[doc(hidden)]
#[path = "rt.rs"]
pub mod __rt;
mod bindings;
pub mod context;
mod effect;
mod error;
pub mod http;
mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use effect::{EffectError, Finding, Permit};
pub use error::{Aftermath, ErrorCode, ToolError};
pub use schema::{FieldType, Input, KeyPart, Output};
pub use serde_json::{Value, json};
pub use stoplog_sdk_macros::{choice, input, output, part, tool, wire};

/// What a tool needs: `use stoplog_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::context::{self, Level};
    pub use crate::http::{self, Request, Response};
    pub use crate::state;
    pub use crate::{Aftermath, EffectError, ErrorCode, Finding, Permit, ToolError};
    pub use crate::{Value, json};
    pub use crate::{choice, input, output, part, tool, wire};
}
