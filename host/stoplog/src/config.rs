//! `stoplog.toml`: parsed whole, checked whole, and only then built from.
//!
//! Every mistake is an error with file, line and cure; nothing is ignored: a key that nobody
//! knows is an error too, so a typo never silently means the default.

mod claims;
mod journal;
mod limits;
mod log;
mod metrics;
mod model;
mod retention;
mod secrets;
mod serve;
mod telemetry;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stoplog_admission::Bounds;
use stoplog_egress::Grant;
use stoplog_model::Reason;
use stoplog_policy::approval::When;
use stoplog_policy::{ApprovalRules, ClaimRules};
use toml::Spanned;

use crate::error::CliError;

pub use journal::JournalConfig;
pub use log::{LogConfig, LogFormat, LogLevel};
pub use metrics::Metrics;
pub use model::{ChainConfig, FallbackConfig, ModelConfig, ProfileConfig};
pub use retention::Kept;
pub(crate) use retention::parse_age;
pub use secrets::SecretSource;
pub use serve::{Asked, Service};
pub use telemetry::{CollectorConfig, HeaderValue, TelemetryConfig};

/// Where a host keeps its data if nobody says otherwise, beside the configuration.
const DEFAULT_DATA_DIR: &str = "data";
/// Turns that may be configured: requirement 102 says 10 to 25 for most; more than 100 is a
/// mistake.
const MAX_ITERATIONS: u32 = 100;
/// Seconds that a shutdown may take if nobody says otherwise (requirement 100).
const DEFAULT_GRACE_S: u64 = 30;
/// Longest grace that may be configured: no supervisor waits for an hour before it kills.
const MAX_GRACE_S: u64 = 3600;

/// The file, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    lock: Option<PathBuf>,
    agent: Agent,
    model: Spanned<model::Section>,
    #[serde(default)]
    approval: Approval,
    #[serde(default)]
    claims: claims::Section,
    #[serde(default)]
    shutdown: Shutdown,
    #[serde(default)]
    journal: journal::Section,
    #[serde(default)]
    retention: retention::Section,
    #[serde(default)]
    serve: serve::Section,
    #[serde(default)]
    metrics: metrics::Section,
    #[serde(default)]
    limits: limits::Section,
    #[serde(default)]
    telemetry: telemetry::Section,
    #[serde(default)]
    log: log::Section,
    #[serde(default)]
    grant: Vec<GrantSection>,
    #[serde(default)]
    tools: BTreeMap<String, ToolSection>,
    #[serde(default)]
    secrets: BTreeMap<String, Spanned<secrets::Section>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    feature: String,
    system_prompt: String,
    max_iterations: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    expires_after_s: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shutdown {
    grace_seconds: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantSection {
    tools: Vec<String>,
    origin: Spanned<String>,
    methods: Option<Vec<String>>,
    connect: Option<Spanned<String>>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolSection {
    #[serde(default)]
    clear_when: Vec<Spanned<String>>,
    #[serde(default)]
    hold_when: Vec<Spanned<String>>,
}

/// A configuration that holds together.
#[derive(Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// Where the host keeps its data.
    pub data_dir: PathBuf,
    /// The lock file.
    pub lock: PathBuf,
    /// The workflow's name.
    pub feature: String,
    /// The system prompt.
    pub system_prompt: String,
    /// Turns at most.
    pub max_iterations: u32,
    /// How long an orderly shutdown may take in all (`[shutdown] grace_seconds`, 30 by default).
    pub grace: Duration,
    /// How the journal is encrypted (`[journal]`).
    pub journal: JournalConfig,
    /// How long sessions and keys are kept (`[retention]`).
    pub retention: Kept,
    /// How clients come in (`[serve]`).
    pub serve: Service,
    /// Who may read the golden signals (`[metrics]`).
    pub metrics: Metrics,
    /// How many calls are let in at once, and may stand in line (`[limits]`).
    pub calls: Bounds,
    /// Which model.
    pub model: ModelConfig,
    /// Approval rules, compiled.
    pub rules: ApprovalRules,
    /// What an answer may say (`[claims]`), compiled.
    pub claims: ClaimRules,
    /// Grants by tool.
    pub grants: BTreeMap<String, Vec<Grant>>,
    /// Where spans go beside the trace store (`[telemetry]`).
    pub telemetry: TelemetryConfig,
    /// Lines of a host for people and their machines (`[log]`).
    pub log: LogConfig,
    /// Where the values of secrets are, by the secret's name.
    pub secrets: BTreeMap<String, SecretSource>,
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, offset: usize, message: impl std::fmt::Display) -> CliError {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        let place = format!("{}:{line}:{column}", self.path.display());
        CliError::new(Reason::ConfigInvalid, format!("{place}: {message}"))
    }

    fn at<T>(&self, spanned: &Spanned<T>, message: impl std::fmt::Display) -> CliError {
        self.error(spanned.span().start, message)
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, CliError> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            CliError::new(Reason::ConfigNotFound, format!("{}: {e}", path.display()))
        })?;
        Config::parse(path, &text)
    }

    /// Checks a text. Paths in it are relative to the file.
    pub fn parse(path: &Path, text: &str) -> Result<Config, CliError> {
        let source = Source { path, text };
        let file: File = toml::from_str(text)
            .map_err(|e| source.error(e.span().map_or(0, |s| s.start), e.message()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let max_iterations = match &file.agent.max_iterations {
            None => stoplog_agent::DEFAULT_MAX_ITERATIONS,
            Some(n) if (1..=MAX_ITERATIONS).contains(n.get_ref()) => *n.get_ref(),
            Some(n) => {
                return Err(source.at(n, format!("max_iterations must be 1 to {MAX_ITERATIONS}")));
            }
        };
        let serve = file.serve.check(&source, base)?;
        Ok(Config {
            path: path.to_owned(),
            data_dir: base.join(file.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into())),
            lock: base.join(file.lock.unwrap_or_else(|| "stoplog.lock".into())),
            feature: file.agent.feature,
            system_prompt: file.agent.system_prompt,
            max_iterations,
            grace: grace(&source, &file.shutdown)?,
            journal: file.journal.check(&source, base)?,
            retention: file.retention.check(&source)?,
            metrics: file.metrics.check(&source, &serve)?,
            serve,
            calls: file.limits.check(&source)?,
            model: model::check(&source, base, &file.model)?,
            rules: rules(&source, &file.approval, &file.tools)?,
            claims: file.claims.check(&source)?,
            grants: grants(&source, &file.grant)?,
            secrets: secrets::check(&source, base, file.secrets)?,
            telemetry: file.telemetry.check(&source, base)?,
            log: file.log.check(base),
        })
    }
}

fn grace(source: &Source<'_>, section: &Shutdown) -> Result<Duration, CliError> {
    let seconds = match &section.grace_seconds {
        None => DEFAULT_GRACE_S,
        Some(n) if (1..=MAX_GRACE_S).contains(n.get_ref()) => *n.get_ref(),
        Some(n) => {
            return Err(source.at(n, format!("grace_seconds must be 1 to {MAX_GRACE_S}")));
        }
    };
    Ok(Duration::from_secs(seconds))
}

fn rules(
    source: &Source<'_>,
    approval: &Approval,
    tools: &BTreeMap<String, ToolSection>,
) -> Result<ApprovalRules, CliError> {
    let mut rules = ApprovalRules::none();
    if let Some(seconds) = &approval.expires_after_s {
        if *seconds.get_ref() == 0 {
            return Err(source.at(seconds, "expires_after_s must be 1 or more"));
        }
        rules.set_expiry_ms(seconds.get_ref().saturating_mul(1000));
    }
    for (tool, section) in tools {
        let clear = section.clear_when.iter().map(|r| (When::Clear, r));
        let hold = section.hold_when.iter().map(|r| (When::Hold, r));
        for (when, rule) in clear.chain(hold) {
            rules
                .add(tool, when, rule.get_ref())
                .map_err(|e| source.at(rule, e))?;
        }
    }
    Ok(rules)
}

fn grants(
    source: &Source<'_>,
    sections: &[GrantSection],
) -> Result<BTreeMap<String, Vec<Grant>>, CliError> {
    let mut by_tool: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
    for section in sections {
        let mut grant =
            Grant::parse(section.origin.get_ref()).map_err(|e| source.at(&section.origin, e))?;
        if let Some(methods) = &section.methods {
            grant = grant.with_methods(methods.clone());
        }
        if section.allow_private {
            grant = grant.with_private();
        }
        if let Some(connect) = &section.connect {
            let address: SocketAddr = connect.get_ref().parse().map_err(|_| {
                source.at(
                    connect,
                    "connect must be an address and a port, such as 127.0.0.1:8080",
                )
            })?;
            grant = grant
                .with_connect(address)
                .map_err(|e| source.at(connect, e))?;
        }
        if section.tools.is_empty() {
            return Err(source.at(&section.origin, "this grant names no tools"));
        }
        for tool in &section.tools {
            by_tool.entry(tool.clone()).or_default().push(grant.clone());
        }
    }
    Ok(by_tool)
}

#[cfg(test)]
mod tests;
