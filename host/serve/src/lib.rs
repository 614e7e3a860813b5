//! Front doors: HTTP and MCP, for clients that nobody here wrote.
//!
//! The only crate that knows their wire formats. What it needs of the host is a seam, [`Host`]: a
//! call that comes through a door is judged, journalled, keyed, deduplicated and recovered as
//! every call is, by whoever implements it.
//!
//! Invariants:
//! * the listener, the host, the clock and the end are handed in: this crate opens nothing;
//! * every route but `/health`, `/ready` and `/openapi.json` knows its [`Caller`], and what that
//!   one may do; a tenant's caller never sees another tenant. `/metrics`, which is of all tenants,
//!   is for a role of its own, or as the operator says ([`Measured`]);
//! * an agent never decides what a person has to: no role has both rights;
//! * what is not committed is never told as done;
//! * a request that goes wrong, or a handler that panics, is an answer with a reason code, and
//!   the process goes on;
//! * a client that goes away takes nothing with it: what was begun is finished and journalled.

mod caller;
mod http;
mod keys;
mod limits;
mod listen;
mod mcp;
mod problem;
mod seam;

pub use caller::{Caller, Right, Role};
pub use http::{Aside, Auth, Measured, Settings, openapi, serve};
pub use keys::{Key, KeyFile, KeyFileError, KeyRing};
pub use limits::Limits;
pub use mcp::{Approver, PROTOCOLS, stdio};
pub use seam::{
    Admitted, Answer, Answered, Ask, Came, Condition, Decision, Found, Heard, Host, Progress,
    Question, Refusal, RunAsk, Settle, StreamEnd, Tool, Waiting,
};
