//! Wiring: the edges that everything below is handed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stoplog_agent::Driver;
use stoplog_dispatch::{Access, Dispatcher};
use stoplog_egress::{ApiKey, Egress, Secrets, Settings as EgressSettings};
use stoplog_journal::{Opening, SessionJournal, load};
use stoplog_llm::{
    Backoff, Model, OpenAi, OpenAiSettings, Scripted, TURN_DEADLINE, TokenLimitField,
};
use stoplog_model::event::Pin;
use stoplog_model::port::{Clock, Watch};
use stoplog_model::{Reason, SessionId, TraceId};
use stoplog_sandbox::{Sandbox, Settings as SandboxSettings};
use stoplog_store::{DataDir, SqliteStore};
use stoplog_telemetry::JsonlSink;

use crate::config::{Config, ModelConfig};
use crate::error::CliError;
use crate::lock;

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock: everybody else is handed it"
    )]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The rows of a data directory, for a command that only looks: no lock is taken, and nothing is
/// made or written, so that a look never keeps a host from starting.
pub(crate) fn look(data_dir: &Path) -> Result<Arc<SqliteStore>, CliError> {
    let file = data_dir.join("journal.db");
    if !file.exists() {
        let message = format!("there is no journal at {}", file.display());
        return Err(CliError::new(Reason::SessionNotFound, message));
    }
    Ok(Arc::new(SqliteStore::open_to_read(&file)?))
}

/// The name of this process in leases and locks.
pub(crate) fn holder() -> String {
    format!("stoplog (pid {})", std::process::id())
}

/// A new trace id: random, and in the order of time.
pub(crate) fn new_trace_id() -> Result<TraceId, CliError> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    TraceId::new(id).map_err(|e| CliError::internal(e.to_string()))
}

/// The journal of a data directory, open.
pub(crate) struct Journal {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) sink: Arc<JsonlSink>,
}

impl Journal {
    /// For a host: the directory's lock, or nothing.
    pub(crate) fn for_host(path: &Path) -> Result<Journal, CliError> {
        Journal::over(DataDir::for_host(path, &holder())?)
    }

    /// For a command that may work beside a host.
    pub(crate) fn beside_host(path: &Path) -> Result<Journal, CliError> {
        Journal::over(DataDir::beside_host(path, &holder())?)
    }

    fn over(data: DataDir) -> Result<Journal, CliError> {
        let store = Arc::new(SqliteStore::open(&data.journal())?);
        let spans = data.spans();
        let sink = JsonlSink::open(&spans).map_err(|e| {
            CliError::new(
                Reason::JournalUnwritable,
                format!("{}: {e}", spans.display()),
            )
        })?;
        Ok(Journal {
            data,
            store,
            sink: Arc::new(sink),
        })
    }

    /// What a session is opened with.
    pub(crate) fn opening(&self, watch: Arc<dyn Watch>) -> Opening {
        Opening {
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            watch,
            listeners: vec![self.sink.clone()],
            holder: holder(),
            holders_are_dead: self.data.is_locked(),
        }
    }

    /// Takes a session over, with its spans brought up to date.
    pub(crate) async fn open(
        &self,
        id: &SessionId,
        watch: Arc<dyn Watch>,
    ) -> Result<Arc<SessionJournal>, CliError> {
        let journal = SessionJournal::open(self.opening(watch), id).await?;
        if let Some((records, _)) = load(&*self.store, id).await? {
            self.sink.prime(&records).map_err(|e| {
                let spans = self.data.spans();
                CliError::new(
                    Reason::JournalUnwritable,
                    format!("{}: {e}", spans.display()),
                )
            })?;
        }
        Ok(Arc::new(journal))
    }
}

/// Gives a session back.
pub(crate) async fn close(journal: Arc<SessionJournal>) -> Result<(), CliError> {
    Ok(journal.close().await?)
}

/// The agent over these pinned tools, loaded and ready.
pub(crate) async fn driver(
    config: Config,
    data: &DataDir,
    pins: &[Pin],
    script: Option<&Path>,
) -> Result<Driver, CliError> {
    for pin in pins {
        let name = pin.contract.name.as_str();
        config
            .rules
            .check_fields(name, &pin.contract.input_schema)
            .map_err(|e| {
                CliError::new(
                    Reason::ConfigInvalid,
                    format!("{}: {e}", config.path.display()),
                )
            })?;
    }
    let sandbox = sandbox(data)?;
    load_tools(&sandbox, data, pins).await?;
    let egress = egress(&config)?;
    let model = model(&config, &egress, script)?;
    let access: BTreeMap<String, Access> = config
        .grants
        .iter()
        .map(|(tool, grants)| {
            (
                tool.clone(),
                Access {
                    grants: grants.clone().into(),
                },
            )
        })
        .collect();
    let clock = Arc::new(SystemClock);
    let dispatcher = Dispatcher::new(
        Arc::new(sandbox),
        egress,
        clock.clone(),
        config.rules,
        access,
    );
    Ok(Driver::new(dispatcher, model, clock))
}

/// A sandbox with its cache in the data directory.
pub(crate) fn sandbox(data: &DataDir) -> Result<Sandbox, CliError> {
    Sandbox::new(SandboxSettings {
        cache_dir: Some(data.cache()),
    })
    .map_err(|e| CliError::internal(e.to_string()))
}

async fn load_tools(sandbox: &Sandbox, data: &DataDir, pins: &[Pin]) -> Result<(), CliError> {
    for pin in pins {
        let name = pin.contract.name.as_str();
        let bytes = lock::component(data, name, &pin.component)?;
        let own = sandbox.clone();
        let loaded = tokio::task::spawn_blocking(move || own.load(&bytes))
            .await
            .map_err(|e| CliError::internal(e.to_string()))??;
        if loaded.class != pin.class {
            let message = format!("`{name}` is {}, and locked as {}", loaded.class, pin.class);
            return Err(CliError::new(Reason::ToolChanged, message));
        }
    }
    Ok(())
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
    for (name, variable) in &config.secrets {
        let value = std::env::var(variable).map_err(|_| {
            let message = format!("secret `{name}`: the variable {variable} is not set");
            CliError::new(Reason::SecretMissing, message)
        })?;
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
