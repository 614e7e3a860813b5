//! A host with tools of a test's own: added, run, killed and resumed.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{Said, World, bins};

use crate::far::{Far, ORIGIN};
use crate::project::{self, Lang, Made};

pub(crate) struct Scene {
    world: World,
    pub(crate) far: Far,
}

impl Scene {
    /// A world in which these tools are accepted and compiled.
    pub(crate) fn new(tools: &[Made]) -> anyhow::Result<Scene> {
        let scene = Scene {
            world: World::new(bins!(), &[])?,
            far: Far::start()?,
        };
        let names: Vec<&str> = tools.iter().map(|t| t.name.as_str()).collect();
        let config = format!(
            "data_dir = \"data\"\n\n[agent]\nfeature = \"testing\"\nsystem_prompt = \"Test.\"\n\n\
             [model]\nkind = \"scripted\"\nscript = \"script.json\"\n\n\
             [secrets.PAYMENTS_KEY]\nenv = \"STOPLOG_TEST_PAYMENTS_KEY\"\n\n\
             [[grant]]\ntools = {names:?}\norigin = \"{ORIGIN}\"\nconnect = \"{}\"\n",
            scene.far.address
        );
        fs::write(scene.world.path().join("stoplog.toml"), config)?;
        for tool in tools {
            tool.lend_compiled(&scene.world.data_dir().join("cache"))?;
            let file = tool.component.to_str().context("a path as text")?;
            let mut args = vec!["tool", "add", file];
            if matches!(tool.class.as_str(), "external" | "irreversible") {
                args.extend(["--accept-class", &tool.class]);
            }
            let added = scene.host(&args)?;
            ensure!(added.code == Some(0), "{}: {added:?}", tool.name);
            tool.keep_compiled(&scene.world.data_dir().join("cache"))?;
        }
        Ok(scene)
    }

    fn host(&self, args: &[&str]) -> anyhow::Result<Said> {
        let mut command = self.world.command(args);
        command.env("STOPLOG_TEST_PAYMENTS_KEY", "sk_test_1");
        stoplog_tests::said(command.output()?)
    }

    /// `tool test` with the template's own cases; gives its report.
    pub(crate) fn crash_tested(&self, tool: &Made, lang: Lang) -> anyhow::Result<Value> {
        let cache = self.world.path().join("user-cache");
        let compiled = cache.join("stoplog/compiled");
        fs::create_dir_all(&compiled)?;
        tool.lend_compiled(&compiled)?;
        let cases = project::template(lang, &tool.class).join("cases");
        let file = tool.component.to_str().context("a path as text")?;
        let cases = cases.to_str().context("a path as text")?;
        let mut command = self
            .world
            .command(&["tool", "test", file, "--cases", cases]);
        let said = stoplog_tests::said(command.env("XDG_CACHE_HOME", &cache).output()?)?;
        ensure!(
            said.code == Some(0),
            "{}: {} {}",
            tool.name,
            said.json,
            said.stderr
        );
        let kills = said.json["kills"].as_u64();
        ensure!(
            kills.is_some_and(|n| n > 20),
            "{}: {}",
            tool.name,
            said.json
        );
        tool.keep_compiled(&compiled)?;
        Ok(said.json)
    }

    /// What the model of the next runs decides on: one call a turn.
    pub(crate) fn script(&self, calls: &[(&str, Value)]) -> anyhow::Result<()> {
        let turns: Vec<Vec<Value>> = calls
            .iter()
            .map(|(tool, arguments)| vec![json!({"tool": tool, "arguments": arguments})])
            .collect();
        self.world.script_calls(&turns)
    }

    fn run_args(session: &str) -> [&str; 6] {
        ["run", "--tenant", "acme", "--session", session, "do it"]
    }

    /// Runs a session to its end.
    pub(crate) fn runs(&self, session: &str) -> anyhow::Result<()> {
        let run = self.host(&Self::run_args(session))?;
        ensure!(run.code == Some(0), "{session}: {run:?}");
        Ok(())
    }

    /// Runs a session until it waits for a person, who sees these words and approves.
    pub(crate) fn approved(
        &self,
        session: &str,
        amount: &str,
        preview: &str,
    ) -> anyhow::Result<()> {
        let waits = self.host(&Self::run_args(session))?;
        ensure!(waits.code == Some(3), "{session}: {waits:?}");
        let id = waits.json["approval"].as_str().context("an approval")?;
        let shown = self.host(&["approvals", "show", id])?;
        let text = shown.json.to_string();
        ensure!(text.contains(preview) && text.contains(amount), "{shown:?}");
        let approved = self.host(&["approvals", "approve", id, "--by", "Meera"])?;
        ensure!(approved.code == Some(0), "{approved:?}");
        Ok(())
    }

    fn killed_at(&self, args: &[&str], stage: &str) -> anyhow::Result<()> {
        let mut command = self.world.command(args);
        command
            .env("STOPLOG_TEST_PAYMENTS_KEY", "sk_test_1")
            .env("STOPLOG_DIE_AT", stage);
        let said = stoplog_tests::said(command.output()?)?;
        ensure!(said.code.is_none(), "it did not die at {stage}: {said:?}");
        Ok(())
    }

    /// Resumes a session with a host that dies at a stage.
    pub(crate) fn dies(&self, session: &str, stage: &str) -> anyhow::Result<()> {
        self.killed_at(&["resume", session], stage)
    }

    /// Begins a session with a host that dies at a stage.
    pub(crate) fn dies_in_run(&self, session: &str, stage: &str) -> anyhow::Result<()> {
        self.killed_at(&Self::run_args(session), stage)
    }

    /// Resumes a session to its end.
    pub(crate) fn resumes(&self, session: &str) -> anyhow::Result<()> {
        let resumed = self.host(&["resume", session])?;
        ensure!(resumed.code == Some(0), "{session}: {resumed:?}");
        Ok(())
    }

    fn observed(&self, session: &str) -> anyhow::Result<Vec<Value>> {
        let rows = self.world.sql(&format!(
            "SELECT coalesce(e.body, p.body) FROM events e LEFT JOIN payloads p ON p.digest = e.payload
             WHERE kind = 'observed' AND session_id = '{session}' ORDER BY iteration, ordinal"
        ))?;
        let event = |row: &Vec<String>| Ok(serde_json::from_str(&row[0])?);
        rows.iter().map(event).collect()
    }

    /// What the model was told, in order: `{"ok": output}`, or `{"err": code}`.
    pub(crate) fn told(&self, session: &str) -> anyhow::Result<Vec<Value>> {
        let told = |event: &Value| match &event["result"]["err"] {
            Value::Null => json!({"ok": event["result"]["ok"]}),
            error => json!({"err": error["code"]}),
        };
        Ok(self.observed(session)?.iter().map(told).collect())
    }

    /// The log of the call in an iteration.
    pub(crate) fn log(&self, session: &str, iteration: usize) -> anyhow::Result<String> {
        let observed = self.observed(session)?;
        let event = observed.get(iteration - 1).context("no such iteration")?;
        Ok(event["log"].as_str().unwrap_or_default().to_owned())
    }
}
