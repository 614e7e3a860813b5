//! Clients that nobody here wrote, from their registries: installed once, kept in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// What is installed: the versions that these tests were written against.
const PYTHON: &str = "mcp==2.3.0";
const NODE: [&str; 2] = [
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/inspector@0.21",
];

/// An SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sdk {
    Python,
    TypeScript,
}

pub(crate) const SDKS: [Sdk; 2] = [Sdk::Python, Sdk::TypeScript];

/// Where a client finds the server.
#[derive(Debug, Clone)]
pub(crate) enum At {
    /// A command that the client starts, and the variables that it sees.
    Stdio(Vec<String>, Vec<(String, String)>),
    /// An address, and a caller's key.
    Http(String, String),
}

/// What a client does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) at: At,
    pub(crate) mode: &'static str,
    /// What the person at the client answers, if there is one.
    pub(crate) elicit: Option<Value>,
    pub(crate) steps: Vec<Value>,
}

impl Plan {
    pub(crate) fn new(at: &At, steps: &[Value]) -> Plan {
        Plan {
            at: at.clone(),
            mode: "legacy",
            elicit: None,
            steps: steps.to_vec(),
        }
    }

    fn json(&self) -> Value {
        let mut plan = json!({"steps": self.steps, "mode": self.mode});
        match &self.at {
            At::Stdio(command, variables) => {
                plan["command"] = json!(command);
                let all: serde_json::Map<String, Value> = variables
                    .iter()
                    .map(|(n, v)| (n.clone(), json!(v)))
                    .collect();
                plan["env"] = Value::Object(all);
            }
            At::Http(url, key) => {
                plan["url"] = json!(url);
                plan["headers"] = json!({"Authorization": format!("Bearer {key}")});
            }
        }
        if let Some(answer) = &self.elicit {
            plan["elicit"] = answer.clone();
        }
        plan
    }
}

impl Sdk {
    /// Starts a client.
    pub(crate) fn start(self, plan: &Plan) -> anyhow::Result<Child> {
        let mut command = match self {
            Sdk::Python => {
                let mut command = Command::new(installed(self)?.join(".venv/bin/python"));
                command.arg(source("client.py"));
                command
            }
            Sdk::TypeScript => {
                // A module finds its packages from where it lies.
                let home = installed(self)?;
                let script = home.join("client.mjs");
                let text = fs::read_to_string(source("client.mjs"))?;
                let beside = home.join(format!("client-{}.tmp", std::process::id()));
                fs::write(&beside, text)?;
                fs::rename(beside, &script)?;
                let mut command = Command::new("node");
                command.arg(script);
                command
            }
        };
        command
            .arg(plan.json().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// Runs a client to its end. What it said, a value a line.
    pub(crate) fn run(self, plan: &Plan) -> anyhow::Result<Vec<Value>> {
        let output = self.start(plan)?.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let all: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            all.len() == plan.steps.len() + 1,
            "{self:?} said {all:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(all)
    }
}

/// The inspector's command line. What it printed, as JSON.
pub(crate) fn inspect(at: &At, method: &[&str]) -> anyhow::Result<Value> {
    let home = installed(Sdk::TypeScript)?;
    let cli = home.join("node_modules/@modelcontextprotocol/inspector/cli/build/cli.js");
    let mut command = Command::new("node");
    command.arg(cli).arg("--cli");
    match at {
        At::Stdio(words, _) => {
            // A file as clients have it.
            command.args(words);
        }
        At::Http(url, key) => {
            command
                .arg(url)
                .args(["--transport", "http", "--header"])
                .arg(format!("Authorization: Bearer {key}"));
        }
    }
    command.arg("--method").args(method);
    let output = command.current_dir(home).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text)
        .with_context(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mcp")
        .join(name)
}

/// The folder in which an SDK is installed.
fn installed(sdk: Sdk) -> anyhow::Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Path::new(stoplog_tests::GUESTS_DIR).ancestors().nth(3);
    let (name, asked, steps) = match sdk {
        Sdk::Python => (
            "python",
            PYTHON.to_owned(),
            vec![
                "python3 -m venv --clear .venv".to_owned(),
                format!(".venv/bin/pip install --quiet --disable-pip-version-check {PYTHON}"),
            ],
        ),
        Sdk::TypeScript => (
            "node",
            NODE.join(" "),
            vec![
                "npm init --yes >/dev/null".to_owned(),
                format!(
                    "npm install --no-fund --no-audit --loglevel=error {}",
                    NODE.join(" ")
                ),
            ],
        ),
    };
    let dir = target
        .context("a target folder")?
        .join("mcp-clients")
        .join(name);
    let whole = dir.join("whole");
    if fs::read_to_string(&whole).is_ok_and(|known| known == asked) {
        return Ok(dir);
    }
    fs::create_dir_all(&dir)?;
    for step in steps {
        let output = Command::new("sh")
            .args(["-c", &step])
            .current_dir(&dir)
            .output()?;
        ensure!(output.status.success(), "`{step}`: {output:?}");
    }
    fs::write(whole, asked)?;
    Ok(dir)
}
