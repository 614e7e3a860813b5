//! `nimbus-pay`: the demo, its backend, and stoplog itself.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use nimbus_pay::{backend, demo};
use tokio::net::TcpListener;

/// A refund agent on stoplog.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays two customers, kills the host in the middle of the second, and counts the refunds.
    Demo {
        /// Where everything is kept. It is emptied first, if an earlier demo made it.
        /// Default: target/nimbus-pay in the workspace.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Adds the tools, makes keys, and lets clients in: see examples/python-agent.
    Serve {
        /// Where everything is kept. It is emptied first, if an earlier demo made it.
        /// Default: target/nimbus-pay in the workspace.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Where the host listens.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
    },
    /// Serves the backend until SIGTERM or ctrl-c.
    Backend {
        /// SQLite file; it is made and filled if it is new.
        #[arg(long)]
        db: PathBuf,
        /// Address to listen at; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// File that the address is written to once the backend listens.
        #[arg(long)]
        port_file: Option<PathBuf>,
    },
    /// The stoplog command: `nimbus-pay host --config FILE trace show sess_88`.
    #[command(disable_help_flag = true)]
    Host {
        /// What stoplog is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { dir } => demo::play(dir.as_deref()),
        Command::Serve { dir, listen } => demo::serve(dir.as_deref(), listen),
        Command::Backend {
            db,
            listen,
            port_file,
        } => serve(&db, listen, port_file.as_deref()),
        Command::Host { args } => return host(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code says it all the same.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// stoplog's own command line: the host is a library, and this program embeds it.
fn host(args: Vec<OsString>) -> ExitCode {
    let name = OsString::from("stoplog");
    stoplog::main_with_args(std::iter::once(name).chain(args).collect())
}

fn serve(db: &Path, listen: SocketAddr, port_file: Option<&Path>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening at {listen}"))?;
        let address = listener.local_addr().context("reading the address")?;
        if let Some(port_file) = port_file {
            write_at_once(port_file, &address.to_string())?;
        }
        writeln!(std::io::stdout(), "listening at {address}").context("printing the address")?;
        backend::serve(listener, db).await
    })
}

/// Whoever waits for the file never reads half of it.
fn write_at_once(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_added_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("writing {}", file.display()))
}
