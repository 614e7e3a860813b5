//! `tool test`: good tools of every class pass it, and bad ones fail it with the right finding.
//!
//! The cases lie in `tests/cases`, a folder for each guest; those of bad guests stand here, beside
//! what must be found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use stoplog_tests::{Said, bins, guest, said};
use tempfile::TempDir;

/// `POST /acts`, and a probe by key.
const ACTS: &str = r#"
[[far]]
request = "POST /acts"
status = 201
body = { act_id = "act{n}" }

[[far]]
request = "GET /acts/by-key/{key}"
body = { acts = "{effects}" }
"#;

fn test(wasm: &Path, cases: &Path, more: &[&str]) -> anyhow::Result<Said> {
    // Compiled code is kept beside the guests: never in the home of whoever runs this.
    let cache = Path::new(stoplog_tests::GUESTS_DIR).join("cache");
    let mut command = Command::new(bins!().host);
    command
        .env("XDG_CACHE_HOME", cache)
        .args(["--json", "tool", "test"])
        .arg(wasm)
        .arg("--cases")
        .arg(cases)
        .args(more);
    said(command.output()?)
}

fn cases(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cases")
        .join(name)
}

/// The cases of a guest in the folder pass; gives the report.
fn passes(name: &str) -> anyhow::Result<Value> {
    let said = test(&guest(name), &cases(name), &[])?;
    ensure!(said.code == Some(0), "{name}: {said:#?}");
    ensure!(said.json["passed"] == true, "{name}: {said:#?}");
    Ok(said.json)
}

fn checks(report: &Value) -> Vec<&Value> {
    let sections = report["sections"].as_array().into_iter().flatten();
    sections
        .flat_map(|s| s["checks"].as_array().into_iter().flatten())
        .collect()
}

fn check<'a>(report: &'a Value, id: &str) -> anyhow::Result<&'a Value> {
    let found = checks(report).into_iter().find(|c| c["id"] == id);
    found.with_context(|| format!("no check {id}: {report:#}"))
}

/// A guest with one case fails these checks, and no others; kills are named without their points.
/// Gives the first failure.
fn fails(name: &str, case: &str, expected: &[&str]) -> anyhow::Result<Value> {
    let dir = TempDir::new()?;
    fs::write(dir.path().join("case.toml"), case)?;
    let said = test(&guest(name), dir.path(), &[])?;
    ensure!(said.code == Some(6), "{name}: {said:#?}");
    let failed: Vec<&Value> = checks(&said.json)
        .into_iter()
        .filter(|c| c["ok"] == false)
        .collect();
    let mut ids: Vec<String> = failed
        .iter()
        .filter_map(|c| c["id"].as_str())
        .map(|id| id.split('@').next().unwrap_or(id).replace("case/", ""))
        .collect();
    ids.dedup();
    ensure!(ids == expected, "{name} failed {ids:?}: {:#}", said.json);
    for check in &failed {
        for part in ["expected", "seen", "to_do", "again"] {
            let text = check["failure"][part].as_str();
            ensure!(text.is_some_and(|t| !t.is_empty()), "{part}: {check:#}");
        }
        let is_kill = check["id"]
            .as_str()
            .is_some_and(|id| id.contains("/killed"));
        ensure!(
            is_kill == check["failure"]["killed"].is_string(),
            "{check:#}"
        );
    }
    Ok(failed[0]["failure"].clone())
}

#[test]
fn a_pure_and_a_read_tool_pass() -> anyhow::Result<()> {
    let report = passes("pure_add")?;
    ensure!(report["class_number"] == 0, "{report:#}");
    // Killed everywhere in the case that runs.
    ensure!(report["kills"].as_u64() >= Some(6), "{report:#}");
    let report = passes("lookup")?;
    ensure!(report["class_number"] == 1, "{report:#}");
    check(&report, "none/same-again")?;
    ensure!(
        checks(&report).iter().all(|c| c["id"] != "none/twice"),
        "a read has no effect: {report:#}"
    );
    Ok(())
}

#[test]
fn reversible_tools_pass_and_their_undo_is_tried() -> anyhow::Result<()> {
    for name in ["undoable", "undoable_keyed", "undoable_probed"] {
        let report = passes(name)?;
        for id in [
            "act/undo",
            "act/probe",
            "act/twice",
            "act/lost-answer",
            "act/killed-under-way",
        ] {
            check(&report, id)?;
        }
    }
    Ok(())
}

/// What it reads from its state it reads again, on its record and behind every kill.
#[test]
fn tools_that_keep_state_pass() -> anyhow::Result<()> {
    for name in ["keeper", "undoable_keeper"] {
        let report = passes(name)?;
        ensure!(report["kills"].as_u64() >= Some(20), "{report:#}");
        check(&report, "act/same-again")?;
    }
    Ok(())
}

#[test]
fn external_tools_pass_also_with_two_effects_or_a_plain_client() -> anyhow::Result<()> {
    for name in ["keyed", "probed", "plain_post"] {
        let report = passes(name)?;
        ensure!(report["kills"].as_u64() >= Some(20), "{report:#}");
    }
    let pair = passes("pair")?;
    let effects = check(&pair, "act/effects")?;
    ensure!(
        effects["what"] == "the far side counts 2 effects",
        "{effects}"
    );
    ensure!(pair["kills"].as_u64() >= Some(38), "{pair:#}");
    Ok(())
}

#[test]
fn an_irreversible_tool_passes_with_its_approval_and_its_preview() -> anyhow::Result<()> {
    let report = passes("paid")?;
    let preview = check(&report, "act/preview")?;
    ensure!(preview["note"] == "Do the act x for good.", "{preview}");
    // Another case that goes the same way is killed at the worst moments alone.
    let everywhere = check(&report, "act/killed")?["what"].to_string();
    let worst = check(&report, "other/killed")?["what"].to_string();
    ensure!(everywhere.contains("26 points"), "{everywhere}");
    ensure!(worst.contains("3 points"), "{worst}");
    ensure!(
        check(&report, "refused/effects")?["ok"] == true,
        "{report:#}"
    );
    Ok(())
}

#[test]
fn where_a_person_must_decide_the_report_says_so() -> anyhow::Result<()> {
    let report = passes("neither")?;
    let note = check(&report, "act/killed")?["note"].to_string();
    ensure!(
        note.contains("a person is asked, doubt_unresolvable"),
        "{note}"
    );
    Ok(())
}

#[test]
fn one_check_is_run_again_by_its_name() -> anyhow::Result<()> {
    let point = "act/killed@request_sent:after:1";
    let said = test(&guest("keyed"), &cases("keyed"), &["--only", point])?;
    ensure!(said.code == Some(0), "{said:#?}");
    ensure!(said.json["kills"] == 1, "{said:#?}");
    let said = test(&guest("keyed"), &cases("keyed"), &["--only", "act/probe"])?;
    ensure!(said.json["kills"] == 0, "{said:#?}");
    ensure!(checks(&said.json).len() == 1, "{said:#?}");
    let said = test(&guest("keyed"), &cases("keyed"), &["--only", "nothing"])?;
    ensure!(said.code == Some(4), "{said:#?}");
    Ok(())
}

/// The case of docs/tool-test.md, as it stands there.
#[test]
fn the_case_of_the_documentation_passes() -> anyhow::Result<()> {
    let page = include_str!("../../docs/tool-test.md");
    let case = page.split("```toml\n").nth(1).context("a case")?;
    let case = case.split("```").next().context("its end")?;
    let dir = TempDir::new()?;
    fs::write(dir.path().join("late-order.toml"), case)?;
    let said = test(&guest("issue_refund"), dir.path(), &[])?;
    ensure!(said.code == Some(0), "{said:#?}");
    // What the page shows of the report is what it says.
    for check in checks(&said.json) {
        let (id, what) = (check["id"].as_str(), check["what"].as_str());
        let what = what.context("what")?;
        let shown = page.contains(&format!("  ok      {what}"));
        ensure!(
            shown || id.is_some_and(|id| id.starts_with("tool/")),
            "docs/tool-test.md does not show `{what}`"
        );
    }
    Ok(())
}

#[test]
fn a_failure_names_the_command_that_runs_it_again() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    let folder = dir.path().join("Meera's cases");
    fs::create_dir(&folder)?;
    let case = format!("input = {{ name = \"x\" }}\nkeeps_keys = false\n{ACTS}");
    fs::write(folder.join("one.toml"), case)?;
    let report = test(&guest("keyed"), &folder, &["--only", "one/killed"])?;
    ensure!(report.code == Some(6), "{report:#?}");
    let failed = checks(&report.json).into_iter().find(|c| c["ok"] == false);
    let failed = failed.context("a failure")?;
    let again = failed["failure"]["again"].as_str().context("a command")?;
    let command = again.replacen("stoplog", &format!("{} --json", bins!().host), 1);
    let cache = Path::new(stoplog_tests::GUESTS_DIR).join("cache");
    let again = said(
        Command::new("sh")
            .env("XDG_CACHE_HOME", cache)
            .args(["-c", &command])
            .output()?,
    )?;
    ensure!(again.code == Some(6), "{command}: {again:#?}");
    let ids: Vec<&Value> = checks(&again.json).into_iter().map(|c| &c["id"]).collect();
    ensure!(ids == [&failed["id"]], "{command}: {ids:?}");
    ensure!(again.json["kills"] == 1, "{again:#?}");
    Ok(())
}

#[test]
fn a_person_reads_what_to_change_once_and_every_point_that_fails() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    let case = format!("input = {{ name = \"x\" }}\nkeeps_keys = false\n{ACTS}");
    fs::write(dir.path().join("case.toml"), case)?;
    let cache = Path::new(stoplog_tests::GUESTS_DIR).join("cache");
    let output = Command::new(bins!().host)
        .env("XDG_CACHE_HOME", cache)
        .args(["tool", "test"])
        .arg(guest("keyed"))
        .arg("--cases")
        .arg(dir.path())
        .args(["--only", "case/killed"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let count = |what: &str| text.matches(what).count();
    ensure!(
        count("FAILED  killed at request_sent:after:1") == 1,
        "{text}"
    );
    ensure!(count("  FAILED  ") >= 6, "{text}");
    ensure!(
        count("again     stoplog tool test") == count("  FAILED  "),
        "{text}"
    );
    ensure!(count("to do     ") < count("  FAILED  "), "{text}");
    ensure!(
        text.contains("the far side has done it; no answer is recorded"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_tool_that_counts_its_attempts_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\n{ACTS}");
    let first = fails(
        "fickle",
        &case,
        &["same-again", "lost-answer", "killed-under-way", "killed"],
    )?;
    let (expected, seen) = (first["expected"].to_string(), first["seen"].to_string());
    ensure!(expected.contains("/acts {"), "{first}");
    ensure!(seen.contains("/acts?again=2 {"), "{first}");
    Ok(())
}

#[test]
fn a_key_that_does_not_get_to_where_the_far_side_looks_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\nkey_in = \"body:reference\"\n{ACTS}");
    let first = fails(
        "keyed",
        &case,
        &["key", "lost-answer", "killed-under-way", "killed"],
    )?;
    ensure!(first["seen"] == "no key in body:reference", "{first}");
    Ok(())
}

#[test]
fn a_far_side_that_keeps_no_keys_although_the_contract_says_so_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\nkeeps_keys = false\n{ACTS}");
    let first = fails(
        "keyed",
        &case,
        &["lost-answer", "killed-under-way", "killed"],
    )?;
    let seen = first["seen"].to_string();
    ensure!(seen.contains("2 effects (act_x, act_x)"), "{first}");
    Ok(())
}

#[test]
fn a_probe_that_finds_nothing_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\n{ACTS}");
    let first = fails(
        "blind",
        &case,
        &["probe", "lost-answer", "killed-under-way", "killed"],
    )?;
    ensure!(first["seen"] == "before: absent; after: absent", "{first}");
    Ok(())
}

#[test]
fn an_undo_that_does_nothing_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\n{ACTS}");
    let first = fails("stubborn", &case, &["undo"])?;
    ensure!(
        first["expected"] == "a request that takes it back",
        "{first}"
    );
    Ok(())
}

#[test]
fn an_output_off_its_schema_is_found() -> anyhow::Result<()> {
    let first = fails("nan", "input = { name = \"\" }", &["outcome"])?;
    ensure!(
        first["seen"].to_string().contains("output_schema"),
        "{first}"
    );
    Ok(())
}

#[test]
fn a_tool_that_brings_its_own_key_denies_its_act_or_breaks_is_found() -> anyhow::Result<()> {
    let case = format!("input = {{ name = \"x\" }}\n{ACTS}");
    let first = fails("headstrong", &case, &["outcome"])?;
    ensure!(first["seen"].to_string().contains("idempotency"), "{first}");
    fails("liar", &case, &["outcome", "effects", "same-again"])?;
    let first = fails("trap_after_effect", &case, &["outcome"])?;
    ensure!(first["expected"] == "the tool to return", "{first}");
    let reader = "input = { name = \"x\" }";
    fails("posting_reader", reader, &["outcome"])?;
    Ok(())
}

#[test]
fn what_the_case_lacks_is_named_as_a_line_to_add() -> anyhow::Result<()> {
    let case = "input = { name = \"x\" }";
    let first = fails("keyed", case, &["answers"])?;
    ensure!(
        first["expected"] == "[[far]] with request = \"POST /acts\"",
        "{first}"
    );
    // The line to add for a probe catches any key.
    let case = "input = { name = \"x\" }\n[[far]]\nrequest = \"POST /acts\"\nstatus = 500";
    let first = fails("probed", case, &["answers"])?;
    ensure!(
        first["expected"] == "[[far]] with request = \"GET /acts/by-key/{key}\"",
        "{first}"
    );
    Ok(())
}

#[test]
fn a_case_that_cannot_be_read_changes_nothing_and_names_its_file() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    for (text, why) in [
        ("inputs = {}", "unknown field `inputs`"),
        ("input = {}\nkey_in = \"cookie\"", "header:NAME"),
        ("input = {}\n[[far]]\nrequest = \"/acts\"", "write a method"),
        ("input = \"{\"", "no JSON"),
    ] {
        fs::write(dir.path().join("odd.toml"), text)?;
        let said = test(&guest("keyed"), dir.path(), &[])?;
        ensure!(said.code == Some(4), "{text}: {said:?}");
        ensure!(said.stderr.contains("case_invalid"), "{text}: {said:?}");
        ensure!(said.stderr.contains("odd.toml"), "{text}: {said:?}");
        ensure!(said.stderr.contains(why), "{text}: {said:?}");
    }
    Ok(())
}
