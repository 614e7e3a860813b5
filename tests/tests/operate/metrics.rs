//! `/metrics` of a real host, after all that it counts has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Heard, Say, Service};
use stoplog_tests::{World, bins, wait_for};

use super::{has_promtool, passes};

/// The text after a busy life: calls that go well, are repeated, refused, wait and are parked; runs;
/// streams; requests for what is not there.
pub(crate) fn lived() -> anyhow::Result<&'static str> {
    static TEXT: OnceLock<Result<String, String>> = OnceLock::new();
    let text = TEXT.get_or_init(|| live().map_err(|e| format!("{e:?}")));
    text.as_deref().map_err(|e| anyhow::anyhow!("{e}"))
}

/// Where the signals are, for tests that set it up themselves.
fn ask(service: &Service, path: &str, key: &str) -> anyhow::Result<Heard> {
    service.ask("GET", path, &Say::of(key))
}

fn live() -> anyhow::Result<String> {
    let world = World::new(bins!(), &["keyed", "paid", "neither", "lookup"])?;
    world.write_config("[metrics]\ntokens_per_day = 1000000\nrun_cost_usd = 0.05\n")?;
    world.script(&[&[("keyed", "run")], &[("a tool that nobody has", "x")]])?;
    let agent = world.key("acme", "agent", "bot-of-acme")?;
    let monitor = world.key("acme", "monitor", "prometheus")?;
    let service = Service::start(&world)?;
    let call = |tool: &str, name: &str, key: Option<&str>| -> anyhow::Result<Heard> {
        let say = Say::of(&agent).body(json!({"arguments": {"name": name}}));
        let say = match key {
            Some(key) => say.with("idempotency-key", key),
            None => say,
        };
        service.ask("POST", &format!("/tools/{tool}/call"), &say)
    };
    ensure!(call("keyed", "x", Some("a-client-key"))?.status == 200);
    ensure!(call("keyed", "x", None)?.json()["disposition"] == "deduplicated");
    ensure!(call("lookup", "x", None)?.status == 200);
    ensure!(call("nothing", "x", None)?.status == 404);
    ensure!(call("paid", "x", None)?.status == 202);
    // An answer that never comes, of a far side that can neither be asked nor told again.
    world.far.misbehave("forget_keys", 0, 0)?;
    world.far.misbehave("hang_up_after", 1, 0)?;
    ensure!(call("neither", "p", None)?.json()["status"] == "parked");
    let run = Say::of(&agent).body(json!({"task": "do it"}));
    let run = service.ask("POST", "/agent/run", &run)?;
    ensure!(run.json()["status"] == "ended", "{run:?}");
    let events = format!(
        "/agent/runs/{}/events",
        run.json()["session"].as_str().context("id")?
    );
    ensure!(ask(&service, &events, &agent)?.status == 200);
    ensure!(ask(&service, "/agent/runs/somebody-s-session", &agent)?.status == 404);
    wait_for("the stream's end, and the sessions' rest", || {
        let text = ask(&service, "/metrics", &monitor).ok()?.body;
        let settled = value(&text, "stoplog_streams_total", &["end=\"whole\""]) == Some(1.0)
            && value(&text, "stoplog_approvals_waiting", &[]) == Some(1.0)
            && value(&text, "stoplog_parked_waiting", &[]) == Some(1.0);
        settled.then_some(text)
    })
}

/// The sum of the lines of a name with all these labels; none if there are none.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let lines = text.lines().filter(|l| {
        let rest = l.strip_prefix(name);
        rest.is_some_and(|r| r.starts_with(['{', ' '])) && labels.iter().all(|w| l.contains(w))
    });
    let values: Vec<f64> = lines
        .filter_map(|l| l.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[test]
fn what_happened_is_what_is_counted() -> anyhow::Result<()> {
    let text = lived()?;
    let one = |name: &str, labels: &[&str], expected: f64| {
        let found = value(text, name, labels);
        ensure!(
            found == Some(expected),
            "{name} {labels:?}: {found:?}, not {expected}\n{text}"
        );
        Ok(())
    };
    let calls = "stoplog_calls_total";
    one(
        calls,
        &[
            "tool=\"keyed\"",
            "disposition=\"executed\"",
            "result=\"success\"",
        ],
        2.0,
    )?;
    one(
        calls,
        &["tool=\"keyed\"", "disposition=\"deduplicated\""],
        1.0,
    )?;
    one(calls, &["tool=\"lookup\"", "result=\"success\""], 1.0)?;
    one(
        calls,
        &[
            "tool=\"unknown\"",
            "disposition=\"refused\"",
            "result=\"error\"",
        ],
        1.0,
    )?;
    one(
        "stoplog_call_duration_seconds_count",
        &["tool=\"keyed\""],
        2.0,
    )?;
    one(
        "stoplog_runs_total",
        &["tenant=\"acme\"", "outcome=\"success\""],
        1.0,
    )?;
    one(
        "stoplog_run_duration_seconds_count",
        &["outcome=\"success\""],
        1.0,
    )?;
    one("stoplog_run_tool_calls_sum", &[], 2.0)?;
    one("stoplog_run_model_calls_sum", &[], 3.0)?;
    one("stoplog_finishes_total", &["finish=\"stop\""], 1.0)?;
    one(
        "stoplog_errors_total",
        &["where=\"call\"", "reason=\"unknown_tool\""],
        1.0,
    )?;
    one(
        "stoplog_errors_total",
        &["where=\"http\"", "reason=\"session_not_found\""],
        1.0,
    )?;
    one("stoplog_effects_total", &["outcome=\"answered\""], 2.0)?;
    one("stoplog_effects_total", &["outcome=\"unanswered\""], 1.0)?;
    one(
        "stoplog_parked_total",
        &["reason=\"doubt_unresolvable\""],
        1.0,
    )?;
    one("stoplog_approvals_total", &["step=\"requested\""], 1.0)?;
    one("stoplog_approvals_waiting", &[], 1.0)?;
    one("stoplog_parked_waiting", &[], 1.0)?;
    one("stoplog_token_budget_tokens", &[], 1e6)?;
    one("stoplog_ready", &["condition=\"journal\""], 1.0)?;
    one(
        "stoplog_http_requests_total",
        &["route=\"/agent/runs/{id}\"", "status=\"404\""],
        1.0,
    )?;
    one(
        "stoplog_http_requests_total",
        &["route=\"/tools/{name}/call\"", "method=\"POST\""],
        6.0,
    )?;
    // The sandbox and the writer are at rest, and have worked.
    for (name, least) in [
        ("stoplog_commit_duration_seconds_count", 10.0),
        ("stoplog_tokens_total", 1.0),
        ("stoplog_cost_usd_total", 0.000_001),
        ("stoplog_journal_bytes", 4096.0),
        ("process_resident_memory_bytes", 1e6),
        ("stoplog_sandbox_instances_limit", 1.0),
    ] {
        let found = value(text, name, &[]);
        ensure!(
            found.is_some_and(|v| v >= least),
            "{name}: {found:?}\n{text}"
        );
    }
    one("stoplog_writer_waiting", &[], 0.0)?;
    one("stoplog_sandbox_instances", &[], 0.0)?;
    for hidden in [
        "a-client-key",
        "bot-of-acme",
        "somebody-s-session",
        "nobody has",
        "do it",
        "sess_",
        "run_",
    ] {
        ensure!(
            !text.contains(&format!("\"{hidden}")),
            "{hidden} in\n{text}"
        );
    }
    Ok(())
}

#[test]
fn prometheus_reads_it_and_has_nothing_to_complain_of() -> anyhow::Result<()> {
    if has_promtool()? {
        let said = passes(
            Command::new("promtool").args(["check", "metrics"]),
            Some(lived()?),
        )?;
        ensure!(said.trim().is_empty(), "{said}");
        let broken = "# TYPE a_total gauge\na_total 1\n";
        let found = super::run(
            Command::new("promtool").args(["check", "metrics"]),
            Some(broken),
        )?;
        ensure!(
            !found.status.success(),
            "promtool finds nothing wrong with anything"
        );
    }
    Ok(())
}

/// Name, kind and text of every family that is served.
fn served(text: &str) -> BTreeMap<&str, (&str, &str)> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            all.entry(name).or_insert(("", "")).1 = help;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            all.entry(name).or_insert(("", "")).0 = kind;
        }
    }
    all
}

/// The names of all that is served.
pub(crate) fn names() -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for (name, (kind, _)) in served(lived()?) {
        match kind {
            "histogram" => {
                all.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")))
            }
            _ => drop(all.insert(name.to_owned())),
        }
    }
    Ok(all)
}

#[test]
fn every_name_is_documented_and_every_documented_name_is_served() -> anyhow::Result<()> {
    let page = include_str!("../../../docs/metrics.md");
    let rows = page.lines().filter(|l| l.starts_with("| `"));
    let documented: BTreeMap<&str, (&str, &str)> = rows
        .filter_map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [name, kind, _, text] = cells[..] else {
                return None;
            };
            Some((name.trim_matches('`'), (kind, text)))
        })
        .collect();
    let served = served(lived()?);
    ensure!(
        documented == served,
        "only in docs/metrics.md, or otherwise there: {:?}\nonly served, or otherwise: {:?}",
        documented
            .iter()
            .filter(|d| !served.contains_key(*d.0) || served[d.0] != *d.1)
            .collect::<Vec<_>>(),
        served
            .iter()
            .filter(|s| !documented.contains_key(*s.0) || documented[s.0] != *s.1)
            .collect::<Vec<_>>(),
    );
    Ok(())
}

#[test]
fn all_tenants_are_for_the_monitor_alone() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let keys = ["agent", "operator", "approver", "viewer", "monitor"]
        .map(|role| Ok((role, world.key("acme", role, role)?)))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    let service = Service::start(&world)?;
    ensure!(service.ask("GET", "/metrics", &Say::default())?.status == 401);
    for (role, key) in &keys {
        let heard = ask(&service, "/metrics", key)?;
        ensure!(
            (heard.status == 200) == (*role == "monitor"),
            "{role}: {heard:?}"
        );
        let tools = ask(&service, "/tools", key)?;
        ensure!(
            (tools.status == 200) == (*role != "monitor"),
            "{role}: {tools:?}"
        );
    }
    Ok(())
}

#[test]
fn they_may_have_an_address_of_their_own() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let agent = world.key("acme", "agent", "bot")?;
    let monitor = world.key("acme", "monitor", "prometheus")?;
    for (auth, without_key) in [("off", 200), ("keys", 401)] {
        world.write_config(&format!(
            "[metrics]\nlisten = \"127.0.0.1:0\"\nauth = \"{auth}\"\n"
        ))?;
        let service = Service::start(&world)?;
        let at = service.told["metrics"]
            .as_str()
            .context("where they are")?
            .parse()?;
        let gone = ask(&service, "/metrics", &monitor)?;
        ensure!(
            (gone.status, gone.reason()) == (404, "route_not_found".into()),
            "{gone:?}"
        );
        let health = service.ask("GET", "/health", &Say::default())?;
        ensure!(health.status == 200, "{health:?}");

        let aside = service.beside(at);
        ensure!(aside.ask("GET", "/metrics", &Say::default())?.status == without_key);
        let heard = aside.ask("GET", "/metrics", &Say::of(&monitor))?;
        ensure!(
            heard.status == 200 && heard.body.contains("stoplog_build_info"),
            "{heard:?}"
        );
        let nothing = aside.ask("GET", "/tools", &Say::of(&agent))?;
        ensure!(nothing.status == 404, "{nothing:?}");
        // A page of somebody else, led here by a name of its own.
        let led = Say::of(&monitor).with("host", "evil.example.com");
        let led = aside.ask("GET", "/metrics", &led)?;
        ensure!((led.status == 200) == (auth == "keys"), "{led:?}");
        service.terminate()?;
        ensure!(service.ended()?.0.code() == Some(0));
    }
    // Whoever reaches the service would see all tenants.
    let open = "[serve]\nlisten = \"0.0.0.0:0\"\n[metrics]\nauth = \"off\"\n";
    world.write_config(open)?;
    let refused = world.host(&["serve"])?;
    ensure!(
        refused.code == Some(4) && refused.stderr.contains("config_invalid"),
        "{refused:?}"
    );
    Ok(())
}

/// A value of a script of the demo, so that counted dollars are known ones.
#[test]
fn what_runs_cost_is_exact() -> anyhow::Result<()> {
    let text = lived()?;
    let told: Value = json!(value(text, "stoplog_run_cost_usd_sum", &[]));
    let paid = value(text, "stoplog_cost_usd_total", &[]).context("a cost")?;
    ensure!(
        (told.as_f64().unwrap_or(-1.0) - paid).abs() < 1e-9,
        "{told} {paid}"
    );
    Ok(())
}
