//! The processes of the demo. Each ends with the demo, however the demo ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rusqlite::Connection;
use serde_json::Value;

use super::folder::Folder;
use super::say;
use crate::client;

/// How long a command of the host may take. The slowest compiles a tool; a busy machine needs
/// many seconds for it.
const COMMAND_WITHIN: Duration = Duration::from_secs(180);
const BACKEND_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Waits until `ready` says true.
pub(super) fn wait_for(
    what: &str,
    within: Duration,
    mut ready: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !ready()? {
        ensure!(
            start.elapsed() < within,
            "waited {} s for {what}",
            within.as_secs()
        );
        thread::sleep(POLL_EVERY);
    }
    Ok(())
}

/// A child process that is killed when it is dropped.
pub(super) struct Running {
    child: Child,
    what: String,
    output: Output,
}

/// Where a process prints to: files, so that it never waits for a reader.
struct Output {
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Output {
    fn read(&self) -> anyhow::Result<(String, String)> {
        let read =
            |file: &Path| fs::read_to_string(file).with_context(|| file.display().to_string());
        Ok((read(&self.stdout)?, read(&self.stderr)?))
    }
}

impl Running {
    fn start(mut command: Command, what: &str, folder: &Folder, log: &str) -> anyhow::Result<Self> {
        let output = Output {
            stdout: folder.file(&format!("{log}.out")),
            stderr: folder.file(&format!("{log}.err")),
        };
        let create = |file: &Path| File::create(file).with_context(|| file.display().to_string());
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&output.stdout)?)
            .stderr(create(&output.stderr)?)
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        Ok(Self {
            child,
            what: what.to_owned(),
            output,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub(super) fn still_runs(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let (stdout, stderr) = self.output.read()?;
        bail!("{} ended early, {status}:\n{stdout}{stderr}", self.what)
    }

    /// SIGKILL: it can do nothing about it.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.still_runs()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The backend's process.
pub(super) struct Backend {
    _running: Running,
    address: SocketAddr,
}

impl Backend {
    pub(super) fn start(folder: &Folder) -> anyhow::Result<Self> {
        Self::start_as(folder, "backend")
    }

    /// Another one, which begins where this one is: with a copy of its ledger.
    pub(super) fn start_copy(folder: &Folder, name: &str) -> anyhow::Result<Self> {
        let copy = folder.file(&format!("{name}.db"));
        let ledger = Connection::open(folder.file("backend.db"))?;
        let copied = ledger.execute("VACUUM INTO ?1", [copy.display().to_string()]);
        copied.context("copying the ledger of the backend")?;
        Self::start_as(folder, name)
    }

    fn start_as(folder: &Folder, name: &str) -> anyhow::Result<Self> {
        let port_file = folder.file(&format!("{name}.address"));
        let mut command = Command::new(this_program()?);
        command
            .args(["backend", "--listen", "127.0.0.1:0", "--db"])
            .arg(folder.file(&format!("{name}.db")))
            .arg("--port-file")
            .arg(&port_file);
        let mut running = Running::start(command, "the backend", folder, name)?;
        wait_for("the backend to listen", BACKEND_WITHIN, || {
            running.still_runs()?;
            Ok(port_file.is_file())
        })?;
        let address = fs::read_to_string(&port_file)?.parse()?;
        Ok(Self {
            _running: running,
            address,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        client::ask(self.address, "GET", path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        client::ask(self.address, "POST", path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        client::ask(self.address, "DELETE", path, None)
    }
}

/// The host's command line: this program as `host`, with the demo's config.
pub(super) struct Host<'a> {
    folder: &'a Folder,
    program: PathBuf,
    config: PathBuf,
}

impl<'a> Host<'a> {
    /// Writes the config and the scripts of the customers.
    pub(super) fn new(folder: &'a Folder, backend: &Backend) -> anyhow::Result<Self> {
        folder.write("priya.json", include_str!("../../scripts/priya.json"))?;
        folder.write("suresh.json", include_str!("../../scripts/suresh.json"))?;
        folder.write("farhan.json", include_str!("../../scripts/farhan.json"))?;
        Self::with_config(folder, backend, "stoplog.toml")
    }

    /// The same data, tools and rules, at another backend.
    pub(super) fn at(&self, backend: &Backend, config: &str) -> anyhow::Result<Self> {
        Self::with_config(self.folder, backend, config)
    }

    fn with_config(folder: &'a Folder, backend: &Backend, name: &str) -> anyhow::Result<Self> {
        let connect = backend.address().to_string();
        let config = include_str!("stoplog.toml").replace("BACKEND_ADDRESS", &connect);
        Ok(Self {
            folder,
            program: this_program()?,
            config: folder.write(name, &config)?,
        })
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }

    pub(super) fn script(&self, customer: &str) -> String {
        self.file(&format!("{customer}.json"))
    }

    /// The words in front of every command.
    pub(super) fn stands_for(&self) -> String {
        let (program, config) = (self.program.display(), self.config.display());
        format!("{program} host --config {config}")
    }

    /// Prints and runs a command, prints what it said, and gives back its standard output.
    pub(super) fn run(&self, args: &[&str], expected: i32) -> anyhow::Result<String> {
        let mut running = self.start(args)?;
        let mut ended = None;
        wait_for(&running.what.clone(), COMMAND_WITHIN, || {
            ended = running.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        let (stdout, stderr) = running.output.read()?;
        for line in stdout.lines().chain(stderr.lines()) {
            say(&format!("  {line}"))?;
        }
        match ended.and_then(|status| status.code()) {
            Some(code) if code == expected => Ok(stdout),
            Some(code) => bail!("{} ended with {code}, not {expected}", running.what),
            None => bail!("{} was killed", running.what),
        }
    }

    /// The host's command line, for what is not printed.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("host").arg("--config").arg(&self.config);
        command
    }

    /// Prints and starts a command.
    pub(super) fn start(&self, args: &[&str]) -> anyhow::Result<Running> {
        let line: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
        let what = format!("host {}", line.join(" "));
        say(&format!("\n$ {what}"))?;
        let mut command = self.command();
        command.args(args);
        Running::start(command, &what, self.folder, "last-command")
    }
}

fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding the program that runs")
}

/// An argument as a shell takes it.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}
