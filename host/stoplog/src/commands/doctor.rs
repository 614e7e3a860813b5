//! `doctor`: what is wrong with configuration, tools, journal and toolchain, and what to do.

use std::process::Command;

use serde_json::json;
use stoplog_journal::Store;
use stoplog_store::{DataDir, TraceDb};
use stoplog_telemetry::TraceStore;
use stoplog_telemetry::otlp::OTLP;

use super::Context;
use crate::config::{Config, ModelConfig, ProfileConfig};
use crate::error::{CliError, Exit};
use crate::host;
use crate::lock::{self, Lock};
use crate::output;

struct Finding {
    what: String,
    problem: Option<String>,
    cure: String,
}

fn good(what: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        problem: None,
        cure: String::new(),
    }
}

fn bad(what: impl Into<String>, error: &CliError) -> Finding {
    Finding {
        what: what.into(),
        problem: Some(error.message.clone()),
        cure: error
            .reason
            .map(|r| r.hint().to_owned())
            .unwrap_or_default(),
    }
}

pub(super) async fn run(context: &Context) -> Result<Exit, CliError> {
    let mut findings = vec![toolchain()];
    match context.config() {
        Ok(config) => look(&config, &mut findings).await,
        Err(error) => findings.push(bad("configuration", &error)),
    }
    let sick = findings.iter().any(|f| f.problem.is_some());
    if context.json {
        let told: Vec<_> = findings
            .iter()
            .map(|f| json!({"what": f.what, "problem": f.problem, "cure": f.cure}))
            .collect();
        output::json(&json!(told));
    } else {
        for finding in &findings {
            match &finding.problem {
                None => output::line(format!("ok     {}", finding.what)),
                Some(problem) => {
                    output::line(format!("WRONG  {}: {problem}", finding.what));
                    output::line(format!("       to do: {}", finding.cure));
                }
            }
        }
    }
    Ok(if sick { Exit::Failed } else { Exit::Ok })
}

/// Only authors of tools need the toolchain; running agents does not.
fn toolchain() -> Finding {
    let rustc = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-wasip2"])
        .output();
    let there = rustc.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout);
        output.status.success() && std::path::Path::new(path.trim()).is_dir()
    });
    if there {
        return good("toolchain: target wasm32-wasip2 is installed");
    }
    Finding {
        what: "toolchain (for building tools in Rust)".into(),
        problem: Some("the target wasm32-wasip2 is not installed".into()),
        cure: "rustup target add wasm32-wasip2".into(),
    }
}

async fn look(config: &Config, findings: &mut Vec<Finding>) {
    findings.push(good(format!("configuration: {}", config.path.display())));
    let is_scripted = matches!(config.model, ModelConfig::Scripted { script: None });
    let model = host::egress(config).and_then(|egress| match is_scripted {
        true => Ok(()),
        false => host::model(config, &egress, None).map(|_| ()),
    });
    match model {
        Ok(()) if is_scripted => findings.push(good(
            "model and secrets: scripted, with a script for each run (`stoplog run --script FILE`); \
             `stoplog tool run` needs none",
        )),
        Ok(()) => findings.extend(models(config)),
        Err(error) => findings.push(bad("model and secrets", &error)),
    }
    match DataDir::unlocked(&config.data_dir) {
        Ok(data) => tools(config, &data, findings),
        Err(error) => findings.push(bad("data directory", &error.into())),
    }
    match config.journal.cipher().map(|keys| keys.current().cloned()) {
        Ok(None) => findings.push(good("encryption of the journal: not configured")),
        Ok(Some(id)) => findings.push(good(format!(
            "encryption of the journal: key {id} for what is written from the next start on"
        ))),
        Err(error) => findings.push(bad("encryption of the journal", &error)),
    }
    if !config.data_dir.join("journal.db").exists() {
        return findings.push(good("journal: none yet; the first run makes it"));
    }
    match journal(config).await {
        Ok(found) => findings.push(good(format!(
            "journal: quick_check passed, {}, {} effect(s) in doubt; `stoplog verify` looks at all of it",
            found.encryption, found.open
        ))),
        Err(error) => findings.push(bad("journal", &error)),
    }
    if let Some(collector) = &config.telemetry.collector {
        let at = collector.url.host_str().unwrap_or("?");
        match unsent(config).await {
            Ok(0) => findings.push(good(format!("collector at {at}: all spans are sent"))),
            Ok(spans) => findings.push(good(format!(
                "collector at {at}: {spans} span(s) wait in the trace store"
            ))),
            Err(error) => findings.push(bad("trace store", &error)),
        }
    }
}

/// Spans that are over and that the collector has not taken yet.
async fn unsent(config: &Config) -> Result<u64, CliError> {
    let file = config.data_dir.join("traces.db");
    if !file.exists() {
        return Ok(0);
    }
    let traces = TraceDb::open(&file)?;
    let last = traces.last_place().await?;
    // Who is configured for the first time gets what ends from then on.
    let sent = traces.sent(OTLP).await?.unwrap_or(last);
    Ok(last.saturating_sub(sent))
}

/// What is asked for turns, as it would be asked. Nothing is sent.
fn models(config: &Config) -> Vec<Finding> {
    let ModelConfig::Chain(chain) = &config.model else {
        return vec![good("model and secrets")];
    };
    let told = |name: &str, profile: &ProfileConfig| {
        let key = match &profile.key {
            Some(_) => "key found",
            None => "no key",
        };
        let price = match profile.priced.version.as_str() {
            "" => "price beside it".to_owned(),
            version => format!("price of table {version}"),
        };
        let window = match profile.context_window_tokens {
            0 => "context_window_tokens not given, so use of the window is not watched".to_owned(),
            tokens => format!("window of {tokens} tokens"),
        };
        let (kind, model) = (profile.kind.word(), &profile.model);
        let at = profile.base_url.host_str().unwrap_or("?");
        format!("{name}: {model} ({kind}) at {at}, {key}, {price}, {window}")
    };
    let mut findings = vec![good(told("model and secrets", &chain.first))];
    for fallback in &chain.fallbacks {
        let name = match fallback.armed {
            true => format!("fallback {} (evaluated: {})", fallback.name, fallback.eval),
            false => format!("fallback {}, not armed", fallback.name),
        };
        findings.push(good(told(&name, &fallback.profile)));
    }
    findings
}

/// What a journal that passed its check has.
struct Found {
    encryption: String,
    /// Open intents.
    open: usize,
}

/// Checks the journal and that its keys are there, and counts its open intents.
async fn journal(config: &Config) -> Result<Found, CliError> {
    let store = host::look(&config.data_dir, || config.journal.cipher()).await?;
    store.quick_check().await?;
    store.require_keys().await?;
    let keys = store.keys().await?;
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let encryption = match keys.is_empty() {
        true => "nothing in it encrypted".to_owned(),
        false => format!("encrypted with {}", names.join(", ")),
    };
    let open = store.open_intents().await?.len();
    Ok(Found { encryption, open })
}

fn tools(config: &Config, data: &DataDir, findings: &mut Vec<Finding>) {
    let lock = match Lock::load(&config.lock) {
        Ok(lock) => lock,
        Err(error) => return findings.push(bad("lock", &error)),
    };
    let reach = match host::reach(config, &lock) {
        Ok(reach) => reach,
        Err(error) => return findings.push(bad("lock", &error)),
    };
    if lock.tools.is_empty() {
        findings.push(good(
            "tools: none yet; add one with `stoplog tool add FILE`",
        ));
    }
    for locked in &lock.tools {
        let what = format!("tool {}", locked.name);
        let checked = lock::checked(data, locked).and_then(|contract| {
            let rules = config
                .rules
                .check_fields(&locked.name, &contract.input_schema);
            rules.map_err(|e| CliError::new(stoplog_model::Reason::ConfigInvalid, e.to_string()))
        });
        match checked {
            Err(error) => findings.push(bad(what, &error)),
            Ok(()) if !locked.egress.is_empty() && !reach.contains_key(&locked.name) => {
                findings.push(Finding {
                    what,
                    problem: Some(format!(
                        "asks for {}, and is granted nothing",
                        locked.egress.join(", ")
                    )),
                    cure: format!(
                        "add it again with --grant-asked, or a [[grant]] for it to {}",
                        config.path.display()
                    ),
                });
            }
            Ok(()) => findings.push(good(what)),
        }
    }
    for tool in config
        .rules
        .tools()
        .chain(config.grants.keys().map(String::as_str))
    {
        if lock.get(tool).is_none() {
            findings.push(Finding {
                what: format!("configuration of `{tool}`"),
                problem: Some("there is no such tool in the lock".into()),
                cure: "correct the name, or add the tool with `stoplog tool add FILE`".into(),
            });
        }
    }
}
