//! The only crate that knows wasmtime: engine, limits, loader, host functions.
//!
//! [`Sandbox`] loads components and implements [`stoplog_model::port::Runner`]; whatever leaves a
//! guest goes through the [`stoplog_model::port::Gate`] of its run.
//!
//! What is absent: this crate opens no socket, reads no clock that a guest could see, keeps
//! nothing of a run after it, and does not know the journal, the policy or the network.

mod binary;
mod bindings;
mod cache;
mod calllog;
mod engine;
mod host;
mod http;
mod keep;
pub mod limits;
mod linker;
mod loader;
mod run;
mod runner;
mod slices;
mod spans;
mod traffic;
mod virtual_world;

pub use cache::Origin;
pub use engine::Allocation;
pub use host::UNDO_LABEL;
pub use loader::{Import, ImportKind, Inspection, LoadError, PACKAGE, PACKAGE_VERSION, inspect};
pub use runner::{Sandbox, SandboxError, Settings};
pub use slices::worker_threads;

#[cfg(test)]
mod tests;
