//! The sandbox: components by digest, and the runner of their exports.
//!
//! Invariants:
//! * A component runs only after it was loaded: inspected, compiled, linked with its class.
//! * Each run has a store of its own, which is dropped at its end.
//! * Nothing is compiled in a call.
//!
//! What may go wrong: more runs than there are places. They wait, at most as long as their own
//! timeout, and then meet a limit; nothing of them ran. The dispatcher lets no more in than that,
//! tenant by tenant; this line is for everybody else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use stoplog_model::contract::Described;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::port::{CallInfo, Gate, Job, Ran, RunError, Runner};
use stoplog_model::{Class, Digest, Reason};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::cache::{Cache, Origin};
use crate::engine::{self, Allocation};
use crate::host::Call;
use crate::loader::{self, Inspection, LoadError, PACKAGE, PACKAGE_VERSION};
use crate::run::{Exports, Left, Output, Run, Work};
use crate::slices::Slices;
use crate::{limits, linker};

/// What a sandbox is made of.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where compiled code is kept: a directory for the host's user alone, not within reach of
    /// tenants. `None` compiles in memory.
    pub cache_dir: Option<PathBuf>,
    /// Another such directory of the same user's, to be read from: what is there is checked in the same
    /// way, and kept in the first one. Not used if it is not there, or belongs to somebody else.
    pub also: Option<PathBuf>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime does not start on this machine.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The cache directory cannot be made.
    #[error("the directory for compiled code, {0}, cannot be used: {1}")]
    CacheDir(PathBuf, std::io::Error),
}

/// Loads and runs tools. Clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    allocation: Allocation,
    cache: Cache,
    linkers: [Linker<Call>; 5],
    loaded: RwLock<HashMap<Digest, Arc<Loaded>>>,
    places: Semaphore,
    slices: Slices,
}

struct Loaded {
    inspection: Inspection,
    origin: Origin,
    pre: InstancePre<Call>,
    exports: Exports,
}

impl Sandbox {
    /// Starts the engine.
    pub fn new(settings: Settings) -> Result<Sandbox, SandboxError> {
        let failed = |e: wasmtime::Error| SandboxError::Engine(format!("{e:#}"));
        let (engine, allocation) = engine::build().map_err(failed)?;
        let cache = Cache::open(settings.cache_dir.clone(), settings.also, &engine)
            .map_err(|e| SandboxError::CacheDir(settings.cache_dir.unwrap_or_default(), e))?;
        let of = |class| linker::of_class(&engine, class).map_err(failed);
        let linkers = [
            of(Class::Pure)?,
            of(Class::ReadOnly)?,
            of(Class::Reversible)?,
            of(Class::External)?,
            of(Class::Irreversible)?,
        ];
        Ok(Sandbox(Arc::new(Inner {
            engine,
            allocation,
            cache,
            linkers,
            loaded: RwLock::default(),
            places: Semaphore::new(limits::CONCURRENT_RUNS as usize),
            slices: Slices::of_this_machine(),
        })))
    }

    /// How instances get their memory on this machine.
    pub fn allocation(&self) -> Allocation {
        self.0.allocation
    }

    /// Instances that run now.
    pub fn running(&self) -> u32 {
        let free = self.0.places.available_permits();
        limits::CONCURRENT_RUNS.saturating_sub(u32::try_from(free).unwrap_or(u32::MAX))
    }

    /// Inspects a component, compiles it or takes it from the cache, links it with its class, and
    /// keeps it by its digest. Loading it again does nothing. No guest code is run.
    ///
    /// It blocks while it compiles: 0.2 s for a Rust tool, half a minute for a Python one.
    pub fn load(&self, bytes: &[u8]) -> Result<Inspection, LoadError> {
        self.loaded_from(bytes)
            .map(|loaded| loaded.inspection.clone())
    }

    /// Whether a component is loaded.
    pub fn is_loaded(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }

    /// Where the compiled code of a loaded component came from.
    pub fn origin(&self, digest: &Digest) -> Option<Origin> {
        self.find(digest).map(|loaded| loaded.origin)
    }

    /// Loads a component, and asks it twice what it is: in two fresh instances, with no rights at
    /// all, another clock and other random numbers. It must say the same.
    pub async fn describe(&self, bytes: &[u8]) -> Result<(Inspection, Described), LoadError> {
        let sandbox = self.clone();
        let owned = bytes.to_vec();
        let loaded = tokio::task::spawn_blocking(move || sandbox.loaded_from(&owned))
            .await
            .map_err(|e| LoadError::new(Reason::ToolNotComponent, format!("compiling: {e}")))??;
        let first = self.describe_once(&loaded, 0).await?;
        let second = self.describe_once(&loaded, 1).await?;
        if first != second {
            return Err(LoadError::new(
                Reason::ToolUnstable,
                "`describe` was asked twice and said two different things. Make it a constant: \
                 no clock, no random numbers, no state",
            ));
        }
        Ok((loaded.inspection.clone(), first))
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        let loaded = self.0.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(digest).cloned()
    }

    fn loaded_from(&self, bytes: &[u8]) -> Result<Arc<Loaded>, LoadError> {
        let inspection = loader::inspect(bytes)?;
        if let Some(loaded) = self.find(&inspection.digest) {
            return Ok(loaded);
        }
        let loaded = Arc::new(self.link(inspection, bytes)?);
        let mut all = self
            .0
            .loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(
            all.entry(loaded.inspection.digest.clone())
                .or_insert(loaded),
        ))
    }

    fn link(&self, inspection: Inspection, bytes: &[u8]) -> Result<Loaded, LoadError> {
        let engine = &self.0.engine;
        let compiled = self.0.cache.component(engine, &inspection.digest, bytes);
        let (component, origin) = compiled.map_err(|e| {
            let cause = e.root_cause();
            LoadError::new(
                Reason::ToolNotComponent,
                format!("the component does not compile: {cause}. Build it again"),
            )
        })?;
        self.compare(&inspection, &component)?;
        let linker = &self.0.linkers[usize::from(inspection.class.number())];
        let pre = linker.instantiate_pre(&component).map_err(|e| {
            LoadError::new(
                Reason::ToolImportRefused,
                format!("class {} does not link: {e:#}", inspection.class),
            )
        })?;
        let exports = exports(&component, inspection.class)?;
        Ok(Loaded {
            inspection,
            origin,
            pre,
            exports,
        })
    }

    /// Two readers, one result: what was refused or let through by name is what is linked.
    fn compare(&self, inspection: &Inspection, component: &Component) -> Result<(), LoadError> {
        let ty = component.component_type();
        let mut real: Vec<String> = ty
            .imports(&self.0.engine)
            .filter(|(_, import)| !matches!(import.ty, ComponentItem::Type(_)))
            .filter(|(_, import)| !matches!(import.ty, ComponentItem::Resource(_)))
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut read: Vec<String> = inspection.imports.iter().map(|i| i.name.clone()).collect();
        real.sort();
        read.sort();
        if real == read {
            return Ok(());
        }
        Err(LoadError::new(
            Reason::ToolNotComponent,
            format!(
                "the component's imports cannot be told for sure: {} or {}. Build it again",
                read.join(", "),
                real.join(", ")
            ),
        ))
    }

    async fn describe_once(&self, loaded: &Loaded, round: u8) -> Result<Described, LoadError> {
        let info = CallInfo {
            tenant: "none".to_owned(),
            session: "describe".to_owned(),
            call_id: "0".repeat(64),
            attempt: 1,
            started_at_ms: u64::from(round) * 86_400_000,
            scheduled_for_ms: None,
            deadline_ms: u64::from(round) * 86_400_000 + limits::DESCRIBE_TIMEOUT_MS,
        };
        let run = Run {
            pre: &loaded.pre,
            exports: &loaded.exports,
            work: Work::Describe,
            info,
            seed: [round; 32],
            timeout_ms: limits::DESCRIBE_TIMEOUT_MS,
            slices: self.0.slices.clone(),
        };
        let left = self.in_place(run, Arc::new(Closed)).await;
        match left.result {
            Ok(Output::Described(described)) => Ok(described),
            Ok(Output::Returned(_)) => Err(LoadError::new(
                Reason::ToolContractInvalid,
                "`describe` returned something else than a contract",
            )),
            Err(error) => {
                let reason = match &error {
                    RunError::NotLoaded(_) => Reason::ToolClassUnclear,
                    RunError::Trapped(_) => Reason::SandboxTrap,
                    RunError::Limit(_) => Reason::SandboxLimit,
                    RunError::Timeout(_) => Reason::SandboxTimeout,
                };
                let said = match left.log.trim() {
                    "" => String::new(),
                    log => format!(". It said: {}", log.lines().next_back().unwrap_or_default()),
                };
                Err(LoadError::new(
                    reason,
                    format!("`describe` failed: {error}{said}"),
                ))
            }
        }
    }

    /// Runs when there is a place.
    async fn in_place(&self, run: Run<'_>, gate: Arc<dyn Gate>) -> Left {
        let wait = Duration::from_millis(run.timeout_ms);
        match tokio::time::timeout(wait, self.0.places.acquire()).await {
            Ok(Ok(_place)) => run.go(gate).await,
            _ => nothing_ran(RunError::Limit(format!(
                "no free place within {} ms: {} runs at a time",
                run.timeout_ms,
                limits::CONCURRENT_RUNS
            ))),
        }
    }
}

fn nothing_ran(error: RunError) -> Left {
    Left {
        result: Err(error),
        log: String::new(),
        annotations: Vec::new(),
        spans: Vec::new(),
    }
}

/// Finds what the class owes, by name.
fn exports(component: &Component, class: Class) -> Result<Exports, LoadError> {
    let find = |interface: &str, function: &str| {
        let full = format!("{PACKAGE}/{interface}@{PACKAGE_VERSION}");
        let instance = component.get_export_index(None, full.as_str());
        instance
            .and_then(|i| component.get_export_index(Some(&i), function))
            .ok_or_else(|| {
                LoadError::new(
                    Reason::ToolClassUnclear,
                    format!("`{full}` has no function `{function}`: class {class} owes it"),
                )
            })
    };
    let owed = |owes: bool, function: &str| {
        if owes {
            find(class.interface(), function).map(Some)
        } else {
            Ok(None)
        }
    };
    Ok(Exports {
        describe: find("about", "describe")?,
        call: find(class.interface(), "call")?,
        undo: owed(class == Class::Reversible, "undo")?,
        probe: owed(class.writes(), "probe")?,
        preview: owed(class == Class::Irreversible, "preview")?,
        writes: class.writes(),
    })
}

#[async_trait]
impl Runner for Sandbox {
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran {
        let left = match self.find(&job.component) {
            None => nothing_ran(RunError::NotLoaded(format!(
                "component {} is not loaded: its file is missing or was refused at start",
                job.component.short()
            ))),
            // Policy may raise a class; the component stays what it is.
            Some(loaded) if loaded.inspection.class > job.class => {
                nothing_ran(RunError::NotLoaded(format!(
                    "component {} has class {}, and the call was let through as {}",
                    job.component.short(),
                    loaded.inspection.class,
                    job.class
                )))
            }
            Some(loaded) => {
                let run = Run {
                    pre: &loaded.pre,
                    exports: &loaded.exports,
                    work: Work::Entry(job.entry),
                    info: job.info,
                    seed: job.seed,
                    timeout_ms: job.timeout_ms,
                    slices: self.0.slices.clone(),
                };
                self.in_place(run, gate).await
            }
        };
        let result = left.result.and_then(|output| match output {
            Output::Returned(returned) => Ok(returned),
            Output::Described(_) => Err(RunError::Trapped(
                "it described itself when it was called".to_owned(),
            )),
        });
        Ran {
            result,
            log: left.log,
            annotations: left.annotations,
            spans: left.spans,
        }
    }
}

/// The gate of `describe`: nothing leaves.
struct Closed;

const NO_RIGHTS: &str = "`describe` runs with no rights at all";

#[async_trait]
impl Gate for Closed {
    fn key(&self, _: &str) -> String {
        String::new()
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Err(NO_RIGHTS.to_owned())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        Err(EffectError::denied(Reason::OriginNotGranted, NO_RIGHTS))
    }

    async fn fetch(&self, _: Request) -> Result<Response, EffectError> {
        Err(EffectError::denied(Reason::OriginNotGranted, NO_RIGHTS))
    }
}
