//! The bench: what all checks of a tool share, and one case left alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stoplog_dispatch::StateRecord;
use stoplog_model::event::{CallResult, Observed, Pin};
use stoplog_model::port::{Moment, Runner, Stage, Unwatched, Watch};
use stoplog_model::session::CallState;

use super::again::{FIRST, Looking};
use super::case::Case;
use super::far::{FarSide, Happened, Script, World};
use super::trap::Recorder;
use super::trial::{self, Trial, WithoutProbe};
use crate::error::CliError;

/// What all checks share.
pub(super) struct Bench {
    pub(super) runner: Arc<dyn Runner>,
    pub(super) far: FarSide,
    pub(super) pin: Pin,
    pub(super) component: PathBuf,
    pub(super) cache: PathBuf,
    /// Directories of hosts.
    pub(super) dir: tempfile::TempDir,
    pub(super) hosts: AtomicUsize,
    pub(super) kills: AtomicUsize,
    pub(super) every_point: bool,
    pub(super) only: Option<String>,
}

/// A case that was left alone, and what the far side saw of it.
pub(super) struct Quiet {
    pub(super) calls: Vec<CallState>,
    pub(super) happened: Happened,
    /// The world is still there: its far side can be asked.
    pub(super) world: World,
    pub(super) passed: Vec<(Stage, Moment)>,
}

impl Quiet {
    pub(super) fn first(&self) -> Result<&CallState, CliError> {
        let first = self.calls.first();
        first.ok_or_else(|| CliError::internal("the call was never made"))
    }

    pub(super) fn observed(&self) -> Option<&Observed> {
        self.calls.first()?.observed.as_ref()
    }

    /// The output of the call, if it ended with one.
    pub(super) fn output(&self) -> Option<&serde_json::Value> {
        match &self.observed()?.result {
            CallResult::Ok(output) => Some(output),
            CallResult::Err(_) => None,
        }
    }
}

impl Bench {
    /// Whether a check is asked for.
    pub(super) fn wants(&self, id: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| id.starts_with(only) || only.starts_with(&format!("{id}@")))
    }

    /// Whether any check of a case is asked for.
    pub(super) fn wants_case(&self, name: &str) -> bool {
        let of_case = |only: &str| only.split('/').next() == Some(name) || name.starts_with(only);
        self.only.as_deref().is_none_or(of_case)
    }

    /// A host of its own for a case.
    pub(super) fn trial(&self, case: &Case, world: &World, times: u32) -> Trial {
        let n = self.hosts.fetch_add(1, Ordering::Relaxed);
        Trial {
            dir: self.dir.path().join(format!("host-{n}")),
            component: self.component.clone(),
            cache: self.cache.clone(),
            pin: self.pin.clone(),
            input: case.input.clone(),
            times,
            far: world.address,
        }
    }

    /// Runs a case with nothing in its way.
    pub(super) async fn quiet(
        &self,
        case: &Case,
        script: Script,
        times: u32,
    ) -> Result<Quiet, CliError> {
        let recorder = Arc::new(Recorder::default());
        let world = self.far.open(script).await?;
        let trial = self.trial(case, &world, times);
        let calls = trial::run(&trial, self.runner.clone(), recorder.clone()).await?;
        Ok(Quiet {
            calls,
            happened: world.look().await?,
            world,
            passed: recorder.passed(),
        })
    }

    /// Runs a case whose doubts can only be cured by `undo`: the probe is not asked, and the far
    /// side keeps no keys and loses its first answer.
    pub(super) async fn undone(&self, case: &Case) -> Result<(CallState, Happened), CliError> {
        let script = Script {
            loses_answers: 1,
            ..case.without_keys()
        };
        let world = self.far.open(script).await?;
        let mut trial = self.trial(case, &world, 1);
        trial.pin.contract.keeps_keys = false;
        trial.pin.contract.settles_within_ms = trial.pin.contract.settles_within_ms.max(1);
        let runner = Arc::new(WithoutProbe(self.runner.clone()));
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        let calls = trial::run(&trial, runner, watch).await?;
        let call = calls.into_iter().next();
        let call = call.ok_or_else(|| CliError::internal("the call was never made"))?;
        Ok((call, world.close().await?))
    }

    /// The rights of a look at a far side.
    pub(super) fn looking(&self, world: &World) -> Result<Looking, CliError> {
        let contract = &self.pin.contract;
        Ok(Looking {
            state: StateRecord::empty(contract.name.as_str(), FIRST),
            egress: trial::egress(contract, world.address)?,
            grants: trial::grants(contract)?,
            secrets: contract.secrets.clone(),
            deadline: Duration::from_millis(contract.timeout_ms.into()),
        })
    }
}
