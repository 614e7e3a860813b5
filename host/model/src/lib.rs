//! The words of stoplog: ids, classes, the contract, calls, effects, events, money.
//!
//! Everything here is a plain value or a pure function. Nothing reads a clock, a file, a socket
//! or a random number: such edges are handed in through the traits of [`port`].
//!
//! The state of a session is the fold of its events: [`session::Session::apply`] is the only way
//! in which it changes, and an event that is not legal in the present state is an error value.

pub mod call;
pub mod class;
pub mod contract;
pub mod definition;
pub mod digest;
pub mod disclosure;
pub mod effect;
pub mod event;
pub mod id;
pub mod key;
pub mod money;
pub mod outcome;
pub mod port;
pub mod reason;
pub mod schema_size;
pub mod session;
pub mod state;
pub mod tool_span;
pub mod trace_context;
pub mod turn;

pub use call::{Call, Position};
pub use class::Class;
pub use contract::Contract;
pub use digest::Digest;
pub use effect::{EffectError, Outcome, Request, Response};
pub use event::{Event, Record};
pub use id::{ApprovalId, SessionId, SpanId, Tenant, ToolName, TraceId};
pub use key::{ActKey, CallKey};
pub use money::UsdMicros;
pub use outcome::{Aftermath, Disposition, ErrorCode, Finding, ToolError};
pub use reason::Reason;
pub use session::Session;
pub use tool_span::ToolSpan;
pub use trace_context::TraceContext;
