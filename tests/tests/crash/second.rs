//! A second process that resumes a session which another has: it is told who, and fires nothing.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use stoplog_tests::{World, bins, go_on, said, wait_for};

use super::cell::{TOOLS, Tool, check_effects};
use super::points::{self, Scene};

/// Tools whose first host is stopped at each point: one that would be sent again by a second host
/// that may, one that would be looked up, and one that would be parked.
const STOPPED: [&str; 3] = ["keyed", "undoable_probed", "neither"];

/// Worlds at once: a second host waits half a second for the directory's lock.
const AT_ONCE: usize = 4;

/// The first host stops itself at a point. A second one is refused, asks nothing of the far side,
/// and leaves the journal as it is. Then the first goes on, and ends as if nothing had been.
fn beside_a_stopped_host(tool: Tool, at: &str) -> anyhow::Result<()> {
    let world = Scene::Write.world(tool)?;
    let first = world.host_stops(&World::run_args(), at)?;
    let requests = world.far.counts("requests")?;
    let events = world.sql("SELECT count(*) FROM events")?;
    let second = world.host(&["resume", "s"])?;
    ensure!(second.code == Some(5), "{second:?}");
    let is_told = ["session_leased", "data_dir_locked"]
        .iter()
        .any(|reason| second.stderr.contains(reason));
    ensure!(is_told, "{second:?}");
    ensure!(
        second.stderr.contains(&format!("pid {}", first.id())),
        "it says who: {second:?}"
    );
    ensure!(
        world.far.counts("requests")? == requests,
        "the second one fired"
    );
    ensure!(
        world.sql("SELECT count(*) FROM events")? == events,
        "the second one wrote"
    );
    go_on(&first)?;
    let first = said(first.wait_with_output()?)?;
    ensure!(first.code == Some(0), "{first:?}");
    check_effects(&world, tool, &["x"])?;
    let done = world.far.acts_done()?;
    ensure!(done == 1, "done {done} times");
    Ok(())
}

#[test]
fn a_second_host_at_any_moment_fires_nothing() {
    let points: Vec<String> = points::all()
        .into_iter()
        .filter(|(scene, _)| *scene == Scene::Write)
        .map(|(_, at)| at)
        .collect();
    let tools = TOOLS.into_iter().filter(|t| STOPPED.contains(&t.name));
    let tools: Vec<Tool> = tools.collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::SeqCst);
                    let Some(at) = points.get(i) else { return };
                    let tool = tools[i % tools.len()];
                    if let Err(e) = beside_a_stopped_host(tool, at) {
                        let failure = format!("{} stopped at {at}: {e:#}", tool.name);
                        failures.lock().expect("no thread panics").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Two processes resume one session: one works, the other is told who does and fires nothing.
#[test]
fn two_resumes_at_once() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup", "keyed"])?;
    world.script(&[&[("lookup", "x")], &[("keyed", "x")]])?;
    world.host_dies(&World::run_args(), "intent_durable:after:1")?;
    world.far.misbehave("hold_answer", 1, 5_000)?;
    let first = world
        .command(&["resume", "s"])
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = first.id();
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let second = world.host(&["resume", "s"])?;
    ensure!(second.code == Some(5), "{second:?}");
    ensure!(second.stderr.contains("session_leased"), "{second:?}");
    ensure!(
        second.stderr.contains(&format!("pid {pid}")),
        "it says who: {second:?}"
    );
    let first = said(first.wait_with_output()?)?;
    ensure!(first.code == Some(0), "{first:?}");
    ensure!(
        world.far.acts_done()? == 1,
        "done {} times",
        world.far.acts_done()?
    );
    Ok(())
}
