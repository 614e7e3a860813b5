//! A refund agent on stoplog: backend, five tools, and a demo that kills the host.
//!
//! The tools are a workspace of their own, in `tools/`; a build script makes them, and
//! [`tool_file`] says where each one lies.

pub mod backend;
pub mod client;
pub mod demo;

use std::path::{Path, PathBuf};

/// Where the build script put the tools.
const TOOLS_DIR: &str = env!("STOPLOG_GUESTS_DIR");

/// What a person accepts when a tool of class 3 or 4 is added; nothing is asked below that.
pub const TOOLS: [(&str, Option<&str>); 5] = [
    ("find_customer_by_email", None),
    ("list_orders", None),
    ("retrieve_policy", None),
    ("issue_refund", Some("irreversible")),
    ("send_customer_email", Some("external")),
];

/// The component of a tool.
pub fn tool_file(tool: &str) -> PathBuf {
    Path::new(TOOLS_DIR).join(format!("{tool}.wasm"))
}
