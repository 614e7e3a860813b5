//! Speed of the host, each number beside a floor from the same run.
//!
//! ```text
//! cargo run --release -p stoplog-bench -- [--json FILE] [--only NAME] [--seconds N] [--data DIR]
//! ```
//!
//! Product and floor take short turns, at least five pairs; the ratio is that of each pair, and
//! the median, the smallest and the largest are told. Nothing here asserts on time: a goal that
//! is missed is a word in the table.
//!
//! The floor is plain `rusqlite` doing the least that is correct; what it does and does not do
//! stands at the head of `floor/mod.rs`. The product is wired as the `stoplog` command wires it,
//! with a model that answers at once. The far side is a process of its own.
//!
//! | measure | file | product | floor |
//! |---|---|---|---|
//! | `commits` | `calls.rs` | commit frames of the log, per call | none: it is counted |
//! | `encryption` | `calls.rs` | the host with a key for its journal | the same without |
//! | `serial` | `calls.rs` | one session through the driver | the same rows, commits, requests |
//! | `throughput` | `calls.rs` | 64 and 256 sessions through the driver | the same |
//! | `spans` | `calls.rs` | a host with the sink of spans | the same host without |
//! | `projection` | `projection.rs` | events to rows of the trace store | the host that makes them |
//! | `questions` | `questions.rs` | a question over a million spans | SQL by hand, indexed for it |
//! | `class0` | `pure.rs` | one dispatch on the memory store | bare wasmtime |
//! | `bytes` | `calls.rs` | `write_bytes` of the process | none |
//! | `resume` | `history.rs` | 10,000 events | 10 events |
//! | `recovery` | `history.rs` | listing and folding what is open | reading its rows |
//! | `fold` | `history.rs` | rows to a session | serde alone |
//! | `memory` | `memory.rs` | peaks, each in its own process | none |
//! | `neighbours` | `neighbours.rs` | a tenant beside one with 1,000 calls in line | the same tenant alone |
//! | `prune` | `prune.rs` | the file before and after a million events are pruned | none |
//! | `memory-soak` | `memory.rs` | growth at constant load, `--seconds` long | none |

mod calls;
mod far;
mod floor;
mod history;
mod host;
mod machine;
mod memory;
mod neighbours;
mod paced;
mod projection;
mod prune;
mod pure;
mod questions;
mod report;
mod rounds;
mod rows;
mod tools;
mod traffic;
mod wal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use tempfile::TempDir;

use crate::far::FarSide;
use crate::host::Parts;
use crate::report::Measure;

/// The `stoplog` command's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured when nothing is named: all but pruning, questions and the soak, which take long.
const ALL: [&str; 13] = [
    "commits",
    "serial",
    "throughput",
    "spans",
    "encryption",
    "projection",
    "class0",
    "bytes",
    "resume",
    "fold",
    "recovery",
    "memory",
    "neighbours",
];

#[derive(Parser)]
#[command(about = "Speed of the host, each number beside a floor from the same run.")]
struct Args {
    /// Where the numbers go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only this measure; may be given again.
    #[arg(long)]
    only: Vec<String>,
    /// Time for each comparison, seconds. Five pairs are made at least.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where journals are made, and the large one is kept: on the disk that is to be measured.
    #[arg(long, default_value = "target/bench")]
    data: PathBuf,
    /// Closed sessions among which the open ones are found.
    #[arg(long, default_value_t = 100_000)]
    closed: usize,
    /// Spans that questions are asked about.
    #[arg(long, default_value_t = 1_000_000)]
    spans: u64,
    #[command(subcommand)]
    hidden: Option<Hidden>,
}

/// What the benchmark starts of itself.
#[derive(Subcommand)]
enum Hidden {
    #[command(hide = true)]
    FarSide,
    /// The product alone, for a profiler.
    #[command(hide = true)]
    Load {
        /// `pure`, `read` or `write`.
        kind: String,
        /// How many at once.
        sessions: usize,
        /// The memory store: nothing waits for the disk.
        #[arg(long)]
        memory: bool,
    },
    #[command(hide = true)]
    MemoryOf {
        /// Which scenario.
        name: String,
    },
}

/// What every measure is given.
pub(crate) struct Bench {
    /// Tools and far side.
    pub(crate) parts: Parts,
    /// Time for each comparison.
    pub(crate) time: Duration,
    /// What is kept for the next run.
    pub(crate) data: PathBuf,
    /// Closed sessions of the recovery.
    pub(crate) closed: usize,
    /// Spans in the store of the questions.
    pub(crate) spans: u64,
    scratch: TempDir,
    counter: AtomicU64,
    _far: FarSide,
}

impl Bench {
    async fn new(args: &Args) -> anyhow::Result<Bench> {
        std::fs::create_dir_all(&args.data)?;
        let far = FarSide::start()?;
        let (sandbox, pins) = tools::load().await?;
        Ok(Bench {
            parts: Parts {
                sandbox,
                pins,
                far: far.address,
            },
            time: Duration::from_secs(args.seconds),
            data: args.data.clone(),
            closed: args.closed,
            spans: args.spans,
            scratch: tempfile::tempdir_in(&args.data)?,
            counter: AtomicU64::new(0),
            _far: far,
        })
    }

    /// A file that is not there yet, on the disk that is measured.
    pub(crate) fn fresh_file(&self, tag: &str) -> PathBuf {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        self.scratch.path().join(format!("{tag}-{n}.db"))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(stoplog_sandbox::worker_threads())
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    match &args.hidden {
        Some(Hidden::FarSide) => return far::serve().await,
        Some(Hidden::MemoryOf { name }) => {
            let bench = Bench::new(&args).await?;
            let told = memory::scenario(&bench, name).await?;
            return say(&told.to_string());
        }
        Some(Hidden::Load {
            kind,
            sessions,
            memory,
        }) => {
            let bench = Bench::new(&args).await?;
            return say(&calls::load(&bench, kind, *sessions, *memory).await?);
        }
        None => {}
    }
    let bench = Bench::new(&args).await?;
    let machine = machine::facts(&bench.data)?;
    say(&format!("{machine:#}\n"))?;
    let names: Vec<&str> = match args.only.is_empty() {
        true => ALL.to_vec(),
        false => args.only.iter().map(String::as_str).collect(),
    };
    let mut measures = Vec::new();
    for name in names {
        let found = measure(&bench, name).await?;
        say(&format!("{}\n", report::table(&found)))?;
        measures.extend(found);
        if let Some(file) = &args.json {
            write_json(file, &machine, &measures)?;
        }
    }
    say(&format!("\n{}", report::table(&measures)))
}

async fn measure(bench: &Bench, name: &str) -> anyhow::Result<Vec<Measure>> {
    match name {
        "commits" => calls::commits(bench).await,
        "serial" => calls::serial(bench).await,
        "throughput" => calls::throughput(bench).await,
        "spans" => calls::spans(bench).await,
        "encryption" => calls::encryption(bench).await,
        "projection" => projection::projection(bench).await,
        "questions" => questions::questions_at_size(bench).await,
        "class0" => pure::class0(bench).await,
        "bytes" => calls::bytes(bench).await,
        "resume" => history::resume(bench).await,
        "recovery" => history::recovery(bench).await,
        "fold" => history::fold(bench).await,
        "memory" => memory::memory(bench),
        "neighbours" => neighbours::neighbours(bench).await,
        "prune" => prune::prune(bench).await,
        "memory-soak" => memory::soak(bench),
        other => {
            anyhow::bail!(
                "there is no measure {other}; there are {ALL:?}, questions, prune and memory-soak"
            )
        }
    }
}

fn write_json(
    file: &Path,
    machine: &serde_json::Value,
    measures: &[Measure],
) -> anyhow::Result<()> {
    let text = report::json(machine.clone(), measures);
    Ok(std::fs::write(file, format!("{text:#}\n"))?)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
