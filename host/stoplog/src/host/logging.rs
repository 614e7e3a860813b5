//! The log of a host: lines of JSON, or of text for people, to standard error or to a file.
//!
//! Invariants: told of a commit, it folds a few numbers and hands lines to a thread; nobody waits for
//! who reads them. Where nobody does, lines are left out, and how many is told once somebody does.
//! A host that is killed leaves out the last lines at most; the run they belong to is told of by the
//! next one.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use stoplog_journal::OnCommit;
use stoplog_model::{Reason, Record, SessionId};
use stoplog_policy::readable::make_readable;
use stoplog_telemetry::log::{Level, Line, LogMaker};

use crate::config::{LogConfig, LogFormat};
use crate::error::CliError;
use crate::output;

/// Lines that may wait for who reads them: some megabytes.
const LINES_WAITING: usize = 8192;

/// What the thread gets.
enum Order {
    Write(Box<Line>),
    /// Tell when everything before is written.
    Flush(Sender<()>),
}

/// Told of commits. See the module.
pub(crate) struct RunLog {
    level: Level,
    /// Names of providers by profile.
    providers: BTreeMap<String, String>,
    makers: Mutex<HashMap<SessionId, LogMaker>>,
    orders: SyncSender<Order>,
    left_out: Arc<AtomicU64>,
}

impl RunLog {
    /// Opens it. None: nothing is to be logged.
    pub(crate) fn open(
        config: &LogConfig,
        providers: BTreeMap<String, String>,
    ) -> Result<Option<Arc<RunLog>>, CliError> {
        let Some(level) = config.level else {
            return Ok(None);
        };
        let sink = match &config.file {
            None => Sink::Stderr,
            Some(path) => Sink::File(opened(path)?),
        };
        let (orders, inbox) = sync_channel(LINES_WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let (format, missing) = (config.format, left_out.clone());
        let run = move || write(sink, format, &inbox, &missing);
        let thread = std::thread::Builder::new().name("stoplog-log".into());
        if let Err(error) = thread.spawn(run) {
            return Err(CliError::internal(format!(
                "no thread for the log: {error}"
            )));
        }
        Ok(Some(Arc::new(RunLog {
            level,
            providers,
            makers: Mutex::default(),
            orders,
            left_out,
        })))
    }

    /// A session that is gone on with: what its records say was told by others.
    pub(crate) fn take_over(&self, id: &SessionId, records: &[Record]) {
        if let Some(maker) = LogMaker::over(records) {
            self.makers().insert(id.clone(), maker);
        }
    }

    /// Writes what waits. False: not within this time.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let (told, written) = channel();
        self.orders.try_send(Order::Flush(told)).is_ok() && written.recv_timeout(within).is_ok()
    }

    fn makers(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, LogMaker>> {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, mut line: Line) {
        if line.level > self.level {
            return;
        }
        let tally = line.tally_mut();
        if let Some(provider) = self.providers.get(&tally.provider) {
            tally.provider.clone_from(provider);
        }
        if self.orders.try_send(Order::Write(Box::new(line))).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl OnCommit for RunLog {
    fn committed(&self, id: &SessionId, records: &[Record]) {
        let mut lines = Vec::new();
        {
            let mut makers = self.makers();
            for record in records {
                if let Some(begun) = LogMaker::begin(record) {
                    makers.insert(id.clone(), begun);
                    continue;
                }
                let Some(maker) = makers.get_mut(id) else {
                    break;
                };
                let was_running = maker.is_running();
                lines.extend(maker.push(record));
                // Who goes on with it brings its records.
                if was_running && !maker.is_running() {
                    makers.remove(id);
                }
            }
        }
        for line in lines {
            self.tell(line);
        }
    }
}

enum Sink {
    Stderr,
    File(File),
}

impl Sink {
    fn put(&mut self, text: &str) -> std::io::Result<()> {
        match self {
            Sink::Stderr => writeln!(std::io::stderr(), "{text}"),
            Sink::File(file) => file.write_all(format!("{text}\n").as_bytes()),
        }
    }
}

/// For its owner alone; what is in it stays.
fn opened(path: &Path) -> Result<File, CliError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|e| {
        let message = format!("[log] file {}: {e}", path.display());
        CliError::new(Reason::ConfigInvalid, message)
    })
}

/// Writes until nobody can log any more.
fn write(mut sink: Sink, format: LogFormat, inbox: &Receiver<Order>, left_out: &AtomicU64) {
    for order in inbox {
        let line = match order {
            Order::Write(line) => line,
            Order::Flush(told) => {
                let _ = told.send(());
                continue;
            }
        };
        let missing = left_out.swap(0, Ordering::Relaxed);
        // A log that cannot be written stops nothing; the journal has it all.
        if missing > 0 {
            let _ = sink.put(&told_missing(format, missing));
        }
        let _ = sink.put(&told(format, &line));
    }
}

fn told(format: LogFormat, line: &Line) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(line).unwrap_or_default(),
        LogFormat::Text => {
            let (time, level) = (output::time(line.timestamp_ms), word(line.level));
            make_readable(&format!("{time}  {level:<5}  {line}"))
        }
    }
}

fn told_missing(format: LogFormat, missing: u64) -> String {
    match format {
        LogFormat::Json => {
            json!({"level": "warn", "event": "log", "lines_left_out": missing}).to_string()
        }
        LogFormat::Text => format!("warn   {missing} line(s) were left out: nobody read them"),
    }
}

fn word(level: Level) -> String {
    match json!(level) {
        Value::String(word) => word,
        _ => String::new(),
    }
}
