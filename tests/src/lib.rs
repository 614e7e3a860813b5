//! The kit: real processes, a real far side, real files.
//!
//! [`World`] is one directory with a far side of its own and a host that can be started, killed
//! and started again. Each tool is compiled once a test binary, for the worlds that have it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

pub mod otlp;
pub mod service;
pub mod soak;

/// Where the guests of the tests lie, as the build script says.
pub const GUESTS_DIR: &str = env!("STOPLOG_GUESTS_DIR");

/// How long anything in these tests may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes that a test binary spawns: `env!("CARGO_BIN_EXE_...")` works in it alone.
#[derive(Debug, Clone, Copy)]
pub struct Bins {
    /// The host.
    pub host: &'static str,
    /// The far side.
    pub far_side: &'static str,
    /// The collector.
    pub receiver: &'static str,
}

/// Names the binaries from a test.
#[macro_export]
macro_rules! bins {
    () => {
        $crate::Bins {
            host: env!("CARGO_BIN_EXE_stoplog-under-test"),
            far_side: env!("CARGO_BIN_EXE_far-side"),
            receiver: env!("CARGO_BIN_EXE_otlp-receiver"),
        }
    };
}

/// The component of a guest, or of one of the example's tools.
pub fn guest(name: &str) -> PathBuf {
    let own = Path::new(GUESTS_DIR).join(format!("{name}.wasm"));
    if nimbus_pay::TOOLS.iter().any(|(tool, _)| *tool == name) {
        nimbus_pay::tool_file(name)
    } else {
        own
    }
}

/// A tool that worlds have, and how it is accepted.
const TOOLS: &[(&str, Option<&str>)] = &[
    ("keyed", Some("external")),
    ("probed", Some("external")),
    ("neither", Some("external")),
    ("undoable", None),
    ("undoable_keyed", None),
    ("undoable_probed", None),
    ("undoable_keeper", None),
    ("keeper", Some("external")),
    ("pair", Some("external")),
    ("paid", Some("irreversible")),
    ("paid_probed", Some("irreversible")),
    ("paid_neither", Some("irreversible")),
    ("lookup", None),
    ("plain_post", Some("external")),
    ("spinner", None),
    ("glutton", None),
    ("trapper", None),
    ("babbler", None),
    ("trap_after_effect", Some("external")),
    ("posting_reader", None),
    ("dice", None),
    ("liar", Some("external")),
    ("headstrong", Some("external")),
    ("sleeper", None),
    ("recurser", None),
    ("handle_hoarder", None),
    ("shouter", None),
    ("random_glutton", None),
    ("annotator", None),
    ("talker", None),
    ("body_hoarder", None),
    ("header_hoarder", None),
    ("crawler", None),
    ("permit_thief", Some("external")),
    ("double_splitter", Some("external")),
    ("late_poster", Some("external")),
    ("fickle", Some("external")),
    ("header_forger", Some("external")),
    ("clock_watcher", None),
    ("snoop", None),
    ("state_hoarder", None),
    ("confider", Some("external")),
    ("spiller", Some("irreversible")),
    ("issue_refund", Some("irreversible")),
];

/// One far side process.
pub struct FarSide {
    child: Child,
    address: SocketAddr,
}

impl FarSide {
    /// Starts one whose ledger is `NAME.db` in a directory.
    pub(crate) fn start(bins: Bins, dir: &Path, name: &str) -> anyhow::Result<FarSide> {
        let port_file = dir.join(format!("{name}.port"));
        let _ = fs::remove_file(&port_file);
        let child = Command::new(bins.far_side)
            .arg(dir.join(format!("{name}.db")))
            .arg(&port_file)
            .stdin(Stdio::null())
            .spawn()?;
        let mut far = FarSide {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let text = wait_for("the far side's port", || {
            fs::read_to_string(&port_file).ok()
        })?;
        far.address = text.parse()?;
        Ok(far)
    }

    /// Asks it, or tells it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        nimbus_pay::client::ask(self.address, method, path, body)
    }

    /// What it counted.
    pub fn counts(&self, what: &str) -> anyhow::Result<Value> {
        Ok(self.ask("GET", "/admin/counts", None)?[what].clone())
    }

    /// How many acts it did, undone ones included.
    pub fn acts_done(&self) -> anyhow::Result<u64> {
        self.counts("acts")?["executed"].as_u64().context("a count")
    }

    /// How many acts are in force under a key.
    pub fn acts_in_force(&self, key: &str) -> anyhow::Result<usize> {
        let found = self.ask("GET", &format!("/acts/by-key/{key}"), None)?;
        Ok(found["acts"].as_array().map_or(0, Vec::len))
    }

    /// The keys of the write requests that reached it on this path, in order.
    pub fn keys(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let requests = self.ask("GET", "/admin/requests", None)?;
        Ok(requests["requests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|r| r["path"] == path)
            .map(|r| r["key"].as_str().unwrap_or("").to_owned())
            .collect())
    }

    /// Tells it to misbehave on `POST /acts`.
    pub fn misbehave(&self, mode: &str, times: u32, delay_ms: u32) -> anyhow::Result<()> {
        let fault = json!({"path": "/acts", "mode": mode, "times": times, "delay_ms": delay_ms});
        self.ask("POST", "/admin/misbehave", Some(&fault))
            .map(|_| ())
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One directory, one far side, one host at a time.
pub struct World {
    dir: TempDir,
    bins: Bins,
    /// The far side.
    pub far: FarSide,
}

/// How a host process ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; none when it was killed.
    pub code: Option<i32>,
    /// Standard output as JSON; null if it is none.
    pub json: Value,
    /// Standard error.
    pub stderr: String,
}

impl World {
    /// A world with these tools, accepted and compiled.
    pub fn new(bins: Bins, tools: &[&str]) -> anyhow::Result<World> {
        let dir = tempfile::tempdir()?;
        let far = FarSide::start(bins, dir.path(), "far-side")?;
        let world = World { dir, bins, far };
        world.write_config("")?;
        world.script(&[])?;
        let accepted: Vec<(&str, Arc<TempDir>)> = TOOLS
            .iter()
            .filter(|(name, _)| tools.contains(name))
            .map(|(name, class)| Ok((*name, accepted(bins, name, *class)?)))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            accepted.len() == tools.len(),
            "not all are known: {tools:?}"
        );
        for (_, like) in &accepted {
            copy_dir(&like.path().join("data"), &world.data_dir())?;
        }
        world.write_lock(accepted)?;
        Ok(world)
    }

    /// Leaves its directory behind, for people to look at.
    pub(crate) fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The host's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the far side anew, on its old ledger.
    pub fn restart_far_side(&mut self) -> anyhow::Result<()> {
        self.far.child.kill().ok();
        self.far.child.wait()?;
        self.far = FarSide::start(self.bins, self.dir.path(), "far-side")?;
        self.write_config("")
    }

    /// Writes the configuration, with more at its end.
    pub fn write_config(&self, more: &str) -> anyhow::Result<()> {
        let tools: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "data_dir = \"data\"\n\n[agent]\nfeature = \"testing\"\nsystem_prompt = \"Test.\"\n\n\
             [model]\nkind = \"scripted\"\nscript = \"script.json\"\n\n\
             [[grant]]\ntools = {tools:?}\norigin = \"http://far.internal/\"\nconnect = \"{address}\"\n\n\
             [[grant]]\ntools = [\"issue_refund\"]\norigin = \"http://nimbus.internal/\"\n\
             connect = \"{address}\"\n\n{more}",
            address = self.far.address
        );
        Ok(fs::write(self.path().join("stoplog.toml"), text)?)
    }

    /// The locks of all of them as one, in the order of names, as `tool add` writes it.
    /// Without tools there is no file.
    fn write_lock(&self, mut accepted: Vec<(&str, Arc<TempDir>)>) -> anyhow::Result<()> {
        if accepted.is_empty() {
            return Ok(());
        }
        accepted.sort_by_key(|(name, _)| *name);
        let mut text = String::new();
        for (_, like) in accepted {
            let own = fs::read_to_string(like.path().join("stoplog.lock"))?;
            let (head, tool) = own.split_once("[[tool]]").context("a lock with a tool")?;
            if text.is_empty() {
                text.push_str(head);
            }
            text.push_str("[[tool]]");
            text.push_str(tool);
            text.push('\n');
        }
        Ok(fs::write(self.path().join("stoplog.lock"), text)?)
    }

    /// Writes the script of the model: one list of calls a turn, and a last turn that answers.
    /// A call is a tool and a name.
    pub fn script(&self, turns: &[&[(&str, &str)]]) -> anyhow::Result<()> {
        let turns: Vec<Vec<Value>> = turns
            .iter()
            .map(|calls| {
                calls
                    .iter()
                    .map(|(tool, name)| json!({"tool": tool, "arguments": {"name": name}}))
                    .collect()
            })
            .collect();
        self.script_calls(&turns)
    }

    /// The same, with calls as the script file has them.
    pub fn script_calls(&self, turns: &[Vec<Value>]) -> anyhow::Result<()> {
        let turn = |i: usize, calls: &[Value]| {
            json!({
                "iteration": i + 1, "calls": calls, "text": "",
                "finish_reason": "tool_use", "input_tokens": 10, "output_tokens": 5,
                "cost_usd_micros": 1000,
            })
        };
        let mut all: Vec<Value> = turns.iter().enumerate().map(|(i, c)| turn(i, c)).collect();
        all.push(json!({
            "iteration": turns.len() + 1, "text": "done", "finish_reason": "end_turn",
            "input_tokens": 10, "output_tokens": 5, "cost_usd_micros": 1000,
        }));
        let script = json!({"model_id": "scripted", "model_version": "1", "turns": all});
        Ok(fs::write(
            self.path().join("script.json"),
            script.to_string(),
        )?)
    }

    /// Puts other words into the answer of the script.
    pub fn answer(&self, text: &str) -> anyhow::Result<()> {
        let path = self.path().join("script.json");
        let mut script: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let turns = script["turns"].as_array_mut().context("turns")?;
        turns.last_mut().context("an answer")?["text"] = json!(text);
        Ok(fs::write(path, script.to_string())?)
    }

    /// The host's command, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bins.host);
        command
            .arg("--json")
            .arg("--config")
            .arg(self.path().join("stoplog.toml"))
            .args(args)
            .env_remove("STOPLOG_DIE_AT")
            .env_remove("STOPLOG_STOP_AT")
            .env_remove("STOPLOG_PRUNE")
            .env("STOPLOG_WATCH_DIR", self.data_dir())
            // Compiled code is kept beside the guests: never in the home of whoever runs this.
            .env("XDG_CACHE_HOME", Path::new(GUESTS_DIR).join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the host to its end.
    pub fn host(&self, args: &[&str]) -> anyhow::Result<Said> {
        said(self.command(args).output()?)
    }

    /// Runs the host until it dies at a stage; it is an error if it does not.
    pub fn host_dies(&self, args: &[&str], at: &str) -> anyhow::Result<()> {
        let said = said(self.command(args).env("STOPLOG_DIE_AT", at).output()?)?;
        ensure!(
            said.code.is_none(),
            "the host did not die at {at}: {said:?}"
        );
        Ok(())
    }

    /// Starts the host, and comes back when it has stopped itself at a point; it is an error if it
    /// ends instead. It goes on with [`go_on`].
    pub fn host_stops(&self, args: &[&str], at: &str) -> anyhow::Result<Child> {
        let mut host = self.command(args).env("STOPLOG_STOP_AT", at).spawn()?;
        let stat = PathBuf::from(format!("/proc/{}/stat", host.id()));
        wait_for("the host's stop", || {
            if let Ok(Some(status)) = host.try_wait() {
                return Some(Err(anyhow::anyhow!("it ended before {at}: {status}")));
            }
            // `PID (NAME) STATE ...`, and the name may hold anything.
            let text = fs::read_to_string(&stat).ok()?;
            text.rsplit_once(") ")?.1.starts_with('T').then_some(Ok(()))
        })??;
        Ok(host)
    }

    /// The arguments of a first run of session `s`.
    pub fn run_args() -> [&'static str; 6] {
        ["run", "--tenant", "acme", "--session", "s", "do it"]
    }

    /// One value from the journal.
    pub fn sql(&self, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let connection = rusqlite::Connection::open(self.data_dir().join("journal.db"))?;
        let mut statement = connection.prepare(query)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns)
                .map(|i| {
                    let value: rusqlite::types::Value = row.get(i)?;
                    Ok(match value {
                        rusqlite::types::Value::Null => String::new(),
                        rusqlite::types::Value::Integer(n) => n.to_string(),
                        rusqlite::types::Value::Real(x) => x.to_string(),
                        rusqlite::types::Value::Text(text) => text,
                        rusqlite::types::Value::Blob(_) => "(bytes)".to_owned(),
                    })
                })
                .collect::<rusqlite::Result<Vec<String>>>()
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The spans in the file, one JSON value a line; a broken line is an error.
    pub fn spans(&self) -> anyhow::Result<Vec<Value>> {
        fs::read_to_string(self.data_dir().join("spans.jsonl"))?
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

/// Lets a process that was stopped go on.
pub fn go_on(stopped: &Child) -> anyhow::Result<()> {
    let kill = format!("kill -CONT {}", stopped.id());
    let sent = Command::new("sh").args(["-c", &kill]).status()?;
    ensure!(sent.success(), "{kill}: {sent}");
    Ok(())
}

/// What a command that ended well printed.
pub fn works(said: Said) -> anyhow::Result<Value> {
    ensure!(said.code == Some(0), "{said:?}");
    Ok(said.json)
}

/// The message of a command that must fail, with this exit code and this reason.
pub fn fails(said: &Said, code: i32, reason: &str) -> anyhow::Result<String> {
    ensure!(said.code == Some(code), "exit {code} expected: {said:?}");
    let line = said.stderr.lines().next_back().unwrap_or("");
    let error: Value = serde_json::from_str(line)?;
    ensure!(error["error"]["reason"] == reason, "{reason}: {error}");
    let message = error["error"]["message"].as_str();
    Ok(message.context("a message")?.to_owned())
}

/// What a finished process said.
pub fn said(output: Output) -> anyhow::Result<Said> {
    let stdout = String::from_utf8(output.stdout)?;
    Ok(Said {
        code: output.status.code(),
        json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// Waits until a look gives something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("{what} did not come within {PATIENCE:?}")
}

/// A directory with one tool accepted and compiled, made once a test binary.
fn accepted(bins: Bins, tool: &str, class: Option<&str>) -> anyhow::Result<Arc<TempDir>> {
    type Slot = Arc<OnceLock<Result<Arc<TempDir>, String>>>;
    static MADE: Mutex<BTreeMap<String, Slot>> = Mutex::new(BTreeMap::new());
    let slot = {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(tool.to_owned()).or_default().clone()
    };
    let made = slot.get_or_init(|| accept(bins, tool, class).map_err(|e| format!("{e:#}")));
    made.clone().map_err(anyhow::Error::msg)
}

fn accept(bins: Bins, tool: &str, class: Option<&str>) -> anyhow::Result<Arc<TempDir>> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("stoplog.toml");
    let text = "[agent]\nfeature = \"f\"\nsystem_prompt = \"p\"\n[model]\nkind = \"scripted\"\n";
    fs::write(&config, text)?;
    let mut command = Command::new(bins.host);
    command
        .arg("--config")
        .arg(&config)
        .args(["tool", "add"])
        .arg(guest(tool));
    if let Some(class) = class {
        command.args(["--accept-class", class]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "tool add {tool}: {output:?}");
    Ok(Arc::new(dir))
}

/// Copies a directory, into what is there already.
fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
