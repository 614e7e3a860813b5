//! Wiring: from a checked configuration to the driver, and the tools that sessions have pinned.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stoplog_admission::Places;
use stoplog_agent::Driver;
use stoplog_dispatch::{Access, Dispatcher};
use stoplog_egress::{ApiKey, Egress, Grant, Secrets, Settings as EgressSettings};
use stoplog_llm::{Chain, Fallback, Model, Remote, RemoteSettings, Scripted};
use stoplog_model::event::Pin;
use stoplog_model::{Class, Digest, Reason};
use stoplog_policy::ApprovalRules;
use stoplog_sandbox::{Sandbox, Settings as SandboxSettings};
use stoplog_store::DataDir;
use tokio::sync::Mutex;

use super::edges::SystemClock;
use crate::config::{Config, ModelConfig, ProfileConfig};
use crate::error::CliError;
use crate::lock::{self, Lock};

/// Components that sessions have pinned, each loaded once for all of them.
pub(crate) struct Tools {
    pub(super) sandbox: Sandbox,
    /// The places of calls.
    pub(super) places: Places,
    /// How many there are.
    pub(super) places_limit: u32,
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
    let places_limit = config.calls.places.get();
    let places = Places::new(config.calls);
    let dispatcher = Dispatcher::new(runner, egress, clock.clone(), rules.clone(), access)
        .with_places(places.clone());
    let tools = Tools {
        sandbox,
        places,
        places_limit,
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

/// Where this user's compiled code is kept, so that the commands of an author compile a component once:
/// one in Python takes half a minute.
pub(crate) fn users_cache() -> Option<PathBuf> {
    let of_user = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(of_user.join("stoplog/compiled"))
}

/// A sandbox for the commands of authors. A cache that cannot be had costs time, nothing else.
pub(crate) fn authors_sandbox() -> Result<Sandbox, CliError> {
    let kept = SandboxSettings {
        cache_dir: users_cache(),
        also: None,
    };
    Sandbox::new(kept)
        .or_else(|_| Sandbox::new(SandboxSettings::default()))
        .map_err(|e| CliError::internal(e.to_string()))
}

/// A sandbox with its cache in the data directory, for a tool that is added: it takes over what the
/// commands of its author have compiled.
pub(crate) fn adding_sandbox(data: &DataDir) -> Result<Sandbox, CliError> {
    Sandbox::new(SandboxSettings {
        cache_dir: Some(data.cache()),
        also: users_cache(),
    })
    .map_err(|e| CliError::internal(e.to_string()))
}

/// A sandbox with its cache in the data directory.
fn sandbox(data: &DataDir) -> Result<Sandbox, CliError> {
    Sandbox::new(SandboxSettings {
        cache_dir: Some(data.cache()),
        also: None,
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
        ModelConfig::Chain(chain) => {
            let first = remote(egress, &chain.first).map_err(|e| e.told(config))?;
            let mut model = Chain::new(first, chain.backoff, chain.budget, chain.trimming);
            for fallback in &chain.fallbacks {
                model = model.with_fallback(Fallback {
                    name: fallback.name.clone(),
                    remote: remote(egress, &fallback.profile).map_err(|e| e.told(config))?,
                    system_prompt: fallback.system_prompt.clone(),
                    armed: fallback.armed,
                    on: fallback.on.clone(),
                    after_write: fallback.after_write,
                });
            }
            Ok(Arc::new(model))
        }
    }
}

/// Why a profile cannot be asked.
enum NoRemote {
    Key(CliError),
    Settings(stoplog_llm::ConfigError),
}

impl NoRemote {
    fn told(self, config: &Config) -> CliError {
        match self {
            NoRemote::Key(error) => error,
            NoRemote::Settings(error) => {
                let message = format!("{}: {error}", config.path.display());
                CliError::new(Reason::ConfigInvalid, message)
            }
        }
    }
}

/// A provider, with its key read.
fn remote(egress: &Egress, profile: &ProfileConfig) -> Result<Remote, NoRemote> {
    let key = match &profile.key {
        None => None,
        Some(place) => {
            let name = format!("key of {}", profile.model);
            Some(ApiKey::new(place.read(&name).map_err(NoRemote::Key)?))
        }
    };
    if key.as_ref().is_some_and(ApiKey::is_empty) {
        let message = format!("the key of {} is empty", profile.model);
        return Err(NoRemote::Key(CliError::new(Reason::SecretMissing, message)));
    }
    let settings = RemoteSettings {
        kind: profile.kind,
        base_url: profile.base_url.clone(),
        model: profile.model.clone(),
        key,
        temperature_milli: profile.temperature_milli,
        max_tokens: profile.max_tokens,
        token_limit_field: profile.token_limit_field,
        stream: profile.stream,
        context_window_tokens: profile.context_window_tokens,
        price: Some(profile.priced.clone()),
        patience: profile.patience,
    };
    Remote::new(egress, settings).map_err(NoRemote::Settings)
}
