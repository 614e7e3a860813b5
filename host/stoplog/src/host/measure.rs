//! The golden signals of this process: what is counted as it happens, and what is looked up when
//! somebody asks.
//!
//! Invariant: whoever asks costs the journal one query in [`LOOK_EVERY`] at most, and what `/ready` costs it,
//! however often they do.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoplog_admission::Load;
use stoplog_journal::{SessionRow, Which};
use stoplog_model::port::{Clock, Moment, Stage, Watch};
use stoplog_model::session::Status;
use stoplog_model::{Position, SessionId};
use stoplog_sandbox::limits::CONCURRENT_RUNS;
use stoplog_serve::{Condition, Refusal};
use stoplog_telemetry::{Saturation, Signals};
use tokio::time::Instant;

use super::edges::SystemClock;
use super::front::Front;
use crate::error::CliError;

/// Pause between two looks at the journal for what waits. Scrapers come every 15 seconds as a rule.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The signals of a process that begins.
pub(super) fn signals() -> Result<Arc<Signals>, CliError> {
    let signals = Signals::new(env!("CARGO_PKG_VERSION"), SystemClock.now_ms());
    Ok(Arc::new(
        signals.map_err(|e| CliError::internal(e.to_string()))?,
    ))
}

/// Times the commits of the journal's writer, and passes on what it is told.
pub(super) struct Timed {
    watch: Arc<dyn Watch>,
    signals: Arc<Signals>,
    /// When the commit that is under way began. There is one writer.
    began: Mutex<Option<Instant>>,
}

impl Timed {
    pub(super) fn new(watch: Arc<dyn Watch>, signals: Arc<Signals>) -> Timed {
        Timed {
            watch,
            signals,
            began: Mutex::default(),
        }
    }
}

impl Watch for Timed {
    fn reached(&self, stage: Stage, moment: Moment, position: Option<Position>) {
        if stage != Stage::TransactionCommitted {
            return self.watch.reached(stage, moment, position);
        }
        let began = || self.began.lock().unwrap_or_else(PoisonError::into_inner);
        match moment {
            Moment::Before => {
                self.watch.reached(stage, moment, position);
                *began() = Some(Instant::now());
            }
            // Before anybody is told, who may not return.
            Moment::After => {
                if let Some(began) = began().take() {
                    self.signals.committed_in(began.elapsed());
                }
                self.watch.reached(stage, moment, position);
            }
        }
    }
}

/// Sessions that are not over, as the journal lists them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unfinished {
    /// Active, and not at work here.
    runs_waiting: u32,
    /// So many wait for an approval, and when the first of them came to rest.
    approvals: (u32, Option<u64>),
    /// The same of parked ones.
    parked: (u32, Option<u64>),
}

impl Unfinished {
    fn of(rows: &[SessionRow], is_at_work: impl Fn(&str) -> bool) -> Unfinished {
        let mut all = Unfinished::default();
        let add = |to: &mut (u32, Option<u64>), row: &SessionRow| {
            to.0 += 1;
            let at_ms = row.updated_at_ms;
            to.1 = Some(to.1.map_or(at_ms, |first| first.min(at_ms)));
        };
        for row in rows {
            match row.head.status.as_str() {
                s if s == Status::WaitingApproval.as_str() => add(&mut all.approvals, row),
                s if s == Status::Parked.as_str() => add(&mut all.parked, row),
                s if s == Status::Active.as_str() && !is_at_work(&row.session) => {
                    all.runs_waiting += 1;
                }
                _ => {}
            }
        }
        all
    }
}

/// What was found last, and when.
#[derive(Debug, Default)]
pub(super) struct Looked(tokio::sync::Mutex<Option<(Instant, Unfinished)>>);

impl Front {
    /// Everything that is counted and measured, as text.
    pub(super) async fn metrics(&self, doors: &Load) -> Result<String, Refusal> {
        let unfinished = self.unfinished().await.map_err(super::front::refusal)?;
        let ready = self.ready().await;
        let calls = self.host.tools.places.load();
        let limit = self.host.tools.places_limit;
        let now_ms = SystemClock.now_ms();
        let age = |at_ms: Option<u64>| at_ms.map_or(0, |at| now_ms.saturating_sub(at));
        let (memory_bytes, open_files) = process();
        let now = Saturation {
            calls: calls.held,
            calls_limit: limit,
            calls_waiting: waiting(&calls),
            requests: doors.held,
            requests_waiting: waiting(doors),
            runs: self.host.at_work.len(),
            runs_limit: u32::try_from(self.plan.runs_at_work).unwrap_or(u32::MAX),
            runs_waiting: unfinished.runs_waiting,
            writer_waiting: self.host.journal.store.waiting(),
            instances: self.host.tools.sandbox.running(),
            instances_limit: CONCURRENT_RUNS,
            journal_bytes: journal_bytes(&self.host.journal.data.journal()),
            approvals: (unfinished.approvals.0, age(unfinished.approvals.1)),
            parked: (unfinished.parked.0, age(unfinished.parked.1)),
            ready: ready
                .iter()
                .map(|c: &Condition| (c.name, c.holds))
                .collect(),
            tokens_per_day: self.plan.metrics.tokens_per_day,
            run_cost_usd: self.plan.metrics.run_cost_usd,
            memory_bytes,
            open_files,
        };
        let text = self.host.journal.signals.text(&now);
        text.map_err(|e| Refusal::internal(e.to_string()))
    }

    async fn unfinished(&self) -> Result<Unfinished, CliError> {
        let mut known = self.looked.0.lock().await;
        if let Some((at, unfinished)) = &*known
            && at.elapsed() < LOOK_EVERY
        {
            return Ok(*unfinished);
        }
        let rows = self.host.store().sessions(Which::Unfinished).await?;
        let is_at_work = |id: &str| SessionId::new(id).is_ok_and(|id| self.host.is_at_work_on(&id));
        let unfinished = Unfinished::of(&rows, is_at_work);
        *known = Some((Instant::now(), unfinished));
        Ok(unfinished)
    }
}

/// Who is in line, by tenant.
fn waiting(load: &Load) -> Vec<(String, u32)> {
    let of = load.tenants.iter().filter(|(_, _, waiting)| *waiting > 0);
    of.map(|(tenant, _, waiting)| (tenant.to_string(), *waiting))
        .collect()
}

/// Bytes of the journal's file and of its log.
fn journal_bytes(file: &Path) -> u64 {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    size(file) + size(Path::new(&log))
}

/// Resident memory in bytes, and open files; 0 where the system does not say.
fn process() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    let files = fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64);
    (kib.unwrap_or(0) * 1024, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: &str, status: Status, updated_at_ms: u64) -> SessionRow {
        SessionRow {
            session: session.into(),
            head: stoplog_journal::Head {
                status: status.as_str().into(),
                ..Default::default()
            },
            last_seq: 1,
            chain: None,
            updated_at_ms,
            lease: None,
        }
    }

    #[test]
    fn what_waits_is_counted_by_what_it_waits_for_and_the_first_has_waited_longest() {
        let rows = [
            row("a", Status::WaitingApproval, 30),
            row("b", Status::WaitingApproval, 10),
            row("c", Status::Parked, 20),
            row("d", Status::Active, 5),
            row("e", Status::Active, 6),
            row("f", Status::Failed, 1),
        ];
        let found = Unfinished::of(&rows, |id| id == "d");
        let expected = Unfinished {
            runs_waiting: 1,
            approvals: (2, Some(10)),
            parked: (1, Some(20)),
        };
        assert_eq!(found, expected);
        assert_eq!(Unfinished::of(&[], |_| false), Unfinished::default());
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let (memory, files) = process();
        assert!(memory > 1_000_000 && files >= 3, "{memory} {files}");
    }
}
