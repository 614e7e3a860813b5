//! The trace store beside a journal: followed by a running host, caught up with by whoever looks.
//!
//! Who writes: every process may, and a step of one is refused when another was first. A host has a
//! thread that follows its journal; a command that only looks goes on to the end of the journal
//! before it answers, also beside a host. So what it shows is not older than its start.
//!
//! Invariants: no call waits for the thread, and none fails with it: told of a commit, it is only
//! woken. A trace store that is damaged is deleted by who has the data directory to itself, and made
//! again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stoplog_journal::{OnCommit, SessionRow};
use stoplog_model::port::Clock;
use stoplog_model::{Reason, Record, SessionId};
use stoplog_store::{DataDir, SqliteStore, TraceDb, data_dir};
use stoplog_telemetry::{Bounds, ProjectError, Projector, TraceError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::edges::{SystemClock, holder};
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

/// The thread of a host.
pub(crate) struct Projection {
    orders: mpsc::UnboundedSender<oneshot::Sender<Result<(), String>>>,
}

impl Projection {
    /// Begins to follow. None, with a word to people, when the trace store cannot be used: the calls
    /// go on without it.
    pub(crate) fn begin(
        data: &DataDir,
        journal: Arc<SqliteStore>,
        nudge: Arc<Nudge>,
    ) -> Option<Projection> {
        let traces = match open(&data.traces(), data.is_locked()) {
            Ok(traces) => Arc::new(traces),
            Err(error) => {
                tell(&error.to_string());
                return None;
            }
        };
        let projector = Projector::new(journal, traces, Bounds::default());
        let (orders, inbox) = mpsc::unbounded_channel();
        let run = move || {
            // A runtime of its own: the host's may be gone before the last step is over.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(follow(projector, inbox, nudge)),
                Err(error) => tell(&error.to_string()),
            }
        };
        let thread = std::thread::Builder::new().name("stoplog-traces".into());
        match thread.spawn(run) {
            Ok(_) => Some(Projection { orders }),
            Err(error) => {
                tell(&error.to_string());
                None
            }
        }
    }

    /// Goes on to the end of the journal, lets go of it, and ends. An error says why not.
    pub(crate) async fn end(self, until: Instant) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        // The thread lives until its orders end.
        let _ = self.orders.send(reply);
        match timeout_at(until, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the thread ended early".into()),
            Err(_) => Err("not in time; the next host goes on with them".into()),
        }
    }
}

fn tell(why: &str) {
    output::note(format!(
        "no traces are kept: {why}\n  the calls go on; `stoplog traces rebuild` says more"
    ));
}

/// Follows the journal until it is told to end, or nobody can tell it any more.
async fn follow(
    mut projector: Projector,
    mut inbox: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), String>>>,
    nudge: Arc<Nudge>,
) {
    let mut looked_after = false;
    let mut last_error = String::new();
    loop {
        let stepped = projector.step().await;
        if let Ok(step) = &stepped
            && !step.is_end
        {
            if inbox.is_closed() && inbox.is_empty() {
                return;
            }
            continue;
        }
        // Runs that other hosts left open: once is enough, since this one has the directory.
        if stepped.is_ok() && !looked_after {
            looked_after = projector.look_after(is_ours).await.is_ok();
        }
        let told = stepped.map(|_| ()).map_err(|e| e.to_string());
        let pause = match &told {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                if *error != last_error {
                    tell(error);
                    last_error.clone_from(error);
                }
                PAUSE
            }
        };
        let order = tokio::select! {
            order = inbox.recv() => Some(order),
            () = nudge.0.notified(), if told.is_ok() => None,
            () = tokio::time::sleep(pause) => None,
        };
        match order {
            None => tokio::time::sleep(LINGER).await,
            Some(None) => return,
            Some(Some(reply)) => {
                let caught_up = projector.catch_up().await;
                drop(projector);
                let _ = reply.send(caught_up.map(|_| ()).map_err(|e| e.to_string()));
                return;
            }
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

/// The trace store of a data directory, at the end of the journal, for a command that looks.
pub(crate) async fn traces(data_dir: &Path) -> Result<Arc<TraceDb>, CliError> {
    let journal = super::look(data_dir)?;
    let (traces, mut projector) = following(data_dir, journal)?;
    projector.catch_up().await?;
    look_after(&mut projector, data_dir).await?;
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
