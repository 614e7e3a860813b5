//! Tools that keep state, killed before and after every stage.
//!
//! What is kept is in each cell, behind each kill, what the events say (`cell::check`). Here also:
//! a rerun counts as the first run would have, and what another session keeps meanwhile does not
//! change what it sees.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use stoplog_tests::{World, bins};

use super::cell::{FarSide, Tool, checked, kept};
use super::points::{self, Scene};
use super::sweep::{AGAIN, AT_ONCE, LAST, is_sample};

/// Tells the far side what it read from its state, and counts.
const KEEPER: Tool = Tool {
    name: "keeper",
    class: 3,
    far: FarSide::KeepsKeys,
};

/// Counts what it does, and what it takes back.
const UNDOABLE: Tool = Tool {
    name: "undoable_keeper",
    class: 2,
    far: FarSide::Undone,
};

struct Cell {
    tool: Tool,
    scene: Scene,
    at: String,
    again: Option<&'static str>,
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (i, (scene, at)) in points::all().into_iter().enumerate() {
        // Of a slow far side these tools know nothing.
        if scene == Scene::Slow {
            continue;
        }
        let again = Some(AGAIN[i % 2]).filter(|_| !LAST.contains(&at.as_str()));
        let cell = |tool, again| Cell {
            tool,
            scene,
            at: at.clone(),
            again,
        };
        cells.push(cell(KEEPER, None));
        cells.push(cell(UNDOABLE, None));
        cells.extend(again.map(|again| cell(KEEPER, Some(again))));
    }
    cells
}

fn run(cell: &Cell) -> anyhow::Result<()> {
    let world = checked(cell.tool, cell.scene, &cell.at, cell.again)?;
    let kept = kept(&world)?;
    let acts = cell.scene.acts();
    if cell.tool.name == KEEPER.name {
        let count = kept.get("count").context("a count")?;
        ensure!(*count == acts.len().to_string(), "{kept:?}");
        for (before, act) in acts.iter().enumerate() {
            let seen = kept.get(&format!("seen {act}"));
            ensure!(seen == Some(&before.to_string()), "{act}: {kept:?}");
        }
    }
    let verified = world.host(&["verify"])?;
    ensure!(verified.code == Some(0), "{verified:?}");
    Ok(())
}

#[test]
fn killed_anywhere_what_a_tool_keeps_is_kept_once() {
    let step = if is_sample() { 5 } else { 1 };
    let cells: Vec<Cell> = cells().into_iter().step_by(step).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(e) = run(cell) {
                        let (tool, scene, at) = (cell.tool.name, cell.scene, &cell.at);
                        let failure =
                            format!("{tool} ({scene:?}) at {at}, {:?}: {e:#}", cell.again);
                        failures.lock().expect("no thread panics").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    let all = cells.len();
    let failed = failures.len();
    assert!(
        failures.is_empty(),
        "{failed} of {all} cells:\n{}",
        failures.join("\n")
    );
}

/// The host dies behind a request in which the count is; another session counts meanwhile. The rerun
/// must send what was sent, and of two counts the one that is committed later stands.
#[test]
fn what_another_session_keeps_meanwhile_does_not_change_a_rerun() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keeper"])?;
    world.script(&[&[("keeper", "x")]])?;
    world.host_dies(&World::run_args(), "answer_received:after:1")?;
    world.script(&[&[("keeper", "y")], &[("keeper", "z")]])?;
    let other = ["run", "--tenant", "acme", "--session", "t", "do it"];
    let other = world.host(&other)?;
    ensure!(other.code == Some(0), "{other:?}");
    ensure!(kept(&world)?["count"] == "2", "{:?}", kept(&world)?);
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    let acts = world.far.acts_done()?;
    ensure!(acts == 3, "{acts} acts");
    let kept = kept(&world)?;
    ensure!(kept["seen x"] == "0" && kept["count"] == "1", "{kept:?}");
    let verified = world.host(&["verify"])?;
    ensure!(verified.code == Some(0), "{verified:?}");
    Ok(())
}
