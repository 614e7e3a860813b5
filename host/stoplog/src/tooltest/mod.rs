//! `tool test`: the author's cases, and on top of each what no author has to write.
//!
//! ```text
//! case --> left alone: output, schema, effects, key -------> run again on its record
//!            |                                                 asked for twice
//!            | what it passed                                  probe, preview, undo, a lost answer
//!            v
//!         points --> a host that dies there (a process) --> a host that goes on --> compared
//!                              \________ far side (a process, counts) ________/
//! ```
//!
//! Invariants:
//! * what is tested is the component, with the host's own dispatcher, driver, journal, gate and
//!   egress; only the address of the far side is another one;
//! * nothing leaves the machine;
//! * the far side's counts survive every kill, because it is a process of its own;
//! * a check that was not made is not told as passed.

mod again;
mod bench;
mod case;
mod checks;
mod doomed;
mod far;
mod points;
mod report;
mod trap;
mod trial;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;
use stoplog_model::contract::Contract;
use stoplog_model::event::Pin;
use stoplog_model::{Class, Reason};
use stoplog_sandbox::limits::COMPONENT_BYTES;
use stoplog_sandbox::{Sandbox, Settings};

use crate::bounded;
use crate::error::CliError;
use bench::{Bench, Quiet};
use case::Case;
use far::FarSide;
use report::{Check, Section};

pub(crate) use doomed::main as doomed_host;
pub(crate) use far::serve as far_side;
pub(crate) use report::Report;

/// What is to be tested.
pub(crate) struct Options {
    /// The component.
    pub(crate) component: PathBuf,
    /// The folder with the cases.
    pub(crate) cases: PathBuf,
    /// Compiled code is kept here; none: for this test alone.
    pub(crate) cache: Option<PathBuf>,
    /// Only checks whose id begins so.
    pub(crate) only: Option<String>,
    /// Kill every case at every point.
    pub(crate) every_point: bool,
    /// The command as it was typed, without `--only`.
    pub(crate) command: String,
    /// The command that accepts the tool; the class that is to be accepted is put behind it.
    pub(crate) add: String,
}

/// Runs all checks of a tool.
pub(crate) async fn run(options: Options) -> Result<Report, CliError> {
    let began = Instant::now();
    let failed = |e: std::io::Error| CliError::internal(format!("a folder for the hosts: {e}"));
    let dir = tempfile::tempdir().map_err(failed)?;
    let cache = options.cache.unwrap_or_else(|| dir.path().join("compiled"));
    let sandbox = Sandbox::new(Settings {
        cache_dir: Some(cache.clone()),
        also: None,
    })
    .map_err(|e| CliError::internal(e.to_string()))?;
    let bytes = bounded::read(&options.component, COMPONENT_BYTES as u64).map_err(|e| {
        let message = format!("{}: {e}", options.component.display());
        CliError::new(Reason::ToolMissing, message)
    })?;
    let (inspection, described) = sandbox.describe(&bytes).await?;
    let contract = Contract::check(described, inspection.class)
        .map_err(|e| CliError::new(e.reason, e.to_string()))?;
    let cases = case::load(&options.cases, &contract)?;
    let bench = Bench {
        runner: Arc::new(sandbox),
        far: FarSide::start()?,
        pin: Pin {
            component: inspection.digest.clone(),
            class: inspection.class,
            contract: trial::hurried(contract.clone()),
        },
        component: std::path::absolute(&options.component).map_err(failed)?,
        cache: std::path::absolute(&cache).map_err(failed)?,
        dir,
        hosts: AtomicUsize::new(0),
        kills: AtomicUsize::new(0),
        every_point: options.every_point,
        only: options.only.clone(),
    };
    let sections = sections(&bench, &contract, &cases).await?;
    if sections.iter().all(|s| s.checks.is_empty()) {
        let names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
        let only = options.only.unwrap_or_default();
        let message = format!(
            "no check is called `{only}`; the cases are {}",
            names.join(", ")
        );
        return Err(CliError::new(Reason::CaseInvalid, message));
    }
    Ok(Report {
        tool: contract.name.to_string(),
        version: contract.version.clone(),
        class: inspection.class,
        sections,
        kills: bench.kills.load(Ordering::Relaxed),
        took: began.elapsed(),
        command: options.command,
        next: match inspection.class {
            Class::External | Class::Irreversible => {
                format!("{} --accept-class {}", options.add, inspection.class)
            }
            _ => options.add,
        },
    })
}

async fn sections(
    bench: &Bench,
    contract: &Contract,
    cases: &[Case],
) -> Result<Vec<Section>, CliError> {
    let mut sections = Vec::new();
    let mut outputs: Vec<Value> = Vec::new();
    let mut ways = Vec::new();
    let over_all = bench.wants(checks::DECLARED);
    for case in cases {
        if !over_all && !bench.wants_case(&case.name) {
            continue;
        }
        let quiet = bench.quiet(case, case.script.clone(), 1).await?;
        outputs.extend(quiet.output().cloned());
        // The first case of each way through the stages is killed everywhere.
        let way = points::all(&quiet.passed);
        let is_new = !ways.contains(&way);
        ways.push(way);
        let mut checks = checks_of(bench, case, quiet, is_new).await?;
        checks.retain(|c| bench.wants(&c.id));
        if !checks.is_empty() {
            sections.push(Section {
                name: case.name.clone(),
                about: case.about.clone(),
                checks,
            });
        }
    }
    let has_failed = sections
        .iter()
        .flat_map(|s| &s.checks)
        .any(|c| c.failure.is_some());
    // Behind a failure there may be no output to look at, and that is told already.
    if over_all && !(outputs.is_empty() && has_failed) {
        sections.push(Section {
            name: checks::DECLARED.into(),
            about: "over all cases".into(),
            checks: checks::declared(contract, &outputs),
        });
    }
    Ok(sections)
}

/// The checks of a case that are asked for. What is left alone is looked at in any case: everything
/// is compared with it.
async fn checks_of(
    bench: &Bench,
    case: &Case,
    quiet: Quiet,
    everywhere: bool,
) -> Result<Vec<Check>, CliError> {
    let class = bench.pin.class;
    let wants = |name: &str| bench.wants(&format!("{}/{name}", case.name));
    let mut made = checks::outcome(bench, case, &quiet)?;
    // With half of its answers, or another end than its author expects, the call is not the one
    // that is meant: what a crash does to it says nothing.
    let is_meant = made
        .iter()
        .all(|c| c.failure.is_none() || !c.is_about_the_case());
    let has_answers = quiet.happened.without_line().is_empty();
    if has_answers && wants("same-again") {
        made.extend(checks::record(bench, case, &quiet).await?);
    }
    if is_meant && class.writes() && wants("twice") {
        made.push(checks::twice(bench, case, &quiet).await?);
    }
    if is_meant && class.writes() && wants("probe") {
        made.extend(checks::probe(bench, case, &quiet).await?);
    }
    if has_answers && class == Class::Irreversible && wants("preview") {
        made.extend(checks::preview(bench, case).await?);
    }
    if is_meant && class == Class::Reversible && wants("undo") {
        made.extend(checks::undo(bench, case, &quiet).await?);
    }
    let ended = is_meant && quiet.observed().is_some();
    if ended && !quiet.happened.effects.is_empty() && wants("lost-answer") {
        made.push(checks::lost_answer(bench, case, &quiet).await?);
    }
    if ended && !quiet.happened.effects.is_empty() && wants("killed-under-way") {
        made.push(checks::under_way(bench, case, &quiet).await?);
    }
    if ended && wants("killed") {
        made.extend(checks::killed(bench, case, &quiet, everywhere).await?);
    }
    quiet.world.close().await?;
    Ok(made)
}
