//! Measures of what is already written: resuming, recovering, folding.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{StreamExt, TryStreamExt};
use stoplog_journal::{SessionJournal, Store};
use stoplog_model::event::{Event, RunEnded};
use stoplog_model::{Record, SessionId};

use crate::calls;
use crate::floor::open_plainly;
use crate::host::Host;
use crate::report::{Goal, Measure};
use crate::rounds::{Spread, compare};
use crate::tools::Kind;
use crate::{Bench, rows};

/// Events of the long session of the resume.
const LONG_EVENTS: usize = 10_000;

/// Events of the short one.
const SHORT_EVENTS: usize = 10;

/// Sessions that had not ended when the host died.
const OPEN: usize = 1_000;

/// Calls of each of those.
const OPEN_CALLS: u32 = 4;

/// Events in one append while sessions are made.
const APPEND: usize = 500;

/// Sessions that are made at once.
const AT_ONCE: usize = 256;

/// Real events to make sessions of: one turn with a read, taken from a run.
struct Pattern {
    run_started: Event,
    turn: Vec<Event>,
    last_turn: Event,
    run_ended: RunEnded,
}

impl Pattern {
    async fn recorded(bench: &Bench) -> anyhow::Result<Pattern> {
        let (host, _) = calls::host(bench, "pattern", false)?;
        host.round(Kind::Read, 1, 1).await?;
        let id = SessionId::new("s-0000000")?;
        let records: Vec<Record> = rows::records(&**host.store(), &id).await?;
        let events: Vec<Event> = records.into_iter().map(|r| r.event).collect();
        let is_turn = |e: &&Event| matches!(e, Event::TurnTaken(_));
        let turns: Vec<usize> = (0..events.len())
            .filter(|i| is_turn(&&events[*i]))
            .collect();
        anyhow::ensure!(turns.len() == 2, "{} turns were recorded", turns.len());
        let run_ended = events.iter().find_map(|e| match e {
            Event::RunEnded(ended) => Some(ended.clone()),
            _ => None,
        });
        Ok(Pattern {
            run_started: events[1].clone(),
            turn: events[turns[0]..turns[1]].to_vec(),
            last_turn: events[turns[1]].clone(),
            run_ended: run_ended.ok_or_else(|| anyhow::anyhow!("the run has no end"))?,
        })
    }

    /// Everything behind the beginning of a session with so many calls.
    fn events(&self, calls: u32, is_closed: bool) -> Vec<Event> {
        let mut events = vec![self.run_started.clone()];
        for iteration in 1..=calls {
            events.extend(self.turn.iter().map(|e| moved(e, iteration)));
        }
        if is_closed {
            events.push(moved(&self.last_turn, calls + 1));
            events.push(Event::RunEnded(self.run_ended.clone()));
        }
        events
    }

    /// Writes a session.
    async fn write(&self, host: &Host, name: &str, events: Vec<Event>) -> anyhow::Result<()> {
        let journal = host.begin(name, &[Kind::Read]).await?;
        for some in events.chunks(APPEND) {
            journal.append(some.to_vec()).await?;
        }
        journal.close().await?;
        Ok(())
    }
}

/// The same event in another iteration.
fn moved(event: &Event, to: u32) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::TurnTaken(turn) => turn.iteration = to,
        Event::CallStarted(e) => e.position.iteration = to,
        Event::Observed(e) => e.position.iteration = to,
        _ => {}
    }
    event
}

async fn resume_once(host: &Host, name: &str) -> anyhow::Result<f64> {
    let id = SessionId::new(name)?;
    let began = Instant::now();
    let journal = SessionJournal::open(host.opening(), &id).await?;
    host.start_run(&journal).await?;
    journal.close().await?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// Taking a session over: opening, the run's beginning, giving it back.
pub(crate) async fn resume(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    const EACH: usize = 3;
    let pattern = Pattern::recorded(bench).await?;
    let (host, _) = calls::host(bench, "resume", false)?;
    let mut long = pattern.events(LONG_EVENTS.div_ceil(pattern.turn.len()) as u32, false);
    long.truncate(LONG_EVENTS - 1);
    pattern.write(&host, "long", long).await?;
    let mut short = pattern.events(SHORT_EVENTS as u32, false);
    short.truncate(SHORT_EVENTS - 1);
    // A resume makes a session longer: the long one does not feel it, the short ones are new.
    let of_short = || async {
        let mut times = Vec::new();
        for _ in 0..EACH {
            let name = host.fresh("short");
            pattern.write(&host, &name, short.clone()).await?;
            times.push(resume_once(&host, &name).await?);
        }
        Ok(Spread::of(&times).median)
    };
    let of_long = || async {
        let mut times = Vec::new();
        for _ in 0..EACH {
            times.push(resume_once(&host, "long").await?);
        }
        Ok(Spread::of(&times).median)
    };
    let compared = compare(bench.time, of_long, of_short).await?;
    let name = format!("resume of {LONG_EVENTS} events");
    let note = format!("the floor is the resume of a session of {SHORT_EVENTS} events");
    Ok(vec![
        Measure::beside(name, "us", compared, Goal::AtMost(2.0)).noted(note),
    ])
}

/// A journal with open sessions among closed ones, kept for the next run of the benchmark.
async fn crowded(bench: &Bench) -> anyhow::Result<PathBuf> {
    let probe = bench.fresh_file("schema");
    drop(rows::on_disk(&probe)?);
    let schema: String = open_plainly(&probe)?.query_row(
        "SELECT group_concat(sql) FROM sqlite_master ORDER BY name",
        [],
        |r| r.get(0),
    )?;
    let digest = stoplog_model::Digest::of(schema.as_bytes());
    let closed = bench.closed;
    let file = bench
        .data
        .join(format!("crowd-{closed}-{OPEN}-{}.db", digest.short()));
    if file.exists() {
        return Ok(file);
    }
    let making = file.with_extension("making");
    for suffix in ["making", "making-wal", "making-shm"] {
        let _ = std::fs::remove_file(file.with_extension(suffix));
    }
    let pattern = Pattern::recorded(bench).await?;
    let host = Arc::new(Host::new(&bench.parts, rows::on_disk(&making)?, None)?);
    let total = closed + OPEN;
    futures::stream::iter(0..total)
        .map(|n| {
            let (host, pattern) = (&host, &pattern);
            async move {
                // Open ones stand all over the file, as they would.
                let is_open = (n * OPEN) % total < OPEN;
                let calls = if is_open { OPEN_CALLS } else { 1 };
                let name = format!("crowd-{n:07}");
                let events = pattern.events(calls, !is_open);
                pattern.write(host, &name, events).await
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    drop(host);
    // A task of a lease may hold the store a moment longer: the log is folded into the file here.
    let busy: i64 =
        open_plainly(&making)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    anyhow::ensure!(busy == 0, "the journal that was made is still in use");
    std::fs::rename(&making, &file)?;
    Ok(file)
}

/// Reads the rows of some sessions, whole and in order, and decodes nothing.
fn read_plainly(file: &Path, ids: &[String]) -> anyhow::Result<u64> {
    let connection = open_plainly(file)?;
    let mut statement = connection.prepare(
        "SELECT e.* FROM sessions s JOIN events e ON e.session = s.id
         WHERE s.session_id = ?1 ORDER BY e.seq",
    )?;
    let columns = statement.column_count();
    let mut events = 0;
    for id in ids {
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            for i in 0..columns {
                let value: rusqlite::types::Value = row.get(i)?;
                std::hint::black_box(value);
            }
            events += 1;
        }
    }
    Ok(events)
}

/// Finding and folding what had not ended.
pub(crate) async fn recovery(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let file = crowded(bench).await?;
    let began = Instant::now();
    let store = rows::on_disk(&file)?;
    let opened_ms = began.elapsed().as_secs_f64() * 1e3;
    let connection = open_plainly(&file)?;
    let ids: Vec<String> = connection
        .prepare("SELECT session_id FROM sessions WHERE status <> 'ended' ORDER BY session_id")?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    anyhow::ensure!(ids.len() == OPEN, "{} sessions are open", ids.len());
    let expected = read_plainly(&file, &ids)?;
    let product = || async {
        let began = Instant::now();
        let (sessions, events) = rows::recover(&*store).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(
            (sessions, events) == (OPEN, expected),
            "{sessions}, {events}"
        );
        Ok(took)
    };
    let floor = || async {
        let began = Instant::now();
        let events = read_plainly(&file, &ids)?;
        anyhow::ensure!(events == expected);
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    let compared = compare(bench.time, product, floor).await?;
    let host = Host::new(&bench.parts, store.clone(), None)?;
    let began = Instant::now();
    let taken = rows::take_over_all(&host.opening()).await?;
    anyhow::ensure!(taken == OPEN, "{taken} were taken over");
    let taken_ms = began.elapsed().as_secs_f64() * 1e3;
    let bytes = std::fs::metadata(&file)?.len() >> 20;
    let name = format!("recovery of {OPEN} open among {} closed", bench.closed);
    Ok(vec![
        Measure::beside(name, "ms", compared, Goal::AtMost(3.0)).noted(format!(
            "listing them and folding each, {expected} events; the floor knows which they are, and \
             only reads their rows"
        )),
        Measure::alone(
            "the same, each leased and given back",
            "ms",
            taken_ms,
            Goal::Stated,
        ),
        Measure::alone("opening that journal", "ms", opened_ms, Goal::Stated)
            .noted(format!("{bytes} MiB, with the look over every page")),
    ])
}

/// Rows to a session, beside the decoding of their bodies.
pub(crate) async fn fold(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let pattern = Pattern::recorded(bench).await?;
    let (host, _) = calls::host(bench, "fold", false)?;
    let mut measures = Vec::new();
    for (name, calls, goal) in [
        ("fold of sessions of 20 calls", 20, Goal::AtMost(2.0)),
        (
            "fold of a session of 10,000 events",
            3_333,
            Goal::AtMost(2.0),
        ),
    ] {
        let session = host.fresh("fold");
        pattern
            .write(&host, &session, pattern.events(calls, true))
            .await?;
        let store: &dyn Store = &**host.store();
        let id = SessionId::new(session)?;
        let reading = rows::reading(store, &id).await?;
        let rows_of = &reading.rows;
        let times = (20_000 / rows_of.len()).max(1);
        let product = || async {
            let began = Instant::now();
            for _ in 0..times {
                std::hint::black_box(rows::fold(&id, &reading)?);
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / (times * rows_of.len()) as f64)
        };
        let floor = || async {
            let began = Instant::now();
            for _ in 0..times {
                for row in rows_of {
                    let event: Event = serde_json::from_str(rows::body(row))?;
                    std::hint::black_box(event);
                }
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / (times * rows_of.len()) as f64)
        };
        let compared = compare(bench.time, product, floor).await?;
        measures.push(Measure::beside(name, "us/event", compared, goal));
    }
    Ok(measures)
}
