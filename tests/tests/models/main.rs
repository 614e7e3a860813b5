//! A real host and a model provider in a process of the test, which fails on schedule: what is asked
//! again, what is paid, who takes over, and what a host that is killed meanwhile leaves on record.
//!
//! `gateway` has the same host ask a gateway that nobody here wrote.

mod context;
mod fallback;
mod gateway;
mod killed;
mod provider;
mod scene;
mod watched;
