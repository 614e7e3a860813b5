//! The `stoplog` command, with additions that the product must not have:
//!
//! * `STOPLOG_DIE_AT=POINT`: it kills itself with SIGKILL at a point.
//! * `STOPLOG_STOP_AT=POINT`: it stops itself there with SIGSTOP, until somebody sends SIGCONT.
//! * `STOPLOG_PRUNE=SESSIONS_BEFORE_MS,KEYS_BEFORE_MS,NOW_MS`: instead of the command, it prunes
//!   the journal in batches of two, as an operator would. Keys of class 4 stay for ever.
//!
//! A point is a stage, a moment and a count: `intent_durable:after:1` is the first time that it
//! gets there. Behind a slash may stand another point, from which on is counted:
//! `batch_appended:after:1/intent_durable:before:1` is the commit of the intent, however many
//! commits were joined or split before it.
//!
//! `STOPLOG_WATCH_DIR` names the data directory: only SQLite's VFS knows of `file_synced`, and it
//! watches a directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::Context;
use stoplog_journal::{Cipher, Retention, Upkeep};
use stoplog_model::Position;
use stoplog_model::port::{Moment, Stage, Unwatched, Watch};
use stoplog_store::{DataDir, SqliteStore};

/// What ends the count.
#[derive(Clone, Copy)]
enum Signal {
    Kill,
    Stop,
}

/// A point, and how often it was passed.
struct Point {
    stage: Stage,
    moment: Moment,
    nth: u32,
    seen: AtomicU32,
}

impl Point {
    fn parse(text: &str) -> anyhow::Result<Point> {
        let mut parts = text.split(':');
        let mut word = || parts.next().map(serde_json::Value::from);
        let stage = serde_json::from_value(word().context("no stage")?)?;
        let moment = serde_json::from_value(word().context("no moment")?)?;
        let nth = parts.next().context("no count")?.parse()?;
        Ok(Point {
            stage,
            moment,
            nth,
            seen: AtomicU32::new(0),
        })
    }

    /// Whether this is the time that counts.
    fn is_hit(&self, stage: Stage, moment: Moment) -> bool {
        (stage, moment) == (self.stage, self.moment)
            && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
    }
}

/// Sends this process a signal at a point.
struct Trap {
    signal: Signal,
    at: Point,
    behind: Option<Point>,
    armed: AtomicBool,
}

impl Trap {
    fn parse(signal: Signal, text: &str) -> anyhow::Result<Trap> {
        let (at, behind) = match text.split_once('/') {
            Some((at, behind)) => (at, Some(Point::parse(behind)?)),
            None => (text, None),
        };
        Ok(Trap {
            signal,
            at: Point::parse(at)?,
            armed: AtomicBool::new(behind.is_none()),
            behind,
        })
    }
}

impl Watch for Trap {
    fn reached(&self, stage: Stage, moment: Moment, _: Option<Position>) {
        if !self.armed.load(Ordering::SeqCst) {
            if self
                .behind
                .as_ref()
                .is_some_and(|b| b.is_hit(stage, moment))
            {
                self.armed.store(true, Ordering::SeqCst);
            }
        } else if self.at.is_hit(stage, moment) {
            send_self(self.signal);
        }
    }
}

#[expect(unsafe_code, reason = "there is no safe way to send oneself a signal")]
fn send_self(signal: Signal) {
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
    };
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    unsafe {
        libc::kill(libc::getpid(), number);
    }
    if let Signal::Kill = signal {
        loop {
            std::thread::park();
        }
    }
}

/// The trap of the environment, and the watcher of syncs that it needs.
fn watch() -> anyhow::Result<(Arc<dyn Watch>, Option<stoplog_vfs::SyncWatcher>)> {
    let (signal, text) = match (
        std::env::var("STOPLOG_DIE_AT"),
        std::env::var("STOPLOG_STOP_AT"),
    ) {
        (Ok(text), _) => (Signal::Kill, text),
        (_, Ok(text)) => (Signal::Stop, text),
        _ => return Ok((Arc::new(Unwatched), None)),
    };
    let trap: Arc<dyn Watch> = Arc::new(Trap::parse(signal, &text)?);
    let told = trap.clone();
    let on_sync = move |moment: stoplog_vfs::Moment, _: &std::path::Path| {
        let moment = match moment {
            stoplog_vfs::Moment::Before => Moment::Before,
            stoplog_vfs::Moment::After => Moment::After,
        };
        told.reached(Stage::FileSynced, moment, None);
    };
    let watcher = stoplog_vfs::on_sync(data_dir()?, Arc::new(on_sync))?;
    Ok((trap, Some(watcher)))
}

fn data_dir() -> anyhow::Result<PathBuf> {
    let dir = std::env::var_os("STOPLOG_WATCH_DIR").context("no STOPLOG_WATCH_DIR")?;
    Ok(PathBuf::from(dir))
}

fn prune(bounds: &str, watch: Arc<dyn Watch>) -> anyhow::Result<()> {
    let mut numbers = bounds.split(',').map(str::parse::<u64>);
    let mut next = || numbers.next().context("three numbers")?.context("a number");
    let sessions_before_ms = next()?;
    let keys = next()?;
    let retention = Retention {
        sessions_before_ms,
        keep_latest: 0,
        keys_before_ms: [keys, keys, keys, keys, 0],
        now_ms: next()?,
        batch: 2,
    };
    let data = DataDir::for_host(&data_dir()?, "the pruner")?;
    let store = SqliteStore::open_watched(&data.journal(), watch, Cipher::none())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    while !runtime.block_on(store.prune(&retention))?.is_nothing() {}
    Ok(())
}

fn main() -> ExitCode {
    // A typo here would be a test that kills nobody and passes.
    let Ok((watch, _syncs)) = watch() else {
        return ExitCode::from(99);
    };
    match std::env::var("STOPLOG_PRUNE") {
        Ok(bounds) => match prune(&bounds, watch) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        Err(_) => stoplog::main_with(std::env::args_os().collect(), watch),
    }
}
