//! Measures of memory, each in a process of its own: peaks do not go down again.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::report::{Goal, Measure, short};
use crate::tools::Kind;
use crate::{Bench, calls, machine, questions};

/// The hidden subcommand of a scenario.
pub(crate) const SUBCOMMAND: &str = "memory-of";

/// Sessions that are open and do nothing.
const IDLE: usize = 1_000;

/// Sessions that work all the time.
const BUSY: usize = 256;

/// Sessions of the soak.
const SOAK: usize = 64;

/// How long the busy ones work, seconds.
const BUSY_SECONDS: u64 = 20;

/// Calls of each session before the next one begins: the default limit of turns.
const CALLS: u32 = 20;

/// Resident memory, MiB.
fn resident_mib() -> f64 {
    machine::own("status", "VmRSS") as f64 / 1024.0
}

/// Runs one scenario in this process.
pub(crate) async fn scenario(bench: &Bench, name: &str) -> anyhow::Result<Value> {
    if name == "questions" {
        return questions::ask_all(bench).await;
    }
    let before = resident_mib();
    let samples = match name {
        "idle" => {
            let (host, _) = calls::host(bench, "idle", true)?;
            let open: Vec<_> = futures::stream::iter(0..IDLE)
                .map(|_| {
                    let host = &host;
                    async move {
                        let journal = host.begin(&host.fresh("idle"), &[Kind::Read]).await?;
                        host.start_run(&journal).await?;
                        anyhow::Ok(journal)
                    }
                })
                .buffer_unordered(64)
                .try_collect()
                .await?;
            let sample = vec![(0.0, resident_mib())];
            for journal in open {
                journal.close().await?;
            }
            sample
        }
        "busy" => busy(bench, BUSY, true, Duration::from_secs(BUSY_SECONDS)).await?,
        "busy-plain" => busy(bench, BUSY, false, Duration::from_secs(BUSY_SECONDS)).await?,
        "soak" => busy(bench, SOAK, true, bench.time).await?,
        other => anyhow::bail!("there is no scenario {other}"),
    };
    Ok(json!({
        "before_mib": before,
        "peak_mib": machine::own("status", "VmHWM") as f64 / 1024.0,
        "samples": samples,
    }))
}

/// Sessions one after the other in each place, reads and writes, until the time is over; a sample
/// of the memory each second.
async fn busy(
    bench: &Bench,
    places: usize,
    spans: bool,
    time: Duration,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let (host, _) = calls::host(bench, "busy-memory", spans)?;
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for place in 0..places {
        let (host, over, done) = (host.clone(), over.clone(), done.clone());
        let kind = if place % 2 == 0 {
            Kind::Read
        } else {
            Kind::Write
        };
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                host.round(kind, 1, CALLS).await?;
                done.fetch_add(u64::from(CALLS), Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.push((began.elapsed().as_secs_f64(), resident_mib()));
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    anyhow::ensure!(done.load(Ordering::Relaxed) > 0, "no session ended in time");
    Ok(samples)
}

/// Runs a scenario in a child.
pub(crate) fn child(bench: &Bench, name: &str) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(&bench.data)
        .arg("--seconds")
        .arg(bench.time.as_secs().to_string())
        .args([SUBCOMMAND, name])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Growth after the first quarter, MiB a minute: the least squares of the samples.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let late = &samples[samples.len() / 4..];
    let n = late.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| late.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|s| s.0), mean(|s| s.1));
    let up: f64 = late.iter().map(|s| (s.0 - x) * (s.1 - y)).sum();
    let down: f64 = late.iter().map(|s| (s.0 - x).powi(2)).sum();
    if down == 0.0 { 0.0 } else { up / down * 60.0 }
}

fn samples(of: &Value) -> Vec<(f64, f64)> {
    let pair = |v: &Value| Some((v[0].as_f64()?, v[1].as_f64()?));
    of["samples"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(pair)
        .collect()
}

/// Idle and busy.
pub(crate) fn memory(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let number = |v: &Value, name: &str| v[name].as_f64().unwrap_or_default();
    let idle = child(bench, "idle")?;
    let grown = samples(&idle).first().map_or(0.0, |s| s.1) - number(&idle, "before_mib");
    let busy = child(bench, "busy")?;
    let plain = child(bench, "busy-plain")?;
    Ok(vec![
        Measure::alone(
            format!("peak memory, {IDLE} idle sessions"),
            "MiB",
            number(&idle, "peak_mib"),
            Goal::Stated,
        )
        .noted(format!(
            "{} MiB before the first, {} KiB for each; three tools are compiled in the process",
            short(number(&idle, "before_mib")),
            short(grown * 1024.0 / IDLE as f64)
        )),
        steady(format!("peak memory, {BUSY} busy sessions"), &busy),
        steady(
            format!("peak memory, {BUSY} busy sessions, no spans"),
            &plain,
        ),
    ])
}

/// An hour, or as long as asked for.
pub(crate) fn soak(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let soak = child(bench, "soak")?;
    Ok(vec![steady(
        format!("peak memory, soak of {SOAK} sessions"),
        &soak,
    )])
}

fn steady(name: String, of: &Value) -> Measure {
    let samples = samples(of);
    let at = |part: usize| {
        samples
            .get((samples.len() - 1) * part / 4)
            .map_or(0.0, |s| s.1)
    };
    let peak = of["peak_mib"].as_f64().unwrap_or_default();
    Measure::alone(name, "MiB", peak, Goal::Stated).noted(format!(
        "resident after a quarter, a half, three quarters and the whole of {} s: {}, {}, {}, {} \
         MiB; slope behind the first quarter: {} MiB a minute",
        samples.len(),
        short(at(1)),
        short(at(2)),
        short(at(3)),
        short(at(4)),
        short(slope(&samples))
    ))
}
