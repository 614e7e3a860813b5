//! A folder in which an author works: `stoplog` is on the PATH, the network is off.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

/// One folder. It is made anew, and stays behind for people to look at.
pub(crate) struct Desk {
    root: PathBuf,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Out {
    /// The reason of an error for machines, which must be the last line.
    pub(crate) fn reason(&self) -> anyhow::Result<String> {
        let line = self.stderr.lines().next_back().unwrap_or("");
        let error: Value = serde_json::from_str(line).with_context(|| format!("{self:?}"))?;
        let reason = error["error"]["reason"].as_str();
        Ok(reason.with_context(|| format!("{self:?}"))?.to_owned())
    }

    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }
}

impl Desk {
    /// A folder of this name. Its place is always the same, so that cargo knows again what it
    /// built there.
    pub(crate) fn new(name: &str) -> anyhow::Result<Desk> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("authoring")
            .join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("bin"))?;
        symlink(
            env!("CARGO_BIN_EXE_stoplog-under-test"),
            root.join("bin/stoplog"),
        )?;
        Ok(Desk { root })
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Lets a project share what is compiled with all others.
    pub(crate) fn share_target(&self, project: &str) -> anyhow::Result<()> {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring/target");
        fs::create_dir_all(&shared)?;
        Ok(symlink(shared, self.path(project).join("target"))?)
    }

    /// Runs a line of shell in a folder of the desk.
    pub(crate) fn sh(&self, dir: &str, script: &str) -> anyhow::Result<Out> {
        let path = std::env::var("PATH")?;
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(self.path(dir))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("CARGO_NET_OFFLINE", "true")
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null());
        let output = command.output()?;
        Ok(Out {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// The same, for what must succeed.
    pub(crate) fn ok(&self, dir: &str, script: &str) -> anyhow::Result<Out> {
        let out = self.sh(dir, script)?;
        ensure!(out.code == Some(0), "{script}: {out:?}");
        Ok(out)
    }

    /// The same, for what must fail with a reason. The command is one of stoplog's.
    pub(crate) fn fails(
        &self,
        dir: &str,
        args: &str,
        code: i32,
        reason: &str,
    ) -> anyhow::Result<Out> {
        let out = self.sh(dir, &format!("stoplog --json {args}"))?;
        ensure!(
            out.code == Some(code),
            "{args}: exit {code} was expected: {out:?}"
        );
        ensure!(
            out.reason()? == reason,
            "{args}: {reason} was expected: {out:?}"
        );
        Ok(out)
    }

    /// Replaces a text in a file; it is an error if it is not there.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.path(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} has no {from}");
        Ok(fs::write(path, text.replace(from, to))?)
    }
}
