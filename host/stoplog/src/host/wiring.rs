//! Wiring: from a checked configuration to the driver, and the tools that sessions have pinned.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stoplog_admission::Places;
use stoplog_agent::Driver;
use stoplog_dispatch::{Access, Dispatcher};
use stoplog_egress::{ApiKey, Egress, Grant, Secrets, Settings as EgressSettings};
use stoplog_llm::{
    Backoff, Model, OpenAi, OpenAiSettings, Scripted, TURN_DEADLINE, TokenLimitField,
};
use stoplog_model::event::Pin;
use stoplog_model::{Class, Digest, Reason};
use stoplog_policy::ApprovalRules;
use stoplog_sandbox::{Sandbox, Settings as SandboxSettings};
use stoplog_store::DataDir;
use tokio::sync::Mutex;

use super::edges::SystemClock;
use crate::config::{Config, ModelConfig};
use crate::error::CliError;
use crate::lock::{self, Lock};

/// Components that sessions have pinned, each loaded once for all of them.
pub(crate) struct Tools {
    sandbox: Sandbox,
    rules: Arc<ApprovalRules>,
    config: PathBuf,
    /// Class by digest, as the binary has it. Held while a component compiles: nobody waits for
    /// one who does not need it.
    loaded: Mutex<HashMap<Digest, Class>>,
}

impl Tools {
    /// Makes these pinned tools ready to run, and checks that the operator's rules speak of fields
    /// that they have.
    pub(crate) async fn ready(&self, data: &DataDir, pins: &[Arc<Pin>]) -> Result<(), CliError> {
        for pin in pins {
            let name = pin.contract.name.as_str();
            self.rules
                .check_fields(name, &pin.contract.input_schema)
                .map_err(|e| {
                    let message = format!("{}: {e}", self.config.display());
                    CliError::new(Reason::ConfigInvalid, message)
                })?;
            let class = self.load(data, pin).await?;
            if class != pin.class {
                let message = format!("`{name}` is {class}, and locked as {}", pin.class);
                return Err(CliError::new(Reason::ToolChanged, message));
            }
        }
        Ok(())
    }

    async fn load(&self, data: &DataDir, pin: &Pin) -> Result<Class, CliError> {
        let mut loaded = self.loaded.lock().await;
        if let Some(class) = loaded.get(&pin.component) {
            return Ok(*class);
        }
        let bytes = lock::component(data, pin.contract.name.as_str(), &pin.component)?;
        let sandbox = self.sandbox.clone();
        let inspected = tokio::task::spawn_blocking(move || sandbox.load(&bytes))
            .await
            .map_err(|e| CliError::internal(e.to_string()))??;
        loaded.insert(pin.component.clone(), inspected.class);
        Ok(inspected.class)
    }
}

/// Who takes the turns.
pub(crate) enum Voice<'a> {
    /// The model of the configuration; if that replays a file, this one where one is given.
    Configured(Option<&'a Path>),
    /// Another one.
    Given(Arc<dyn Model>),
}

/// The agent and its tools, none of them loaded yet.
pub(crate) fn driver(
    config: Config,
    data: &DataDir,
    voice: Voice<'_>,
) -> Result<(Driver, Tools), CliError> {
    let sandbox = sandbox(data)?;
    let egress = egress(&config)?;
    let model = match voice {
        Voice::Configured(script) => model(&config, &egress, script)?,
        Voice::Given(model) => model,
    };
    let access = access(&config, &Lock::load(&config.lock)?)?;
    let rules = Arc::new(config.rules);
    let clock = Arc::new(SystemClock);
    let runner = Arc::new(sandbox.clone());
    let dispatcher = Dispatcher::new(runner, egress, clock.clone(), rules.clone(), access)
        .with_places(Places::new(config.calls));
    let tools = Tools {
        sandbox,
        rules,
        config: config.path,
        loaded: Mutex::default(),
    };
    let driver = Driver::new(dispatcher, model, clock).with_claims(config.claims);
    Ok((driver, tools))
}

/// What each tool is let do: what it may reach, and whether it may keep state.
fn access(config: &Config, lock: &Lock) -> Result<BTreeMap<String, Access>, CliError> {
    let mut all: BTreeMap<String, Access> = BTreeMap::new();
    for (tool, grants) in reach(config, lock)? {
        all.entry(tool).or_default().grants = grants.into();
    }
    for tool in lock.tools.iter().filter(|t| t.state) {
        all.entry(tool.name.clone()).or_default().state = true;
    }
    Ok(all)
}

/// What each tool may reach: the lock says where to, the configuration may say how.
pub(crate) fn reach(
    config: &Config,
    lock: &Lock,
) -> Result<BTreeMap<String, Vec<Grant>>, CliError> {
    lock::reach(lock, &config.grants).map_err(|e| {
        let message = format!("{}: {e}", config.lock.display());
        CliError::new(Reason::LockInvalid, message)
    })
}

/// A sandbox with its cache in the data directory.
pub(crate) fn sandbox(data: &DataDir) -> Result<Sandbox, CliError> {
    Sandbox::new(SandboxSettings {
        cache_dir: Some(data.cache()),
    })
    .map_err(|e| CliError::internal(e.to_string()))
}

/// The way out, with the secrets bound.
pub(crate) fn egress(config: &Config) -> Result<Egress, CliError> {
    let invalid = |e: String| {
        CliError::new(
            Reason::ConfigInvalid,
            format!("{}: {e}", config.path.display()),
        )
    };
    let mut secrets = Secrets::new();
    for (name, place) in &config.secrets {
        let value = place.read(name)?;
        secrets
            .bind(name, value)
            .map_err(|e| invalid(e.to_string()))?;
    }
    let settings = EgressSettings {
        secrets,
        ..EgressSettings::default()
    };
    Egress::new(settings).map_err(|e| invalid(e.to_string()))
}

/// The model of the configuration.
pub(crate) fn model(
    config: &Config,
    egress: &Egress,
    script: Option<&Path>,
) -> Result<Arc<dyn Model>, CliError> {
    let invalid = |e: stoplog_llm::ConfigError| {
        CliError::new(
            Reason::ConfigInvalid,
            format!("{}: {e}", config.path.display()),
        )
    };
    match &config.model {
        ModelConfig::Scripted { script: configured } => {
            let Some(path) = script.or(configured.as_deref()) else {
                let message = format!("{}: [model] names no script", config.path.display());
                return Err(CliError::new(Reason::ConfigInvalid, message));
            };
            Ok(Arc::new(Scripted::load(path).map_err(invalid)?))
        }
        ModelConfig::OpenAi {
            base_url,
            model,
            api_key_env,
            temperature_milli,
            max_tokens,
            input_usd_micros_per_million,
            output_usd_micros_per_million,
        } => {
            let key = match api_key_env {
                None => None,
                Some(variable) => Some(std::env::var(variable).map(ApiKey::new).map_err(|_| {
                    let message =
                        format!("the variable {variable} with the model's key is not set");
                    CliError::new(Reason::SecretMissing, message)
                })?),
            };
            let settings = OpenAiSettings {
                base_url: base_url.clone(),
                model: model.clone(),
                key,
                temperature_milli: *temperature_milli,
                max_tokens: *max_tokens,
                token_limit_field: TokenLimitField::MaxTokens,
                input_usd_micros_per_million: *input_usd_micros_per_million,
                output_usd_micros_per_million: *output_usd_micros_per_million,
                deadline: TURN_DEADLINE,
                backoff: Backoff::default(),
            };
            Ok(Arc::new(OpenAi::new(egress, settings).map_err(invalid)?))
        }
    }
}
