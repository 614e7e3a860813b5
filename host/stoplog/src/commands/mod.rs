//! One file a command.

mod approvals;
pub(crate) mod ask;
mod cost;
mod doctor;
mod eval;
mod export;
pub(crate) mod front;
mod health;
mod incident;
mod key;
mod manual;
mod mcp;
mod parked;
mod prune;
mod resume_all;
mod run;
mod run_report;
mod serve;
mod sessions;
mod sql;
mod state;
mod tool;
mod trace;
pub(crate) mod traces;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stoplog_journal::Cipher;
use stoplog_model::port::Watch;
use stoplog_store::SqliteStore;
use tokio_util::sync::CancellationToken;

use crate::args::{self, Args, Command};
use crate::config::{Config, LogFormat, LogLevel};
use crate::error::{CliError, Exit};
use crate::host::{self, Journal};

/// What every command knows.
pub(crate) struct Context {
    config: PathBuf,
    data_dir: Option<PathBuf>,
    pub(crate) json: bool,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    /// Whether there is somebody to read the log where none is configured.
    logs: bool,
    /// Standard output belongs to a protocol: nothing else is printed to it.
    pub(crate) quiet_stdout: bool,
    pub(crate) watch: Arc<dyn Watch>,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// For a host that is part of another program: it prints nothing.
    pub(crate) fn embedded(
        config: PathBuf,
        watch: Arc<dyn Watch>,
        shutdown: CancellationToken,
    ) -> Context {
        Context {
            config,
            data_dir: None,
            json: true,
            log_level: None,
            log_format: None,
            logs: false,
            quiet_stdout: true,
            watch,
            shutdown,
        }
    }

    /// The configuration, with what the command line says otherwise.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        Ok(self.with_data_dir(Config::load(&self.config)?))
    }

    /// The same for a configuration from elsewhere.
    pub(crate) fn with_data_dir(&self, mut config: Config) -> Config {
        if let Some(data_dir) = &self.data_dir {
            config.data_dir = data_dir.clone();
        }
        let log = &mut config.log;
        if !self.logs && log.file.is_none() {
            log.level = None;
        }
        if let Some(level) = self.log_level {
            log.level = level.level();
        }
        log.format = self.log_format.unwrap_or(log.format);
        config
    }

    /// Where the configuration is, or would be.
    pub(crate) fn config_path(&self) -> &Path {
        &self.config
    }

    /// The keys that the configuration names.
    pub(crate) fn configured_keys(&self) -> Result<Cipher, CliError> {
        self.config()?.journal.cipher()
    }

    /// The keys that the journal of the data directory needs, for a command that may work beside a
    /// host. None where nothing is encrypted: a data directory can be named without a configuration.
    pub(crate) async fn keys(&self) -> Result<Cipher, CliError> {
        let file = self.data_dir()?.join("journal.db");
        let is_clear = !file.exists() || SqliteStore::open_to_read(&file)?.keys().await?.is_empty();
        match is_clear {
            true => Ok(Cipher::none()),
            false => self.configured_keys(),
        }
    }

    /// The rows of the data directory, for looking: see [`host::look`].
    pub(crate) async fn look(&self) -> Result<Arc<SqliteStore>, CliError> {
        host::look(&self.data_dir()?, || self.configured_keys()).await
    }

    /// The journal of the data directory, for writing beside a host that may be there.
    pub(crate) async fn beside_host(&self) -> Result<Journal, CliError> {
        let keys = self.keys().await?;
        Journal::beside_host(&self.data_dir()?, keys, self.watch.clone())
    }

    /// The data directory: the command line's, else the configuration's.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, CliError> {
        match &self.data_dir {
            Some(data_dir) => Ok(data_dir.clone()),
            None => Ok(self.config()?.data_dir),
        }
    }
}

/// Runs a command.
pub(crate) async fn run(
    args: Args,
    watch: Arc<dyn Watch>,
    shutdown: CancellationToken,
) -> Result<Exit, CliError> {
    let context = Context {
        config: args.config,
        data_dir: args.data_dir,
        json: args.json,
        log_level: args.log_level,
        log_format: args.log_format,
        logs: !matches!(args.command, Command::Tool(_)),
        quiet_stdout: matches!(args.command, Command::Mcp(args::Mcp { command: None, .. })),
        watch,
        shutdown,
    };
    match args.command {
        Command::Run(run) => run::run(&context, run).await,
        Command::Resume(resume) => match &resume.session {
            Some(id) => run::resume(&context, id, &resume).await,
            None => resume_all::run(&context, resume).await,
        },
        Command::Serve(serve) => serve::run(&context, serve).await,
        Command::Health(health) => health::run(&context, health).await,
        Command::Mcp(mcp) => mcp::run(&context, mcp).await,
        Command::Key(key) => key::run(&context, key),
        Command::Sessions(sessions) => sessions::run(&context, sessions).await,
        Command::Tool(tool) => tool::run(&context, tool).await,
        Command::Approvals(approvals) => approvals::run(&context, approvals).await,
        Command::Parked(parked) => parked::run(&context, parked).await,
        Command::Trace(trace) => trace::run(&context, trace).await,
        Command::Traces(traces) => traces::run(&context, traces).await,
        Command::Sql(sql) => sql::run(&context, sql).await,
        Command::Cost(cost) => cost::run(&context, cost).await,
        Command::Eval(eval) => eval::run(&context, eval).await,
        Command::Incident(incident) => incident::run(&context, incident).await,
        Command::State(state) => state::run(&context, state).await,
        Command::Verify(verify) => verify::run(&context, verify).await,
        Command::Export(export) => export::run(&context, export).await,
        Command::Prune(prune) => prune::run(&context, prune).await,
        Command::Doctor => doctor::run(&context).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::pages(&dir),
        Command::FarSide => tool::test::far_side().await,
        Command::DoomedHost => tool::test::doomed_host().await,
    }
}
