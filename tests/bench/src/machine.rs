//! What the numbers were measured on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::rounds::Spread;

/// Syncs to measure.
const SYNCS: usize = 100;

/// A sync that is faster than this reached no disk, microseconds: the fastest drives need about
/// ten to answer at all.
const REAL_SYNC_US: f64 = 10.0;

/// Cores, kernel, file system, sync, date, commit, command.
pub(crate) fn facts(data: &Path) -> anyhow::Result<Value> {
    let sync = sync_us(data)?;
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "cpu": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "file_system": file_system(data),
        "write_and_fdatasync_us": {"median": sync.median, "min": sync.min, "max": sync.max},
        "fsync_is_real": sync.median >= REAL_SYNC_US,
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": said("git", &["rev-parse", "--short", "HEAD"]),
        "command": std::env::args().skip(1).collect::<Vec<_>>(),
    }))
}

/// One page written and synced, as a commit does it.
fn sync_us(data: &Path) -> anyhow::Result<Spread> {
    let path = data.join("sync-probe");
    let file = File::create(&path)?;
    let page = [7u8; 4096];
    let mut times = Vec::with_capacity(SYNCS);
    for i in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&page, i as u64 * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(&path)?;
    Ok(Spread::of(&times))
}

/// The type of the mount that holds a path.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut best = (0, String::new());
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        if let (Some(at), Some(kind)) = (words.next(), words.next())
            && path.starts_with(at)
            && at.len() >= best.0
        {
            best = (at.len(), kind.to_owned());
        }
    }
    best.1
}

fn line_of(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(name));
    line.and_then(|l| l.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    output
        .ok()
        .filter(|o| o.status.success())
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// A line of `/proc/self/status` or `/proc/self/io`, as a number.
pub(crate) fn own(file: &str, name: &str) -> u64 {
    line_of(&format!("/proc/self/{file}"), name)
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default()
}
