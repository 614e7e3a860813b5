//! Alerts and dashboard: over names that are served, and firing when they should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use serde_json::Value;

use super::{has_promtool, metrics, passes, run};

fn deploy(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or(Path::new(".")).join("deploy").join(name)
}

/// Our names in a text, recorded ones and those of labels' values apart.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c) && c != ':' && c != '-' && c != '.');
    let ours = words.filter(|w| w.starts_with("stoplog_") || w.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|v| expressions(v, found)),
        Value::Object(all) => {
            for (name, value) in all {
                match (name.as_str(), value) {
                    ("expr" | "query" | "definition", Value::String(text)) => {
                        found.push(text.clone())
                    }
                    _ => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_is_served_and_shows_all_of_it() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(deploy("grafana/stoplog.json"))?;
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(&text)?, &mut asked);
    ensure!(asked.len() > 30, "{asked:?}");
    let asked = named(&asked.join("\n"));
    let served = metrics::names()?;
    let missing: Vec<_> = asked.difference(&served).collect();
    ensure!(missing.is_empty(), "asked for, and not served: {missing:?}");
    let family = |name: &String| {
        let parts = ["_bucket", "_sum", "_count"];
        let stem = parts.iter().find_map(|p| name.strip_suffix(p));
        stem.unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = asked.iter().map(family).collect();
    let hidden: Vec<_> = served
        .iter()
        .map(family)
        .filter(|f| !shown.contains(f))
        .collect();
    ensure!(hidden.is_empty(), "served, and not shown: {hidden:?}");
    Ok(())
}

#[test]
fn alerts_are_over_what_is_served() -> anyhow::Result<()> {
    let served = metrics::names()?;
    for file in ["stoplog.rules.yml", "stoplog.rollback.yml"] {
        let text = std::fs::read_to_string(deploy("prometheus").join(file))?;
        let code: Vec<&str> = text
            .lines()
            .filter(|l| !l.trim_start().starts_with('#') && !l.contains("look:"))
            .collect();
        let asked = named(&code.join("\n"));
        ensure!(asked.len() > 3, "{file}: {asked:?}");
        let missing: Vec<_> = asked.difference(&served).collect();
        ensure!(
            missing.is_empty(),
            "{file} is over what is not served: {missing:?}"
        );
    }
    Ok(())
}

#[test]
fn each_alert_has_its_page() -> anyhow::Result<()> {
    let page = include_str!("../../../docs/operate/alerts.md");
    let text = std::fs::read_to_string(deploy("prometheus/stoplog.rules.yml"))?;
    let alerts = text
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = alerts.filter_map(|l| l.split(' ').next()).collect();
    ensure!(names.len() > 15, "{names:?}");
    for name in names {
        ensure!(
            page.contains(&format!("`{name}`")),
            "docs/operate/alerts.md says nothing of {name}"
        );
    }
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_and_not_before() -> anyhow::Result<()> {
    if !has_promtool()? {
        return Ok(());
    }
    let files = ["stoplog.rules.yml", "stoplog.rollback.yml"].map(|f| deploy("prometheus").join(f));
    passes(
        Command::new("promtool")
            .args(["check", "rules"])
            .args(&files),
        None,
    )?;
    for tests in [
        "stoplog.rules.test.yml",
        "stoplog.day.test.yml",
        "stoplog.week.test.yml",
    ] {
        let file = deploy("prometheus").join(tests);
        passes(
            Command::new("promtool").args(["test", "rules"]).arg(file),
            None,
        )?;
    }
    // The tests would notice another threshold.
    let dir = tempfile::tempdir()?;
    for file in [
        "stoplog.rules.yml",
        "stoplog.rollback.yml",
        "stoplog.rules.test.yml",
    ] {
        let text = std::fs::read_to_string(deploy("prometheus").join(file))?;
        let loose = text.replace(
            "stoplog:run_error_ratio:2m > 0.05",
            "stoplog:run_error_ratio:2m > 0.02",
        );
        std::fs::write(dir.path().join(file), loose)?;
    }
    let file = dir.path().join("stoplog.rules.test.yml");
    let found = run(
        Command::new("promtool").args(["test", "rules"]).arg(file),
        None,
    )?;
    ensure!(!found.status.success(), "a rollback at 2 % is not noticed");
    Ok(())
}
