//! What a bad guest costs the host and its neighbours, on one sandbox in this process, and with no
//! other test in it.
//!
//! Memory and open files are asserted: at the peak, and afterwards. A neighbour's latency is
//! printed (`--nocapture`) and not asserted: it is the machine's as much as ours.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::port::{CallInfo, Entry, Gate, Job, Ran, Returned, Runner};
use stoplog_model::{Class, Digest};
use stoplog_sandbox::{Sandbox, Settings};

/// Guests, and the names of what they do. Whatever the end of such a run, the host goes on.
const BAD: &[(&str, &str)] = &[
    ("spinner", "x"),
    ("sleeper", "x"),
    ("recurser", "x"),
    ("glutton", "x"),
    ("babbler", "x"),
    ("trapper", "x"),
    ("handle_hoarder", "x"),
    ("header_hoarder", "x"),
    ("body_hoarder", "x"),
    ("shouter", "log"),
    ("random_glutton", "x"),
    ("annotator", "x"),
    ("talker", "x"),
    ("talker", "error"),
    ("crawler", "x"),
    ("permit_thief", "holds"),
    ("permit_thief", "forges"),
    ("double_splitter", "x"),
    ("late_poster", "x"),
    ("header_forger", "many"),
    ("header_forger", "plain_many"),
    ("trap_after_effect", "x"),
    ("snoop", "x"),
];

/// Milliseconds that a bad guest gets here.
const TIMEOUT_MS: u64 = 600;
/// Runs of each, one after the other: what one leaves behind would add up.
const ROUNDS: usize = 3;
/// Bytes that a run may take of the host at its peak: its memory, its traffic, and as much again
/// as one host call may pass, twice over.
const PEAK_BYTES: u64 = (256 + 64 + 64) << 20;
/// Bytes that the host may have grown by after all runs. What stays is the allocator's.
const LEFT_BYTES: u64 = 48 << 20;

/// Answers every request with half a mebibyte.
struct Generous;

fn plenty() -> Result<Response, EffectError> {
    Ok(Response {
        status: 200,
        headers: vec![],
        body: vec![b' '; 512 * 1024],
    })
}

#[async_trait]
impl Gate for Generous {
    fn key(&self, label: &str) -> String {
        label.to_owned()
    }

    fn split(&self, label: &str) -> Result<(), String> {
        (label != "fee")
            .then_some(())
            .ok_or("used before".to_owned())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        plenty()
    }

    async fn fetch(&self, _: Request) -> Result<Response, EffectError> {
        plenty()
    }
}

struct Loaded {
    digest: Digest,
    class: Class,
}

fn load(sandbox: &Sandbox, guest: &str) -> anyhow::Result<Loaded> {
    let bytes = fs::read(stoplog_tests::guest(guest))?;
    let inspection = sandbox.load(&bytes)?;
    Ok(Loaded {
        digest: inspection.digest,
        class: inspection.class,
    })
}

async fn run(sandbox: &Sandbox, loaded: &Loaded, input: String) -> Ran {
    let job = Job {
        component: loaded.digest.clone(),
        class: loaded.class,
        entry: Entry::Call { input },
        info: CallInfo {
            tenant: "acme".to_owned(),
            session: "s".to_owned(),
            call_id: "0".repeat(64),
            attempt: 1,
            started_at_ms: 1_700_000_000_000,
            scheduled_for_ms: None,
            deadline_ms: 1_700_000_000_000 + TIMEOUT_MS,
        },
        timeout_ms: TIMEOUT_MS,
        seed: [7; 32],
    };
    sandbox.run(job, Arc::new(Generous)).await
}

/// A value of `/proc/self/status`, in bytes.
fn memory(of: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|l| l.starts_with(of))
        .context("a line")?;
    let kib = line.split_whitespace().nth(1).context("a number")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// What the process has now, once the allocator has given back what it only keeps.
#[expect(unsafe_code, reason = "the allocator's own call, for a measurement")]
fn resident() -> anyhow::Result<u64> {
    // SAFETY: it takes a number and frees what nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
    memory("VmRSS:")
}

fn open_files() -> anyhow::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Calls a good tool again and again until it is told to stop; how long each call took.
async fn neighbour(
    sandbox: Sandbox,
    good: Arc<Loaded>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) || took.is_empty() {
        let began = Instant::now();
        let ran = run(&sandbox, &good, r#"{"a": 1, "b": 2}"#.to_owned()).await;
        took.push(began.elapsed());
        let sum = Ok(Returned::Text(r#"{"sum":3}"#.to_owned()));
        ensure!(ran.result == sum, "the neighbour got {:?}", ran.result);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_comes_back_and_a_neighbour_is_served() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(Settings::default())?;
    let good = Arc::new(load(&sandbox, "pure_add")?);
    let loaded: Vec<(&str, &str, Loaded)> = BAD
        .iter()
        .map(|(guest, name)| Ok((*guest, *name, load(&sandbox, guest)?)))
        .collect::<anyhow::Result<_>>()?;
    run(&sandbox, &good, r#"{"a": 1, "b": 2}"#.to_owned()).await;
    let before = resident()?;
    for (guest, name, bad) in &loaded {
        // Makes the peak what the process has now (proc_pid_clear_refs(5)).
        fs::write("/proc/self/clear_refs", "5")?;
        let base = resident()?;
        let stop = Arc::new(AtomicBool::new(false));
        let beside = tokio::spawn(neighbour(sandbox.clone(), good.clone(), stop.clone()));
        let mut end = String::new();
        let mut files = Vec::new();
        for _ in 0..ROUNDS {
            let ran = run(&sandbox, bad, format!(r#"{{"name": "{name}"}}"#)).await;
            end = format!("{:?}", ran.result);
            files.push(open_files()?);
        }
        stop.store(true, Ordering::Relaxed);
        let mut took = beside.await??;
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_micros();
        let peak = memory("VmHWM:")?.saturating_sub(base);
        let left = resident()?.saturating_sub(before);
        end.truncate(60);
        println!(
            "{guest:16} {name:10} neighbour p50 {:6} us, p99 {:6} us of {:4}; peak {:4} MiB, \
             left {:2} MiB; {end}",
            at(50),
            at(99),
            took.len(),
            peak >> 20,
            left >> 20
        );
        // The first run of a component maps its memory from a file of its own, which stays.
        ensure!(
            files[0] >= files[ROUNDS - 1],
            "{guest} {name} left files: {files:?}"
        );
        ensure!(peak < PEAK_BYTES, "{guest} {name} took {} MiB", peak >> 20);
        ensure!(left < LEFT_BYTES, "{guest} {name} left {} MiB", left >> 20);
    }
    Ok(())
}
