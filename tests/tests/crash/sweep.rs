//! Every point, every tool, killed once and killed again while it recovers.
//!
//! All 657 cells run: 200 s of processor time, 400 s on a machine that was five times overbooked.
//! For a quick look, `STOPLOG_SWEEP=sample` takes about 70 that hold each point, each tool, and
//! both counts of kills; which tools meet which points follows from `STOPLOG_SWEEP_SEED` (1).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::cell::{self, FarSide, TOOLS, Tool};
use super::points::{self, Scene};

/// Cells at once. They mostly wait: for processes to start, for settling times, for the disk.
pub(crate) const AT_ONCE: usize = 4;

/// Cells at once of a scene that sleeps for ten seconds.
const SLEEPERS_AT_ONCE: usize = 12;

/// Where the second kill strikes. The first commit of a resume says that a run began; the second
/// is the first thing that recovery does, whatever that is.
pub(crate) const AGAIN: [&str; 2] = ["batch_appended:before:2", "batch_appended:after:2"];

/// Behind these the session is over, and no second host has anything to recover.
pub(crate) const LAST: [&str; 3] = [
    "lease_released:before:1",
    "lease_released:after:1",
    "transaction_committed:after:1/reply_given:after:2",
];

struct Cell {
    tool: Tool,
    scene: Scene,
    at: String,
    again: Option<&'static str>,
}

impl Cell {
    fn name(&self) -> String {
        let again = self.again.map(|a| format!(" and again at {a}"));
        format!(
            "{} ({:?}) killed at {}{}",
            self.tool.name,
            self.scene,
            self.at,
            again.unwrap_or_default()
        )
    }
}

/// The whole matrix.
fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (i, (scene, at)) in points::all().into_iter().enumerate() {
        for (j, tool) in TOOLS.into_iter().enumerate() {
            let again = AGAIN[(i + j) % 2];
            let again = Some(again).filter(|_| !LAST.contains(&at.as_str()));
            let mut kills = vec![None];
            kills.extend(again.map(Some));
            for again in kills {
                let at = at.clone();
                cells.push(Cell {
                    tool,
                    scene,
                    at,
                    again,
                });
            }
        }
    }
    cells
}

/// Two cells of each point: one kill and two, on tools that are drawn. Tools go round, so each
/// tool meets many points.
fn sample(seed: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (i, (scene, at)) in points::all().into_iter().enumerate() {
        // 9 tools: steps of 2 reach them all. The slow scene is dear, and gets one kill each.
        let once = scene == Scene::Slow || LAST.contains(&at.as_str());
        let counts = if once { 1 } else { 2 };
        for kills in 0..counts {
            let tool = TOOLS[(seed + 2 * i + 5 * kills) % TOOLS.len()];
            cells.push(Cell {
                tool,
                scene,
                at: at.clone(),
                again: (kills == 1).then_some(AGAIN[(seed + i) % 2]),
            });
        }
    }
    cells
}

/// Runs cells side by side, and gives what went wrong in them.
fn run(cells: &[Cell], at_once: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let done = cell::check(cell.tool, cell.scene, &cell.at, cell.again);
                    if let Err(e) = done {
                        let failure = format!("{}: {e:#}", cell.name());
                        failures.lock().expect("no thread panics").push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no thread panics")
}

/// Whether a quick look is asked for.
pub(crate) fn is_sample() -> bool {
    match std::env::var("STOPLOG_SWEEP") {
        Err(_) => false,
        Ok(word) if word == "sample" => true,
        Ok(word) => panic!("STOPLOG_SWEEP is `sample` or not set, not `{word}`"),
    }
}

#[test]
fn killed_anywhere_every_effect_is_done_once() {
    let is_sample = is_sample();
    let seed = std::env::var("STOPLOG_SWEEP_SEED").ok();
    let seed = seed.map_or(1, |s| s.parse().expect("a number"));
    let cells = if is_sample { sample(seed) } else { all() };
    let (sleepers, others): (Vec<Cell>, Vec<Cell>) =
        cells.into_iter().partition(|c| c.scene == Scene::Slow);
    let began = Instant::now();
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let asleep = scope.spawn(|| run(&sleepers, SLEEPERS_AT_ONCE));
        failures.extend(run(&others, AT_ONCE));
        failures.extend(asleep.join().expect("no thread panics"));
    });
    let all = sleepers.len() + others.len();
    eprintln!("{all} cells in {} s", began.elapsed().as_secs());
    assert!(
        failures.is_empty(),
        "{} of {all} cells (seed {seed}):\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The sample leaves no point, no tool and no count out.
#[test]
fn the_sample_holds_each_point_each_tool_and_both_counts() {
    for seed in 0..TOOLS.len() {
        let cells = sample(seed);
        for (scene, at) in points::all() {
            let of_point = || cells.iter().filter(|c| c.at == at);
            assert!(of_point().any(|c| c.again.is_none()), "{at}");
            let once = scene == Scene::Slow || LAST.contains(&at.as_str());
            assert!(once || of_point().any(|c| c.again.is_some()), "{at}");
        }
        for tool in TOOLS {
            let of_tool = cells.iter().filter(|c| c.tool.name == tool.name).count();
            assert!(of_tool >= 4, "{}: {of_tool} cells", tool.name);
        }
    }
}

/// The checks can fail: a tool that says its far side keeps keys, and one that does not.
#[test]
fn a_lie_about_the_far_side_is_found_out() {
    let liar = Tool {
        name: "keyed",
        class: 3,
        far: FarSide::Probed,
    };
    let found = cell::check(liar, Scene::Write, "answer_received:after:1", None);
    let error = found.expect_err("it was done twice").to_string();
    assert!(error.contains("act_x is in force 2 times"), "{error}");
}
