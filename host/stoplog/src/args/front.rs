//! `serve`, `mcp` and `key` as they may be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use stoplog_model::Tenant;

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// Where to listen; wins over [serve] listen. Port 0 takes a free one, and the first line printed
    /// says which.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// The scripted model's file; wins over the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Health {
    /// Whether it takes work, and not only whether it lives.
    #[arg(long)]
    pub(crate) ready: bool,
    /// Where it listens; wins over [serve] listen.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Mcp {
    #[command(subcommand)]
    pub(crate) command: Option<McpCommand>,
    /// Whose data and budget it is. Never defaulted.
    #[arg(long, required = true)]
    pub(crate) tenant: Option<Tenant>,
    /// Who the client acts for; in spans, cost, and the scope of its keys.
    #[arg(long, default_value = "mcp")]
    pub(crate) user: String,
    /// The person at the client, by name: what they answer there counts as their approval. Leave it
    /// out where a program may answer by itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) approver: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// Write the entry of this server into a client's configuration, once you have seen it.
    Install(Install),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Install {
    /// The client.
    #[arg(long)]
    pub(crate) client: Client,
    /// Whose data and budget it is.
    #[arg(long)]
    pub(crate) tenant: Tenant,
    /// What the client calls the server.
    #[arg(long, default_value = "stoplog")]
    pub(crate) name: String,
    /// The client's file, where it is not in its usual place.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A client that runs servers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Desktop.
    ClaudeDesktop,
    /// Claude Code, for the project in this folder.
    ClaudeCode,
    /// Cursor.
    Cursor,
    /// Visual Studio Code, for the project in this folder.
    Vscode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make one. It is printed once, and kept nowhere.
    Create {
        /// Whose data its owner may see.
        #[arg(long)]
        tenant: Tenant,
        /// What it is for.
        #[arg(long)]
        role: Role,
        /// Whose it is: a person for an approver, a program for an agent. The record of what its
        /// owner does and decides.
        #[arg(long)]
        name: String,
    },
    /// List them.
    List,
    /// Take one back. It is good for nothing from the next request on.
    Revoke {
        /// Its id, as `key list` prints it.
        id: String,
    },
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Call tools, run agents.
    Agent,
    /// Resolve parked calls.
    Operator,
    /// Approve and reject.
    Approver,
    /// Look.
    Viewer,
    /// Read /metrics, which is of all tenants, and nothing else.
    Monitor,
}
