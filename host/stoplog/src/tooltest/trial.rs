//! One host for one case: the real dispatcher, driver, journal and way out, in a directory of its
//! own, with a model that asks for the call and then stops.
//!
//! Only two things are not as in a real host: every request goes to the case's far side, and a
//! settling time is cut short, because the far side of a case settles at once.
//!
//! Invariant: [`run`] goes on with whatever is in the directory. So it is the first host, and the
//! one after the kill.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stoplog_agent::{Driver, RunSpec};
use stoplog_dispatch::{Access, Dispatcher};
use stoplog_egress::{Egress, Grant, Secrets};
use stoplog_journal::{Cipher, Opening, SessionJournal, Store, Which};
use stoplog_llm::{Model, ModelError, TurnRequest};
use stoplog_model::event::{ApprovalDecided, Event, Pin, SessionStarted, Verdict};
use stoplog_model::outcome::Finding;
use stoplog_model::port::{Clock, Entry, Gate, Job, Ran, Returned, Runner, Watch};
use stoplog_model::session::{CallState, Status};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{ApprovalId, Call, Contract, Position, Reason, SessionId, Tenant, UsdMicros};
use stoplog_policy::ApprovalRules;
use stoplog_store::{DataDir, SqliteStore};

use crate::error::CliError;
use crate::host::{SystemClock, holder, new_trace_id};

/// The settling time of a far side that settles at once, milliseconds: long enough that waiting for
/// it is tried.
const SETTLES_WITHIN_MS: u32 = 20;

/// Who approves in a test, in the journal.
const APPROVER: &str = "tool test";

/// A call is run again so often at most, with each run bounded by its own time.
const RUNS: u32 = 6;

/// What a host needs to know. It crosses to the process that is killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trial {
    /// The data directory.
    pub(super) dir: PathBuf,
    /// The component's file.
    pub(super) component: PathBuf,
    /// Compiled code.
    pub(super) cache: PathBuf,
    pub(super) pin: Pin,
    pub(super) input: Value,
    /// So many turns ask for the call.
    pub(super) times: u32,
    pub(super) far: SocketAddr,
}

/// The names that every trial has: keys and seeds are derived from them.
pub(super) fn names() -> Result<(Tenant, SessionId), CliError> {
    let internal = |e: stoplog_model::id::IdError| CliError::internal(e.to_string());
    Ok((
        Tenant::new("test").map_err(internal)?,
        SessionId::new("case").map_err(internal)?,
    ))
}

/// The contract as trials have it.
pub(super) fn hurried(mut contract: Contract) -> Contract {
    contract.settles_within_ms = contract.settles_within_ms.min(SETTLES_WITHIN_MS);
    contract
}

/// What a tool may reach: all that it asks for, which is at the far side of the case.
pub(super) fn grants(contract: &Contract) -> Result<Vec<Grant>, CliError> {
    let wishes = contract.egress.iter();
    wishes
        .map(|wish| match Grant::parse(wish) {
            Ok(grant) => Ok(grant.with_private()),
            Err(e) => Err(CliError::new(Reason::ToolContractInvalid, e.to_string())),
        })
        .collect()
}

/// The way to the far side, with a value for every secret that the tool names.
pub(super) fn egress(contract: &Contract, far: SocketAddr) -> Result<Egress, CliError> {
    let invalid =
        |e: stoplog_egress::EgressError| CliError::new(Reason::ToolContractInvalid, e.to_string());
    let mut secrets = Secrets::new();
    for name in &contract.secrets {
        let value = format!("value-of-{name}-in-tests");
        secrets.bind(name, value).map_err(invalid)?;
    }
    Egress::detour(secrets, far).map_err(invalid)
}

/// Takes the case as far as it gets, approving what waits for approval. Gives back its calls.
pub(super) async fn run(
    trial: &Trial,
    runner: Arc<dyn Runner>,
    watch: Arc<dyn Watch>,
) -> Result<Vec<CallState>, CliError> {
    let limit = Duration::from_millis(u64::from(trial.pin.contract.timeout_ms))
        .saturating_mul(RUNS)
        .saturating_add(Duration::from_secs(30));
    match tokio::time::timeout(limit, run_unbounded(trial, runner, watch)).await {
        Ok(calls) => calls,
        Err(_) => Err(CliError::internal(format!(
            "the call did not end within {} s",
            limit.as_secs()
        ))),
    }
}

async fn run_unbounded(
    trial: &Trial,
    runner: Arc<dyn Runner>,
    watch: Arc<dyn Watch>,
) -> Result<Vec<CallState>, CliError> {
    let data = DataDir::for_host(&trial.dir, &holder())?;
    let store = Arc::new(SqliteStore::open_watched(
        &data.journal(),
        watch.clone(),
        Cipher::none(),
    )?);
    let (tenant, id) = names()?;
    let is_new = store.sessions(Which::One(&id)).await?.is_empty();
    let opening = Opening {
        store,
        clock: Arc::new(SystemClock),
        watch,
        listeners: Vec::new(),
        holder: holder(),
        holders_are_dead: true,
    };
    let session = Arc::new(match is_new {
        true => SessionJournal::create(opening, started(trial, tenant, id)).await?,
        false => SessionJournal::open(opening, &id).await?,
    });
    let driver = driver(trial, runner)?;
    for _ in 0..trial.times + 2 {
        if session.read(|s| s.status()) == Status::Ended {
            break;
        }
        let spec = RunSpec {
            trace_id: new_trace_id()?,
            host: holder(),
            remote: None,
        };
        let Some(approval) = driver.run(&session, spec).await?.approval else {
            break;
        };
        approve(&session, approval).await?;
    }
    let calls = session.read(|s| s.calls().map(|(_, call)| call.clone()).collect());
    session.close().await?;
    Ok(calls)
}

fn started(trial: &Trial, tenant: Tenant, session: SessionId) -> SessionStarted {
    SessionStarted {
        session,
        tenant,
        user: APPROVER.into(),
        feature: "tool-test".into(),
        task: "test a tool".into(),
        system_prompt: String::new(),
        max_iterations: trial.times + 2,
        tools: vec![Arc::new(trial.pin.clone())],
        client: None,
    }
}

fn driver(trial: &Trial, runner: Arc<dyn Runner>) -> Result<Driver, CliError> {
    let contract = &trial.pin.contract;
    let name = contract.name.to_string();
    let grants = grants(contract)?.into();
    // All that it asks for: a component that does not import the state cannot ask for it.
    let access = Access {
        grants,
        state: true,
    };
    let access = BTreeMap::from([(name.clone(), access)]);
    let egress = egress(contract, trial.far)?;
    let clock = Arc::new(SystemClock);
    let rules = ApprovalRules::none();
    let dispatcher = Dispatcher::new(runner, egress, clock.clone(), rules, access);
    let model = Caller {
        tool: name,
        input: trial.input.clone(),
        times: trial.times,
    };
    Ok(Driver::new(dispatcher, Arc::new(model), clock))
}

async fn approve(session: &SessionJournal, id: ApprovalId) -> Result<(), CliError> {
    let position = session.read(|s| {
        let asked = |c: &CallState| c.approval.as_ref().is_some_and(|a| a.approval.id == id);
        s.calls()
            .find(|(_, c)| asked(c))
            .map(|(position, _)| position)
    });
    let position: Position = position.ok_or_else(|| CliError::internal("an approval is gone"))?;
    let decided = ApprovalDecided {
        id,
        position,
        verdict: Verdict::Approved,
        by: APPROVER.into(),
        note: String::new(),
    };
    let event = Event::ApprovalDecided(decided);
    Ok(session.append(vec![event]).await?)
}

/// Asks for the call in each of so many turns, then stops.
struct Caller {
    tool: String,
    input: Value,
    times: u32,
}

#[async_trait]
impl Model for Caller {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let asks = request.iteration <= self.times;
        let call = Call {
            ordinal: 0,
            tool: self.tool.clone(),
            arguments: self.input.clone(),
            provider_id: None,
        };
        Ok(Turn {
            iteration: request.iteration,
            text: String::new(),
            calls: if asks { vec![call] } else { Vec::new() },
            finish: FinishReason::Stop,
            finish_raw: "stop".into(),
            model_id: self.model_id().into(),
            model_version: "1".into(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: 0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: 0,
            price_version: String::new(),
            cost: UsdMicros(0),
            started_at_ms: clock.now_ms(),
            latency_ms: 0,
            failed_attempts: Vec::new(),
        })
    }

    fn model_id(&self) -> &str {
        "tool-test"
    }
}

/// A runner whose probes cannot be asked: so that a doubt about a call of class 2 is cured by its
/// `undo`.
pub(super) struct WithoutProbe(pub(super) Arc<dyn Runner>);

#[async_trait]
impl Runner for WithoutProbe {
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran {
        if !matches!(job.entry, Entry::Probe { .. }) {
            return self.0.run(job, gate).await;
        }
        let why = "this test does without the probe".to_owned();
        Ran {
            result: Ok(Returned::Finding(Finding::Unknown { why })),
            log: String::new(),
            annotations: Vec::new(),
            spans: Vec::new(),
        }
    }
}
