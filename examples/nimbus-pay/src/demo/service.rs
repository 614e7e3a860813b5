//! The demo's agent as a service: for clients of others, in `examples/python-agent` and beside it.
//!
//! It is its own supervisor: a host that is killed is started again, in the same folder, and goes on with
//! what it left.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::folder::Folder;
use super::process::{Backend, Host};
use super::{EXIT_DONE, add_tools, heading, say};

/// Whose keys are made, and what for.
const KEYS: [(&str, &str); 2] = [
    ("agent", "refund-agent"),
    ("approver", "Meera, finance lead"),
];

/// Pause before a host that was killed is started again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Serves in `dir`, by default `target/nimbus-pay` in the workspace, until the host ends by itself.
///
/// # Errors
///
/// The folder is not a demo's, or a process could not be run.
pub fn serve(dir: Option<&Path>, listen: SocketAddr) -> anyhow::Result<()> {
    let folder = Folder::make_empty(dir)?;
    let backend = Backend::start(&folder)?;
    let host = Host::new(&folder, &backend)?;
    add_tools(&host)?;
    heading("Keys of tenant acme")?;
    for (role, name) in KEYS {
        let file = key(&folder, &host, role, name)?;
        say(&format!("{role:<9}  {}", file.display()))?;
    }
    heading("The host")?;
    say(&format!("backend    http://{}", backend.address()))?;
    loop {
        let mut child = start(&host, listen)?;
        say(&format!("host       http://{listen}  (pid {})", child.id()))?;
        let status = child.wait()?;
        if status.signal().is_none() {
            ensure!(status.success(), "the host ended with {status}");
            return Ok(());
        }
        say(&format!(
            "The host was killed ({}): it is started again.",
            signal(status)
        ))?;
        std::thread::sleep(AGAIN_AFTER);
    }
}

fn signal(status: ExitStatus) -> String {
    let number = status.signal().unwrap_or_default();
    format!("signal {number}")
}

fn start(host: &Host<'_>, listen: SocketAddr) -> anyhow::Result<Child> {
    let mut command: Command = host.command();
    command
        .args(["serve", "--listen", &listen.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().context("starting the host")
}

/// Makes a key, in a file that its owner alone can read.
fn key(folder: &Folder, host: &Host<'_>, role: &str, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = host.command();
    command.args([
        "key", "create", "--json", "--tenant", "acme", "--role", role, "--name", name,
    ]);
    let output = command.output()?;
    ensure!(
        output.status.code() == Some(EXIT_DONE),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let made: Value = serde_json::from_slice(&output.stdout)?;
    let text = made["key"].as_str().context("no key")?;
    let file = folder.file(&format!("{role}.key"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut opened = options.open(&file)?;
    std::io::Write::write_all(&mut opened, text.as_bytes())?;
    Ok(file)
}
