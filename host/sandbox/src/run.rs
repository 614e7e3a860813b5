//! One run of one export, in a fresh store, from instantiation to the last byte of its result.
//!
//! Invariants: the store never outlives the run, however it ends. A run ends by its timeout at
//! the latest: the epoch stops a guest that computes, the outer timeout one that waits in a host
//! function.
//!
//! Where it runs: on the caller's tokio runtime. A guest that computes gives its thread back at
//! every epoch tick (10 ms), so other tasks go on, also on one thread, and goes on when it is its
//! tenant's turn (`slices.rs`). A pool of threads for guests would need a size, and a guest that
//! waits for an answer would hold one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stoplog_model::contract::{Described, KeyRule};
use stoplog_model::key::{KeyScope, MAIN_LABEL};
use stoplog_model::outcome::{Aftermath, ErrorCode, Finding, ToolError};
use stoplog_model::port::{CallInfo, Entry, Gate, Returned, RunError};
use stoplog_model::{Tenant, ToolSpan};
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, Resource,
    ResourceTableError,
};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use crate::bindings::types;
use crate::calllog::CallLog;
use crate::host::{Call, LimitHit, Permit, UNDO_LABEL, cut};
use crate::limits;
use crate::slices::Slices;

/// Where the functions of a component are.
pub(crate) struct Exports {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) call: ComponentExportIndex,
    pub(crate) undo: Option<ComponentExportIndex>,
    pub(crate) probe: Option<ComponentExportIndex>,
    pub(crate) preview: Option<ComponentExportIndex>,
    /// Whether `call` takes a permit.
    pub(crate) writes: bool,
}

/// What to run.
pub(crate) enum Work {
    Describe,
    Entry(Entry),
}

/// What came of it.
pub(crate) enum Output {
    Described(Described),
    Returned(Returned),
}

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) pre: &'a InstancePre<Call>,
    pub(crate) exports: &'a Exports,
    pub(crate) work: Work,
    pub(crate) info: CallInfo,
    pub(crate) seed: [u8; 32],
    pub(crate) timeout_ms: u64,
    pub(crate) slices: Slices,
}

/// What a run left.
pub(crate) struct Left {
    pub(crate) result: Result<Output, RunError>,
    pub(crate) log: String,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) spans: Vec<ToolSpan>,
}

/// The guest computed longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
struct OutOfTime;

/// The component does not have the function that its class owes, or has another one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotOwed(String);

impl Run<'_> {
    pub(crate) async fn go(self, gate: Arc<dyn Gate>) -> Left {
        let Run {
            pre,
            exports,
            work,
            info,
            seed,
            timeout_ms,
            slices,
        } = self;
        let tenant = Tenant::new(info.tenant.as_str()).ok();
        let log = CallLog::default();
        let timeout = Duration::from_millis(timeout_ms);
        let mut store = Store::new(pre.engine(), Call::new(info, seed, gate, log.clone()));
        bound(&mut store, Instant::now() + timeout);

        let running = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let exports = Ready { exports, instance };
            match work {
                Work::Describe => exports.describe(&mut store).await.map(Output::Described),
                Work::Entry(entry) => exports.enter(&mut store, entry).await.map(Output::Returned),
            }
        };
        let running = slices.run(tenant, Box::pin(running));
        let ended = tokio::time::timeout(timeout + limits::TIMEOUT_GRACE, running).await;
        let call = store.into_data();
        let result = match ended {
            Ok(Ok(output)) if output.bytes() > limits::OUTPUT_BYTES => {
                Err(RunError::Limit(format!(
                    "output: {} bytes, at most {}",
                    output.bytes(),
                    limits::OUTPUT_BYTES
                )))
            }
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(run_error(&error, call.bounds.hit, timeout_ms)),
            Err(_) => Err(RunError::Timeout(timeout_ms)),
        };
        let (annotations, spans) = call.told.over();
        Left {
            result,
            log: log.text(),
            annotations,
            spans,
        }
    }
}

fn bound(store: &mut Store<Call>, deadline: Instant) {
    store.limiter(|call| &mut call.bounds);
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
    store.set_max_component_handles(limits::HANDLES);
    // Before instantiation: that runs guest code too, and a new store's deadline is now.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(OutOfTime.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
}

struct Ready<'a> {
    exports: &'a Exports,
    instance: Instance,
}

type Answer<T> = (Result<T, types::ToolError>,);

impl Ready<'_> {
    async fn call<P, R>(
        &self,
        store: &mut Store<Call>,
        (name, index): (&str, Option<&ComponentExportIndex>),
        params: P,
    ) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let not_owed = |why: &str| NotOwed(format!("the component's `{name}` {why}"));
        let index = index.ok_or_else(|| not_owed("is not there"))?;
        let function = self
            .instance
            .get_typed_func::<P, R>(&mut *store, index)
            .map_err(|_| not_owed("has not the type that the contract gives it"))?;
        function.call_async(store, params).await
    }

    async fn describe(&self, store: &mut Store<Call>) -> wasmtime::Result<Described> {
        self.check_types(store)?;
        let (contract,): (types::Contract,) = self
            .call(store, ("describe", Some(&self.exports.describe)), ())
            .await?;
        Ok(described(contract))
    }

    /// That every export has its type is found out when the tool is added, not in a call.
    fn check_types(&self, store: &mut Store<Call>) -> wasmtime::Result<()> {
        let check = |name: &str, fits: wasmtime::Result<()>| {
            fits.map_err(|_| {
                let why = "has not the type that the contract gives it";
                wasmtime::Error::from(NotOwed(format!("the component's `{name}` {why}")))
            })
        };
        let instance = &self.instance;
        macro_rules! fits {
            ($index:expr, $params:ty, $results:ty) => {
                instance
                    .get_typed_func::<$params, $results>(&mut *store, $index)
                    .map(|_| ())
            };
        }
        let call = &self.exports.call;
        if self.exports.writes {
            check(
                "call",
                fits!(call, (String, Resource<Permit>), Answer<String>),
            )?;
        } else {
            check("call", fits!(call, (String,), Answer<String>))?;
        }
        if let Some(undo) = &self.exports.undo {
            check(
                "undo",
                fits!(undo, (String, String, Resource<Permit>), Answer<String>),
            )?;
        }
        if let Some(probe) = &self.exports.probe {
            check(
                "probe",
                fits!(probe, (String, String), Answer<types::Finding>),
            )?;
        }
        if let Some(preview) = &self.exports.preview {
            check("preview", fits!(preview, (String,), Answer<String>))?;
        }
        Ok(())
    }

    async fn enter(&self, store: &mut Store<Call>, entry: Entry) -> wasmtime::Result<Returned> {
        let exports = self.exports;
        let call = ("call", Some(&exports.call));
        let (answer,): Answer<String> = match entry {
            Entry::Call { input } if exports.writes => {
                let permit = store.data_mut().permit(MAIN_LABEL)?;
                self.call(store, call, (input, permit)).await?
            }
            Entry::Call { input } => self.call(store, call, (input,)).await?,
            Entry::Undo { input, output } => {
                let permit = store.data_mut().permit(UNDO_LABEL)?;
                let undo = ("undo", exports.undo.as_ref());
                self.call(store, undo, (input, output, permit)).await?
            }
            Entry::Preview { input } => {
                self.call(store, ("preview", exports.preview.as_ref()), (input,))
                    .await?
            }
            Entry::Probe { input, key } => {
                let probe = ("probe", exports.probe.as_ref());
                let (found,): Answer<types::Finding> =
                    self.call(store, probe, (input, key)).await?;
                return Ok(match found {
                    Ok(found) => Returned::Finding(finding(found)),
                    Err(error) => Returned::Error(tool_error(error)),
                });
            }
        };
        Ok(match answer {
            Ok(text) => Returned::Text(text),
            Err(error) => Returned::Error(tool_error(error)),
        })
    }
}

impl Output {
    /// Bytes of text in it.
    fn bytes(&self) -> usize {
        match self {
            Output::Returned(Returned::Text(text)) => text.len(),
            Output::Returned(Returned::Finding(Finding::Once { output })) => output.len(),
            Output::Returned(Returned::Finding(_)) => 0,
            Output::Returned(Returned::Error(error)) => {
                error.message.len() + error.hint.as_ref().map_or(0, String::len)
            }
            Output::Described(d) => {
                let lists = d
                    .egress
                    .iter()
                    .chain(&d.secrets)
                    .map(String::len)
                    .sum::<usize>();
                let schemas = d.input_schema.len() + d.output_schema.len();
                let key = d.key.as_ref().map_or(0, |key| key.template.len());
                d.name.len() + d.version.len() + d.description.len() + schemas + key + lists
            }
        }
    }
}

/// Which kind of end this is, in a short sentence without paths or backtraces.
fn run_error(error: &wasmtime::Error, hit: Option<String>, timeout_ms: u64) -> RunError {
    let trap = error.downcast_ref::<Trap>();
    if error.is::<OutOfTime>() || trap == Some(&Trap::Interrupt) {
        return RunError::Timeout(timeout_ms);
    }
    if let Some(not_owed) = error.downcast_ref::<NotOwed>() {
        return RunError::NotLoaded(not_owed.0.clone());
    }
    if let Some(limit) = error.downcast_ref::<LimitHit>() {
        return RunError::Limit(limit.0.clone());
    }
    if let Some(hit) = hit {
        return RunError::Limit(hit);
    }
    if matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) {
        return RunError::Limit(format!("resources: at most {} at once", limits::RESOURCES));
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return RunError::Limit(format!("the pool is full: {full}"));
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return RunError::Trapped(format!("it ended itself with exit code {}", exit.0));
    }
    match trap {
        Some(Trap::StackOverflow) => {
            let kib = limits::WASM_STACK_BYTES >> 10;
            return RunError::Limit(format!("stack: at most {kib} KiB"));
        }
        Some(Trap::AllocationTooLarge) => {
            return RunError::Limit("memory: one allocation is too large".to_owned());
        }
        Some(trap) => {
            let said = trap.to_string();
            let cause = said.strip_prefix("wasm trap: ").unwrap_or(&said);
            return RunError::Trapped(cause.to_owned());
        }
        None => {}
    }
    let mut cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls") {
        let mib = limits::HOSTCALL_BYTES >> 20;
        return RunError::Limit(format!(
            "host call: at most {mib} MiB may be passed to the host"
        ));
    }
    if cause.contains("total size of fields exceeds limit") {
        let kib = limits::HEADER_BYTES >> 10;
        return RunError::Limit(format!("headers: at most {kib} KiB in one request"));
    }
    if cause.contains("store handle limit exceeded") {
        return RunError::Limit(format!("handles: at most {} at once", limits::HANDLES));
    }
    cause = cause.lines().next().unwrap_or_default().to_owned();
    cut(&mut cause, 300);
    RunError::Trapped(cause)
}

fn tool_error(error: types::ToolError) -> ToolError {
    ToolError {
        code: match error.code {
            types::ErrorCode::InvalidInput => ErrorCode::InvalidInput,
            types::ErrorCode::NotFound => ErrorCode::NotFound,
            types::ErrorCode::Permission => ErrorCode::Permission,
            types::ErrorCode::Precondition => ErrorCode::Precondition,
            types::ErrorCode::Conflict => ErrorCode::Conflict,
            types::ErrorCode::RateLimited => ErrorCode::RateLimited,
            types::ErrorCode::Transient => ErrorCode::Transient,
            types::ErrorCode::Upstream => ErrorCode::Upstream,
            types::ErrorCode::Internal => ErrorCode::Internal,
        },
        reason: None,
        message: error.message,
        hint: error.hint,
        retry_after_ms: error.retry_after_ms,
        aftermath: match error.aftermath {
            types::Aftermath::Untouched => Aftermath::Untouched,
            types::Aftermath::Changed => Aftermath::Changed,
            types::Aftermath::Unknown => Aftermath::Unknown,
        },
    }
}

fn finding(found: types::Finding) -> Finding {
    match found {
        types::Finding::Absent => Finding::Absent,
        types::Finding::Once(output) => Finding::Once { output },
        types::Finding::Several(times) => Finding::Several { times },
        types::Finding::Unknown => Finding::Unknown {
            why: "the tool's probe found no usable answer".to_owned(),
        },
    }
}

fn described(contract: types::Contract) -> Described {
    Described {
        name: contract.name,
        version: contract.version,
        description: contract.description,
        input_schema: contract.input_schema,
        output_schema: contract.output_schema,
        key: contract.key.map(|key| KeyRule {
            template: key.template,
            scope: match key.scope {
                types::KeyScope::Session => KeyScope::Session,
                types::KeyScope::Tenant => KeyScope::Tenant,
            },
        }),
        keeps_keys: contract.keeps_keys,
        settles_within_ms: contract.settles_within_ms,
        timeout_ms: contract.timeout_ms,
        egress: contract.egress,
        secrets: contract.secrets,
    }
}
