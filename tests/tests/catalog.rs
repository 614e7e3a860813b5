//! Tools without code: every template of the catalogue makes a component that is checked, tested
//! and accepted like any other.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use serde_json::Value;
use stoplog_tests::{Said, bins, said};
use tempfile::TempDir;

fn stoplog(dir: &Path, args: &[&str]) -> anyhow::Result<Said> {
    let cache = Path::new(stoplog_tests::GUESTS_DIR).join("cache");
    let mut command = Command::new(bins!().host);
    command
        .current_dir(dir)
        .env("XDG_CACHE_HOME", cache)
        .arg("--json")
        .args(args);
    said(command.output()?)
}

fn done(dir: &Path, args: &[&str]) -> anyhow::Result<Value> {
    let said = stoplog(dir, args)?;
    ensure!(said.code == Some(0), "{args:?}: {said:#?}");
    Ok(said.json)
}

/// Made, checked, crash-tested. Gives the report of the test.
fn passes(entry: &str, class: u64) -> anyhow::Result<Value> {
    let dir = TempDir::new()?;
    done(dir.path(), &["tool", "from", entry, "--out", "t"])?;
    let wasm = fs::read_dir(dir.path().join("t"))?
        .flatten()
        .map(|f| f.path())
        .find(|p| p.extension().is_some_and(|e| e == "wasm"));
    let wasm = wasm.map(|p| p.display().to_string()).unwrap_or_default();
    let checked = done(dir.path(), &["tool", "check", &wasm])?;
    ensure!(checked["class_number"] == class, "{entry}: {checked:#}");
    let report = done(dir.path(), &["tool", "test", &wasm, "--cases", "t/cases"])?;
    ensure!(report["passed"] == true, "{entry}: {report:#}");
    Ok(report)
}

#[test]
fn looking_something_up_needs_no_code() -> anyhow::Result<()> {
    passes("http-get", 1).map(|_| ())
}

#[test]
fn posts_webhooks_and_mail_need_no_code() -> anyhow::Result<()> {
    for entry in ["http-post", "webhook", "mail"] {
        let report = passes(entry, 3)?;
        ensure!(report["kills"].as_u64() >= Some(20), "{entry}: {report:#}");
    }
    Ok(())
}

#[test]
fn issues_and_comments_need_no_code() -> anyhow::Result<()> {
    for entry in ["issue-create", "issue-comment"] {
        passes(entry, 3)?;
    }
    Ok(())
}

#[test]
fn charges_and_refunds_need_no_code_and_show_what_they_would_do() -> anyhow::Result<()> {
    for (entry, preview) in [
        (
            "payment-charge",
            "Charge 6400 inr (smallest unit) to customer cus_A1, for order 448100.",
        ),
        (
            "payment-refund",
            "Pay back 6400 (smallest unit) of payment pi_1: duplicate.",
        ),
    ] {
        let report = passes(entry, 4)?.to_string();
        let start: String = preview.chars().take(70).collect();
        ensure!(report.contains(&start), "{entry}: {report}");
    }
    Ok(())
}

/// Class 2 whose undo is the same request with another body.
#[test]
fn a_state_that_is_put_back_is_undone() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    let template = r#"
        name = "close_order"
        class = "reversible"
        description = "Closes an order."
        key = { template = "close_{id}" }
        settles_within_ms = 100

        [input]
        id = { type = "string", show = "audit" }

        [output]
        state = { type = "string", show = "audit" }

        [request]
        method = "PUT"
        url = "https://api.example.com/orders/{id}/state"
        body = { state = "closed" }

        [undo]
        method = "PUT"
        url = "https://api.example.com/orders/{id}/state"
        body = { state = "open" }
    "#;
    let case = r#"
        input = { id = "7" }
        expect = { output = { state = "closed" } }

        [[far]]
        request = "PUT /orders/{id}/state"
        when = { state = "open" }
        undoes = true
        body = { state = "open" }

        [[far]]
        request = "PUT /orders/{id}/state"
        body = { state = "{body.state}" }
    "#;
    fs::create_dir(dir.path().join("cases"))?;
    fs::write(dir.path().join("close.toml"), template)?;
    fs::write(dir.path().join("cases/close.toml"), case)?;
    done(dir.path(), &["tool", "from", "close.toml"])?;
    let test = [
        "tool",
        "test",
        "close_order/close_order.wasm",
        "--cases",
        "cases",
    ];
    let report = done(dir.path(), &test)?;
    ensure!(report["passed"] == true, "{report:#}");
    ensure!(
        report["next"] == "stoplog tool add close_order/close_order.wasm",
        "{report:#}"
    );
    Ok(())
}

/// The template of docs/templates.md, as it stands there.
#[test]
fn the_template_of_the_documentation_makes_a_tool() -> anyhow::Result<()> {
    let page = include_str!("../../docs/templates.md");
    let template = page.split("```toml\n").nth(1).unwrap_or_default();
    let template = template.split("```").next().unwrap_or_default();
    let dir = TempDir::new()?;
    fs::write(dir.path().join("template.toml"), template)?;
    done(dir.path(), &["tool", "from", "template.toml", "--out", "t"])?;
    let checked = done(dir.path(), &["tool", "check", "t/create_item.wasm"])?;
    ensure!(checked["secrets"][0] == "API_TOKEN", "{checked:#}");
    ensure!(checked["key"]["template"] == "item_{ref}", "{checked:#}");
    Ok(())
}

/// Class 2, from a template of one's own; and a template whose probe looks in the wrong place.
#[test]
fn a_template_of_ones_own_is_undone_and_a_wrong_one_is_found_out() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    let template = r#"
        name = "label"
        class = "reversible"
        description = "Puts a label on an item."
        key = { template = "label_{item}_{label}" }
        settles_within_ms = 100

        [input]
        item = { type = "string", show = "audit" }
        label = { type = "string", show = "audit" }

        [output]
        id = { type = "string", show = "audit", identifier = "label_id" }

        [request]
        method = "POST"
        url = "https://api.example.com/items/{item}/labels"
        body = { label = "{label}", ref = "{key}" }

        [probe]
        url = "https://api.example.com/items/{item}/labels"
        where = { ref = "{key}" }

        [undo]
        method = "DELETE"
        url = "https://api.example.com/items/{item}/labels/{label}"
    "#;
    let case = r#"
        input = { item = "a/b", label = "late" }
        expect = { output = { id = "1" } }

        [[far]]
        request = "POST /items/{item}/labels"
        body = { id = "{n}", item = "{item}", label = "{body.label}", ref = "{body.ref}" }

        [[far]]
        request = "GET /items/{item}/labels"
        body = "{effects}"

        [[far]]
        request = "DELETE /items/{item}/labels/{label}"
        undoes = true
        status = 204
    "#;
    fs::create_dir(dir.path().join("cases"))?;
    fs::write(dir.path().join("label.toml"), template)?;
    fs::write(dir.path().join("cases/late.toml"), case)?;
    let test = ["tool", "test", "label/label.wasm", "--cases", "cases"];
    done(dir.path(), &["tool", "from", "label.toml"])?;
    done(dir.path(), &test)?;
    let config = "[agent]\nfeature = \"f\"\nsystem_prompt = \"p\"\n[model]\nkind = \"scripted\"\n";
    fs::write(dir.path().join("stoplog.toml"), config)?;
    done(dir.path(), &["tool", "add", "label/label.wasm"])?;
    let lock = fs::read_to_string(dir.path().join("stoplog.lock"))?;
    ensure!(lock.contains("https://api.example.com"), "{lock}");

    let blind = template.replace("where = { ref = ", "where = { reference = ");
    fs::write(dir.path().join("label.toml"), blind)?;
    done(dir.path(), &["tool", "from", "label.toml"])?;
    let said = stoplog(dir.path(), &test)?;
    ensure!(said.code == Some(6), "{said:#?}");
    ensure!(said.json.to_string().contains("late/probe"), "{said:#?}");

    let stubborn = template.replace("/labels/{label}\"", "/labels/{item}\"");
    fs::write(dir.path().join("label.toml"), stubborn)?;
    done(dir.path(), &["tool", "from", "label.toml"])?;
    let said = stoplog(dir.path(), &test)?;
    ensure!(said.code == Some(6), "{said:#?}");
    let seen = said.json.to_string();
    ensure!(seen.contains("1 effect behind the undo"), "{said:#?}");

    let wrong = template.replace("{ label = \"{label}\"", "{ label = \"{lable}\"");
    fs::write(dir.path().join("label.toml"), wrong)?;
    let said = stoplog(dir.path(), &["tool", "from", "label.toml"])?;
    ensure!(said.code == Some(4), "{said:#?}");
    ensure!(said.stderr.contains("template_invalid"), "{said:#?}");
    ensure!(said.stderr.contains("{lable}"), "{said:#?}");
    Ok(())
}
