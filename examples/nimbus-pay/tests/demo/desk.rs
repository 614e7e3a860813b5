//! A desk of somebody on call: a copy of what the demo left behind, and the `stoplog` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::scene::Backend;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nimbus-pay");

/// What the demo has left behind.
pub(crate) struct Played {
    folder: PathBuf,
    /// What it said, each time.
    pub(crate) said: [String; 2],
}

/// Plays the demo, twice in one folder, once for all tests. Nobody changes the folder after that.
pub(crate) fn played() -> &'static Played {
    static PLAYED: OnceLock<Played> = OnceLock::new();
    PLAYED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
        let said = [play(&folder), play(&folder)];
        Played { folder, said }
    })
}

fn play(dir: &Path) -> String {
    let output = Command::new(PROGRAM)
        .arg("demo")
        .arg("--dir")
        .arg(dir)
        .output()
        .expect("the demo runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}

/// A copy of the demo's folder.
pub(crate) struct Desk {
    /// A backend that ends with it, if one is there.
    pub(crate) backend: Option<Backend>,
    dir: TempDir,
    /// Names of a shell's environment, with their values.
    told: Vec<(&'static str, String)>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let dir = tempfile::tempdir().expect("a folder");
        copy(&played().folder, dir.path());
        Desk {
            backend: None,
            dir,
            told: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Gives a name to something that only this desk knows.
    pub(crate) fn tell(&mut self, name: &'static str, value: &str) {
        self.told.push((name, value.to_owned()));
    }

    /// Changes a file line by line.
    pub(crate) fn change(&self, name: &str, change: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.file(name)).expect("a file");
        let lines: Vec<String> = text.lines().map(change).collect();
        fs::write(self.file(name), lines.join("\n")).expect("a file");
    }

    /// Forges an event of a session in the journal.
    pub(crate) fn damage(&self, session: &str) {
        let journal =
            rusqlite::Connection::open(self.file("data/journal.db")).expect("the journal");
        let forged =
            "UPDATE events SET body = replace(body, '72000', '7200') WHERE session_id = ?1";
        assert_ne!(journal.execute(forged, [session]).expect("forged"), 0);
    }

    /// Runs a line as a shell does, `stoplog` with the configuration of the folder.
    pub(crate) fn shell(&self, line: &str) -> Said {
        let line = format!("stoplog() {{ '{PROGRAM}' host \"$@\"; }}\n{line}");
        let output = Command::new("sh")
            .args(["-c", &line])
            .envs(self.told.iter().cloned())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        Said::of(output)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `stoplog` with nothing but the data directory: no configuration is needed to ask.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let output = Command::new(PROGRAM)
            .args(["host", "--data-dir", "data"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("the command runs");
        Said::of(output)
    }

    /// The same; it must end well.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.out
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let all: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        serde_json::from_str(&self.ask(&all)).expect("JSON")
    }

    /// Rows of an answer.
    #[track_caller]
    pub(crate) fn rows(&self, args: &[&str]) -> Vec<Value> {
        let answer = self.json(args);
        answer.as_array().expect("a list of rows").clone()
    }
}

/// One column of an answer.
pub(crate) fn column<'r>(rows: &'r [Value], name: &str) -> Vec<&'r Value> {
    rows.iter().map(|row| &row[name]).collect()
}

/// Copies what is in a folder into another one.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}
