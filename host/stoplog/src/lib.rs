//! The `stoplog` command as a library: CLI, config, wiring.
//!
//! `main` wires the edges that everything below is handed: the clock, the store, the way out, the
//! sandbox, the shutdown. A program that has the host in it opens one with [`embed::Host`], and owns
//! its process and its signals. One that is the command under another name calls
//! [`main_with_args`]; tests that want to know when the host passes a stage call [`main_with`]. Both
//! are the `main` of a process: `run`, `resume` and `serve` take SIGTERM and SIGINT over, and may end
//! the process.

mod args;
mod bounded;
mod commands;
pub mod config;
pub mod embed;
mod error;
mod files;
mod host;
mod lock;
mod output;
mod people;
mod project;
mod sample;
mod signals;
mod templates;
mod tooltest;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use stoplog_model::port::{Unwatched, Watch};
use tokio_util::sync::CancellationToken;

pub use error::{CliError, Exit};

/// Runs the command line, as `stoplog` does.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    main_with(args, Arc::new(Unwatched))
}

/// The same, with someone who is told of every stage.
pub fn main_with(args: Vec<OsString>, watch: Arc<dyn Watch>) -> ExitCode {
    let parsed = match args::Args::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are no errors; clap knows where each belongs.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let json = parsed.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(stoplog_sandbox::worker_threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            output::print_error(json, &CliError::internal(format!("no runtime: {e}")));
            return Exit::Failed.into();
        }
    };
    let shutdown = match parsed.command.runs_sessions() {
        true => signals::listen(),
        false => Ok(CancellationToken::new()),
    };
    let result =
        shutdown.and_then(|shutdown| runtime.block_on(commands::run(parsed, watch, shutdown)));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::print_error(json, &error);
            error.exit().into()
        }
    }
}
