//! Measures of calls: commits, one session, many sessions, bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stoplog_journal::OnCommit;
use stoplog_model::{Record, SessionId};

use crate::floor::{Floor, Guest, Template};
use crate::host::Host;
use crate::report::{Goal, Measure, short};
use crate::rounds::compare;
use crate::tools::Kind;
use crate::{Bench, machine, rows, wal};

/// Calls of a recording, and of a session whose commits are counted. Twenty turns are the
/// default limit of a session.
const CALLS: u32 = 20;

/// Calls of a serial round.
const SERIAL_CALLS: u32 = 60;

/// Calls in flight of a busy round, all sessions together; but each session makes ten at least.
const BUSY_CALLS: u32 = 1280;

/// Sessions at once when bytes are counted.
const BYTES_SESSIONS: usize = 64;

#[derive(Default)]
struct Appends(AtomicU64);

impl OnCommit for Appends {
    fn committed(&self, _: &SessionId, _: &[Record]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A host on a new journal, and the journal's file.
pub(crate) fn host(
    bench: &Bench,
    tag: &str,
    spans: bool,
) -> anyhow::Result<(Arc<Host>, std::path::PathBuf)> {
    let file = bench.fresh_file(tag);
    let store = rows::on_disk(&file)?;
    let host = Host::new(&bench.parts, store, spans.then_some(file.as_path()))?;
    Ok((Arc::new(host), file))
}

/// What a call writes, from a run of the product.
async fn template(bench: &Bench, kind: Kind) -> anyhow::Result<Template> {
    let (host, file) = host(bench, "recording", false)?;
    host.round(kind, 1, CALLS).await?;
    drop(host);
    Template::recorded(&file, kind, CALLS)
}

async fn floor(bench: &Bench, kind: Kind) -> anyhow::Result<Arc<Floor>> {
    let template = template(bench, kind).await?;
    let file = bench.fresh_file("floor");
    Ok(Arc::new(Floor::new(&bench.parts, &file, template)?))
}

/// Durable commits of a call in a serial session.
pub(crate) async fn commits(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for kind in [Kind::Read, Kind::Write] {
        let file = bench.fresh_file("commits");
        let appends = Arc::new(Appends::default());
        let host = Host::new(&bench.parts, rows::on_disk(&file)?, None)?;
        let host = Arc::new(host.listened_by(appends.clone()));
        // The log that the opening has settled begins anew with the first commit behind it.
        host.round(kind, 1, 1).await?;
        // Sessions of one call and of twenty-one: the difference is twenty calls, and nothing else.
        let mut counted = Vec::new();
        let mut listened = Vec::new();
        for calls in [1, CALLS + 1] {
            let before = wal::read(&file)?;
            let had = appends.0.load(Ordering::Relaxed);
            host.round(kind, 1, calls).await?;
            let after = wal::read(&file)?;
            counted.push(wal::commits_between(&before, &after)?);
            listened.push(appends.0.load(Ordering::Relaxed) - had);
        }
        let each = |n: &[u64]| (n[1] - n[0]) as f64 / f64::from(CALLS);
        let name = format!("durable commits per {} call", kind.word());
        let goal = Goal::AtMost(f64::from(kind.least_commits()));
        measures.push(
            Measure::alone(name, "commits", each(&counted), goal).noted(format!(
                "commit frames in the write-ahead log over {CALLS} calls; appends told of: {}; a whole \
                 session of one call, with its lease, beginning and end: {} commits",
                short(each(&listened)),
                counted[0]
            )),
        );
    }
    Ok(measures)
}

/// One session, call by call.
pub(crate) async fn serial(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for kind in [Kind::Read, Kind::Write] {
        let floor = floor(bench, kind).await?;
        for guest in [Guest::Left, Guest::Runs] {
            let (host, _) = host(bench, "serial", false)?;
            let compared = compare(
                bench.time,
                || async { Ok(host.round(kind, 1, SERIAL_CALLS).await?.p50_us()) },
                || async { Ok(floor.round(guest, 1, SERIAL_CALLS).await?.p50_us()) },
            )
            .await?;
            measures.push(match guest {
                Guest::Left => {
                    let name = format!("serial {} call, p50", kind.word());
                    Measure::beside(name, "us", compared, Goal::AtMost(1.2)).noted(format!(
                        "strict floor, without the guest: {} rows of {} bytes in {} commits",
                        floor.rows(),
                        floor.row_bytes(),
                        kind.least_commits()
                    ))
                }
                Guest::Runs => {
                    let name = format!("serial {} call, p50; floor runs the guest", kind.word());
                    Measure::beside(name, "us", compared, Goal::Stated)
                }
            });
        }
    }
    Ok(measures)
}

/// Calls of each session of a busy round.
pub(crate) fn calls_each(sessions: usize) -> u32 {
    (BUSY_CALLS / sessions as u32).max(10)
}

/// Many sessions at once.
pub(crate) async fn throughput(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for kind in [Kind::Read, Kind::Write] {
        let floor = floor(bench, kind).await?;
        for sessions in [64, 256] {
            let calls = calls_each(sessions);
            for guest in [Guest::Left, Guest::Runs] {
                let (host, _) = host(bench, "busy", false)?;
                let worst = AtomicU64::new(0);
                let compared = compare(
                    bench.time,
                    || async {
                        let round = host.round(kind, sessions, calls).await?;
                        worst.fetch_max(round.percentile_us(99) as u64, Ordering::Relaxed);
                        Ok(round.rate())
                    },
                    || async { Ok(floor.round(guest, sessions, calls).await?.rate()) },
                )
                .await?;
                let name = format!("{} calls a second, {sessions} sessions", kind.word());
                measures.push(match guest {
                    Guest::Left => {
                        Measure::beside(name, "/s", compared, Goal::AtLeast(0.6)).noted(format!(
                            "strict floor; p99 of a call at worst {} ms",
                            worst.load(Ordering::Relaxed) / 1000
                        ))
                    }
                    Guest::Runs => {
                        let name = format!("{name}; floor runs the guest");
                        Measure::beside(name, "/s", compared, Goal::Stated)
                    }
                });
            }
        }
    }
    Ok(measures)
}

/// The price of spans: the same host with and without the sink.
pub(crate) async fn spans(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for sessions in [1, 64] {
        let (with, _) = host(bench, "spans-on", true)?;
        let (without, _) = host(bench, "spans-off", false)?;
        let calls = if sessions == 1 {
            SERIAL_CALLS
        } else {
            calls_each(sessions)
        };
        let compared = compare(
            bench.time,
            || async { Ok(with.round(Kind::Write, sessions, calls).await?.rate()) },
            || async { Ok(without.round(Kind::Write, sessions, calls).await?.rate()) },
        )
        .await?;
        let name = format!("write calls a second with spans, {sessions} sessions");
        measures.push(
            Measure::beside(name, "/s", compared, Goal::Stated)
                .noted("the floor is the same host without projector and file of spans"),
        );
    }
    Ok(measures)
}

/// The price of encryption at rest: the same host with and without a key.
pub(crate) async fn encryption(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let file = bench.fresh_file("encrypted");
    let with = Arc::new(Host::new(
        &bench.parts,
        rows::encrypted_on_disk(&file)?,
        None,
    )?);
    let (without, _) = host(bench, "clear", false)?;
    let compared = compare(
        bench.time,
        || async { Ok(with.round(Kind::Write, 1, SERIAL_CALLS).await?.p50_us()) },
        || async { Ok(without.round(Kind::Write, 1, SERIAL_CALLS).await?.p50_us()) },
    )
    .await?;
    let note = "the floor is the same host without a key";
    let name = "serial write call encrypted, p50";
    measures.push(Measure::beside(name, "us", compared, Goal::Stated).noted(note));
    let calls = calls_each(BYTES_SESSIONS);
    let compared = compare(
        bench.time,
        || async { Ok(with.round(Kind::Write, BYTES_SESSIONS, calls).await?.rate()) },
        || async {
            Ok(without
                .round(Kind::Write, BYTES_SESSIONS, calls)
                .await?
                .rate())
        },
    )
    .await?;
    let name = format!("write calls a second encrypted, {BYTES_SESSIONS} sessions");
    measures.push(Measure::beside(name, "/s", compared, Goal::Stated).noted(note));
    Ok(measures)
}

/// The product alone, round by round, until the time is over.
pub(crate) async fn load(
    bench: &Bench,
    word: &str,
    sessions: usize,
    memory: bool,
) -> anyhow::Result<String> {
    let kind = [Kind::Pure, Kind::Read, Kind::Write]
        .into_iter()
        .find(|kind| kind.word() == word)
        .ok_or_else(|| anyhow::anyhow!("there is no kind of call `{word}`"))?;
    let host = match memory {
        true => Arc::new(Host::new(&bench.parts, rows::in_memory(), None)?),
        false => host(bench, "load", false)?.0,
    };
    let began = std::time::Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < bench.time {
        rates.push(host.round(kind, sessions, CALLS).await?.rate());
    }
    let rate = crate::rounds::Spread::of(&rates);
    Ok(format!(
        "{} calls a second ({}..{}), {} rounds",
        short(rate.median),
        short(rate.min),
        short(rate.max),
        rates.len()
    ))
}

/// Bytes that reach the disk for each effect.
pub(crate) async fn bytes(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let (host, file) = host(bench, "bytes", false)?;
    host.round(Kind::Write, BYTES_SESSIONS, 5).await?;
    let mut written = Vec::new();
    let mut logged = Vec::new();
    let calls = calls_each(BYTES_SESSIONS);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let frames = wal::FrameCounter::start(&file)?;
        let before = machine::own("io", "write_bytes");
        host.round(Kind::Write, BYTES_SESSIONS, calls).await?;
        let after = machine::own("io", "write_bytes");
        let effects = BYTES_SESSIONS as f64 * f64::from(calls);
        written.push((after - before) as f64 / effects);
        logged.push((frames.stop() * wal::FRAME_BYTES) as f64 / effects);
    }
    let written = crate::rounds::Spread::of(&written);
    let logged = crate::rounds::Spread::of(&logged);
    Ok(vec![
        Measure::alone(
            format!("bytes written per write effect, {BYTES_SESSIONS} sessions"),
            "KiB",
            written.median / 1024.0,
            Goal::AtMost(10.0),
        )
        .noted(format!(
            "write_bytes of /proc/self/io: pages sent to the disk, log and checkpoints together, \
             beginnings and ends of the sessions included ({} calls each); {}..{} KiB in five \
             rounds; frames of the log alone: {} KiB",
            calls,
            short(written.min / 1024.0),
            short(written.max / 1024.0),
            short(logged.median / 1024.0)
        )),
    ])
}
