//! The trace store beside a journal: followed by a running host, caught up with by whoever looks.
//!
//! Who writes: every process may, and a step of one is refused when another was first. A host has a
//! thread that follows its journal; a command that only looks goes on to the end of the journal
//! before it answers, also beside a host. So what it shows is not older than its start.
//!
//! Invariants: no call waits for the thread, and none fails with it: told of a commit, it is only
//! woken. A trace store that is damaged is deleted by who has the data directory to itself, and made
//! again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stoplog_journal::{OnCommit, SessionRow};
use stoplog_model::port::Clock;
use stoplog_model::{Reason, Record, SessionId};
use stoplog_store::{DataDir, SqliteStore, TraceDb, data_dir};
use stoplog_telemetry::otlp::Exporter;
use stoplog_telemetry::{Bounds, Jsonl, ProjectError, Projector, Rotation, TraceError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::edges::{SystemClock, holder};
use super::exporting::{Collecting, Exporting};
use crate::error::CliError;
use crate::output;

/// How long the thread waits behind a commit for others to join its step.
const LINGER: Duration = Duration::from_millis(100);
/// How often it looks without being told: commands write to the journal too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause behind an error, until which nothing of it can have changed.
const PAUSE: Duration = Duration::from_secs(5);

impl From<TraceError> for CliError {
    fn from(error: TraceError) -> CliError {
        let reason = match error {
            TraceError::Newer { .. } => Reason::TracesNewer,
            TraceError::Unusable(_) | TraceError::Damaged(_) => Reason::TracesUnusable,
        };
        CliError::new(reason, error.to_string())
    }
}

impl From<ProjectError> for CliError {
    fn from(error: ProjectError) -> CliError {
        match error {
            ProjectError::Journal(error) => error.into(),
            ProjectError::Traces(error) => error.into(),
        }
    }
}

/// Told of commits; wakes the thread, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Nudge(Notify);

impl OnCommit for Nudge {
    fn committed(&self, _: &SessionId, _: &[Record]) {
        self.0.notify_one();
    }
}

/// Where spans go beside the trace store.
pub(crate) struct Sinks {
    /// The file of lines, and when it is put aside.
    pub(crate) file: Option<(PathBuf, Rotation)>,
    /// The collector.
    pub(crate) collector: Option<Collecting>,
}

/// The threads of a host.
pub(crate) struct Projection {
    orders: mpsc::UnboundedSender<oneshot::Sender<Result<(), String>>>,
    exporting: Option<Exporting>,
}

impl Projection {
    /// Begins to follow. None, with a word to people, when the trace store cannot be used: the calls
    /// go on without it.
    pub(crate) fn begin(
        data: &DataDir,
        journal: Arc<SqliteStore>,
        nudge: Arc<Nudge>,
        sinks: Sinks,
    ) -> Option<Projection> {
        let traces = match open(&data.traces(), data.is_locked()) {
            Ok(traces) => Arc::new(traces),
            Err(error) => {
                tell(&error.to_string());
                return None;
            }
        };
        let file = sinks
            .file
            .map(|(path, rotation)| Jsonl::new(traces.clone(), &path, rotation));
        let projector = Projector::new(journal, traces.clone(), Bounds::default());
        let (orders, inbox) = mpsc::unbounded_channel();
        let (hand_over, exporter) = oneshot::channel();
        let exporting = match &sinks.collector {
            Some(_) => Exporting::begin(exporter),
            None => None,
        };
        let follower = Follower {
            projector,
            file,
            nudge,
            last_error: String::new(),
        };
        let run = move || {
            // A runtime of its own: the host's may be gone before the last step is over.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    if let Some(collector) = sinks.collector {
                        let (wire, encoding) = collector.parts();
                        match Exporter::begin(traces, wire, encoding).await {
                            Ok(exporter) => drop(hand_over.send(exporter)),
                            Err(error) => tell(&error.to_string()),
                        }
                    }
                    follower.follow(inbox).await;
                }),
                Err(error) => tell(&error.to_string()),
            }
        };
        let thread = std::thread::Builder::new().name("stoplog-traces".into());
        match thread.spawn(run) {
            Ok(_) => Some(Projection { orders, exporting }),
            Err(error) => {
                tell(&error.to_string());
                None
            }
        }
    }

    /// Goes on to the end of the journal, lets go of it, and ends; the file of spans is on the disk,
    /// and the collector has what it took. An error says what is left to the next host.
    pub(crate) async fn end(self, until: Instant) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        // The thread lives until its orders end.
        let _ = self.orders.send(reply);
        let caught_up = match timeout_at(until, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the thread ended early".into()),
            Err(_) => Err("not in time; the next host goes on with them".into()),
        };
        if let Some(exporting) = self.exporting {
            exporting.end(until).await;
        }
        caught_up
    }
}

fn tell(why: &str) {
    output::note(format!(
        "no traces are kept: {why}\n  the calls go on; `stoplog traces rebuild` says more"
    ));
}

/// What the thread has.
struct Follower {
    projector: Projector,
    file: Option<Jsonl>,
    nudge: Arc<Nudge>,
    last_error: String,
}

impl Follower {
    /// Follows the journal until it is told to end, or nobody can tell it any more.
    async fn follow(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), String>>>,
    ) {
        let mut looked_after = false;
        loop {
            let stepped = self.projector.step().await;
            let is_end = !matches!(&stepped, Ok(step) if !step.is_end);
            if !is_end {
                if inbox.is_closed() && inbox.is_empty() {
                    return;
                }
                continue;
            }
            // Runs that other hosts left open: once is enough, since this one has the directory.
            if stepped.is_ok() && !looked_after {
                looked_after = self.projector.look_after(is_ours).await.is_ok();
            }
            let told = match stepped {
                Ok(_) => self.write_lines().await,
                Err(error) => Err(error.to_string()),
            };
            let pause = self.pause(&told);
            let order = tokio::select! {
                order = inbox.recv() => Some(order),
                () = self.nudge.0.notified(), if told.is_ok() => None,
                () = tokio::time::sleep(pause) => None,
            };
            match order {
                None => tokio::time::sleep(LINGER).await,
                Some(None) => return,
                Some(Some(reply)) => {
                    let ended = self.end().await;
                    let _ = reply.send(ended);
                    return;
                }
            }
        }
    }

    /// Writes what ended to the file of spans, if there is one.
    async fn write_lines(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = file.catch_up(SystemClock.now_ms()).await;
        written.map(|_| ()).map_err(|e| e.to_string())
    }

    /// How long to wait for something new; trouble is told once.
    fn pause(&mut self, told: &Result<(), String>) -> Duration {
        match told {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                if *error != self.last_error {
                    tell(error);
                    self.last_error.clone_from(error);
                }
                PAUSE
            }
        }
    }

    /// Everything that is committed, and lets the journal go.
    async fn end(mut self) -> Result<(), String> {
        let caught_up = self.projector.catch_up().await;
        caught_up.map_err(|e| e.to_string())?;
        self.write_lines().await?;
        match &self.file {
            Some(file) => file.sync().await.map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }
}

/// Whether this process has the session.
fn is_ours(listed: &SessionRow) -> bool {
    let now_ms = SystemClock.now_ms();
    let lease = listed.lease.as_ref();
    lease.is_some_and(|l| l.holder == holder() && l.expires_at_ms > now_ms)
}

/// Opens the trace store; one that is damaged is deleted and begun anew by who is alone.
fn open(path: &Path, is_alone: bool) -> Result<TraceDb, TraceError> {
    match TraceDb::open(path) {
        Err(TraceError::Damaged(why)) if is_alone => {
            output::note(format!(
                "{why}: the trace store is made anew from the journal"
            ));
            TraceDb::discard(path)?;
            TraceDb::open(path)
        }
        other => other,
    }
}

/// The trace store of a data directory, at the end of its journal, for a command that looks.
pub(crate) async fn traces(
    data_dir: &Path,
    journal: Arc<SqliteStore>,
) -> Result<Arc<TraceDb>, CliError> {
    let (traces, mut projector) = following(data_dir, journal)?;
    match projector.catch_up().await.map_err(CliError::from) {
        Ok(_) => look_after(&mut projector, data_dir).await?,
        // Nothing in the trace store is encrypted: what a host has put there is told.
        Err(error) if error.reason == Some(Reason::JournalEncrypted) => output::note(format!(
            "without what the trace store has not yet: {}",
            error.message
        )),
        Err(error) => return Err(error),
    }
    Ok(traces)
}

/// The trace store of a data directory, and who brings it to the end of a journal.
pub(crate) fn following(
    data_dir: &Path,
    journal: Arc<SqliteStore>,
) -> Result<(Arc<TraceDb>, Projector), CliError> {
    // Held for a moment: nobody else may have a damaged file open while it is deleted.
    let data = DataDir::beside_host(data_dir, &holder())?;
    let traces = Arc::new(open(&data.traces(), data.is_locked())?);
    let projector = Projector::new(journal, traces.clone(), Bounds::default());
    Ok((traces, projector))
}

/// Shows runs whose host is dead as what they are. A host that dies keeps its leases for a while,
/// and its lock not for a moment.
pub(crate) async fn look_after(projector: &mut Projector, data_dir: &Path) -> Result<(), CliError> {
    let has_host = data_dir::is_held(data_dir);
    let now_ms = SystemClock.now_ms();
    let lives = |listed: &SessionRow| {
        let lease = listed.lease.as_ref();
        has_host && lease.is_some_and(|l| l.expires_at_ms > now_ms)
    };
    Ok(projector.look_after(lives).await?)
}
