//! The soak: many sessions with writes on one host that is killed at random, thousands of times.
//!
//! The host is the real one, `stoplog resume --all`. Between kills new sessions are admitted, calls
//! that are parked are resolved by somebody who looks at the far side, sessions that are over are
//! checked whole and then pruned, by a pruner that is killed as well. Two far sides, one that
//! keeps keys and one that does not, are processes of their own and misbehave at random.
//!
//! Nothing of the journal is open here while a host starts: it has to recover the log of the one
//! before by itself.
//!
//! * A **duplicate**: an act that is in force twice, or was done twice where nothing was undone.
//! * A **loss**: an act that the journal calls done and the far side does not have (or the other
//!   way round), or something observed before a kill that is gone or different after it.
//!
//! The seed decides when hosts are killed and what goes wrong; the machine decides how far they
//! get by then. So the same seed makes the same plan, and not the same interleaving.

mod book;
mod ledger;
mod person;
mod rng;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{Bins, FarSide, World};
use book::Book;
use ledger::Ledgers;
use person::Person;
use rng::Rng;

/// Shortest bound of a host's life, milliseconds. A life is drawn from nought to the bound, so that
/// some die as they start.
const LIFE_MS: u64 = 150;

/// Longest bound of a host's life, milliseconds. On a machine that is busy, hosts that are killed
/// before they do anything prove nothing: the bound grows until something is done.
const LONG_LIFE_MS: u64 = 5_000;

/// Calls that are to end between two looks: one a kill. With fewer the bound grows.
const CALLS_A_LOOK: u64 = KILLS_A_LOOK as u64;

/// Kills between two looks at the journal: looking takes as long as a short life.
const KILLS_A_LOOK: u32 = 8;

/// Looks between two prunings.
const LOOKS_A_PRUNING: u32 = 4;

/// Longest life of a pruner that is killed, milliseconds.
const PRUNER_LIFE_MS: u64 = 40;

/// The spans' file is thrown away beyond this: the journal brings it back.
const SPANS_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How long the last sessions may take to end when nobody kills any more.
const LAST_MS: u64 = 120_000;

/// The tools whose far side keeps keys.
const KEYED: [&str; 4] = ["lookup", "keyed", "pair", "paid"];

/// The tools whose far side does not.
const KEYLESS: [&str; 4] = ["probed", "undoable", "neither", "paid_probed"];

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The processes.
    pub bins: Bins,
    /// How often to kill the host.
    pub kills: u32,
    /// Decides when, and what else goes wrong.
    pub seed: u64,
    /// Sessions at work at once.
    pub sessions: u16,
    /// Both far sides forget keys, whatever the tools say: then there must be duplicates, and the
    /// soak must find them.
    pub all_forget: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Hosts that were killed.
    pub kills: u32,
    /// Hosts that had nothing left to do before they were killed.
    pub ended: u32,
    /// Pruners that were killed.
    pub pruners_killed: u32,
    /// Sessions that ended and were checked.
    pub sessions: u64,
    /// Acts that are in force, each found once.
    pub effects: u64,
    /// Calls that ended with an error of which nothing is in force.
    pub refused: u64,
    /// Acts that are there more often than they should be.
    pub duplicates: Vec<String>,
    /// What is not there, or not as it was.
    pub losses: Vec<String>,
    /// Calls that a person had to resolve.
    pub parked: u64,
    /// Where journal and ledgers lie, for people to look at, when it is not clean.
    pub left_in: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether nothing was done twice and nothing was lost.
    pub fn is_clean(&self) -> bool {
        self.duplicates.is_empty() && self.losses.is_empty()
    }
}

/// Kills, and counts. Told of the report so far after each look.
///
/// # Errors
/// When the soak itself cannot go on: a process that does not start, a journal that does not open,
/// sessions that do not end. A duplicate or a loss is in the report.
pub fn run(plan: Plan, progress: &mut dyn FnMut(&Report)) -> anyhow::Result<Report> {
    let mut soak = Soak::new(plan)?;
    let result = soak.kill_and_look(progress);
    let is_expected = result.is_ok() && (soak.report.is_clean() || plan.all_forget);
    if !is_expected {
        soak.world.keep();
    }
    let path = soak.world.path().display().to_string();
    result.with_context(|| format!("seed {}, left in {path}", plan.seed))?;
    if !is_expected {
        soak.report.left_in = Some(path);
    }
    Ok(soak.report)
}

struct Soak {
    plan: Plan,
    rng: Rng,
    world: World,
    /// The far side that forgets keys; the world's own keeps them.
    forgetful: FarSide,
    book: Book,
    ledgers: Ledgers,
    person: Person,
    report: Report,
    looks: u32,
    life_ms: u64,
}

impl Soak {
    fn new(plan: Plan) -> anyhow::Result<Soak> {
        let tools = [KEYED, KEYLESS].concat();
        let world = World::new(plan.bins, &tools)?;
        let forgetful = FarSide::start(plan.bins, world.path(), "forgetful")?;
        world.script_calls(&script())?;
        write_config(&world, &forgetful)?;
        let ledgers = Ledgers::open(world.path())?;
        let book = Book::begin(&world)?;
        Ok(Soak {
            plan,
            rng: Rng::new(plan.seed),
            world,
            forgetful,
            book,
            ledgers,
            person: Person::default(),
            report: Report::default(),
            looks: 0,
            life_ms: LIFE_MS,
        })
    }

    fn kill_and_look(&mut self, progress: &mut dyn FnMut(&Report)) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut since_look = KILLS_A_LOOK;
        while self.report.kills < self.plan.kills && self.report.is_clean() {
            if since_look >= KILLS_A_LOOK {
                since_look = 0;
                self.look(true)?;
                self.misbehave()?;
                self.report.took = began.elapsed();
                progress(&self.report);
            }
            let life = Duration::from_millis(self.rng.below(self.life_ms + 1));
            if self.live_and_die(life)? {
                self.report.kills += 1;
                since_look += 1;
            } else {
                self.report.ended += 1;
                since_look = KILLS_A_LOOK;
            }
        }
        if self.report.is_clean() {
            self.end_all()?;
        }
        self.report.took = began.elapsed();
        Ok(())
    }

    /// A host's life. Whether it had to be killed.
    fn live_and_die(&mut self, life: Duration) -> anyhow::Result<bool> {
        let sessions = self.plan.sessions.to_string();
        let host = self
            .world
            .command(&["resume", "--all", "--concurrency", &sessions]);
        die(host, life)
    }

    /// What happens between kills: people decide, what is over is checked and pruned, and new
    /// sessions come in.
    fn look(&mut self, admit: bool) -> anyhow::Result<()> {
        self.looks += 1;
        let looked = self
            .book
            .look(&self.world, &self.ledgers, &mut self.report)?;
        self.life_ms = match looked.calls < CALLS_A_LOOK {
            true => (self.life_ms * 3 / 2).min(LONG_LIFE_MS),
            false => (self.life_ms * 9 / 10).max(LIFE_MS),
        };
        let resolved = self
            .person
            .resolve(&self.world, &self.ledgers, &looked.parked)?;
        self.report.parked += resolved;
        if self.looks.is_multiple_of(LOOKS_A_PRUNING) {
            self.prune()?;
        }
        // Twice as many as work at once: some always wait to be begun.
        let wanted = usize::from(self.plan.sessions) * 2;
        if admit {
            self.book
                .admit(&self.world, wanted.saturating_sub(looked.active))?;
        }
        let spans = self.world.data_dir().join("spans.jsonl");
        if fs::metadata(&spans).is_ok_and(|m| m.len() > SPANS_MAX_BYTES) {
            fs::remove_file(&spans)?;
        }
        Ok(())
    }

    /// Everything that is over has been checked by now, so it may go: all of it, or, when the
    /// pruner is killed, some.
    fn prune(&mut self) -> anyhow::Result<()> {
        let mut pruner = self.world.command(&[]);
        let ever = u64::from(u32::MAX) * 1000;
        pruner.env("STOPLOG_PRUNE", format!("{ever},{ever},{ever}"));
        let life = match self.rng.below(2) {
            0 => Duration::from_millis(self.rng.below(PRUNER_LIFE_MS + 1)),
            _ => Duration::from_millis(LAST_MS),
        };
        if die(pruner, life)? {
            self.report.pruners_killed += 1;
        }
        Ok(())
    }

    /// New faults for both far sides. Nothing takes longer to be done than the settling time that
    /// the tools declare (300 ms): that would be a lie of the tools.
    fn misbehave(&mut self) -> anyhow::Result<()> {
        self.behave()?;
        for far in [&self.world.far, &self.forgetful] {
            for _ in 0..self.rng.below(4) {
                let (mode, delay_ms) = match self.rng.below(5) {
                    0 => ("hang_up_after", 0),
                    1 => ("hold_answer", 20 + self.rng.below(200) as u32),
                    2 => ("fail_before", 0),
                    3 => ("fail_after", 0),
                    _ => ("delay_before", 5 + self.rng.below(50) as u32),
                };
                far.misbehave(mode, 1, delay_ms)?;
            }
        }
        Ok(())
    }

    /// No faults but that keys are forgotten where they are.
    fn behave(&self) -> anyhow::Result<()> {
        for far in [&self.world.far, &self.forgetful] {
            far.ask("DELETE", "/admin/misbehave", None)?;
        }
        if self.plan.all_forget {
            self.world.far.misbehave("forget_keys", 0, 0)?;
        }
        self.forgetful.misbehave("forget_keys", 0, 0)
    }

    /// Nobody kills any more, and everybody behaves: every session ends, and is checked.
    fn end_all(&mut self) -> anyhow::Result<()> {
        self.behave()?;
        let began = Instant::now();
        while !self.book.is_empty() && self.report.is_clean() {
            ensure!(
                began.elapsed() < Duration::from_millis(LAST_MS),
                "sessions that do not end: {}",
                self.book.open()
            );
            let killed = self.live_and_die(Duration::from_millis(LAST_MS))?;
            ensure!(!killed, "a host that does not end");
            self.look(false)?;
        }
        Ok(())
    }
}

/// Runs a process for so long at most. Whether it had to be killed.
fn die(mut command: Command, life: Duration) -> anyhow::Result<bool> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let began = Instant::now();
    while let Some(left) = life.checked_sub(began.elapsed()) {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(left.min(Duration::from_millis(2)));
    }
    child.kill()?;
    Ok(child.wait()?.code().is_none())
}

/// One script for all sessions: each does acts of its own, behind reads and beside one another.
fn script() -> Vec<Vec<Value>> {
    let call = |tool: &str, suffix: &str| {
        let name = format!("{{{{session}}}}_{suffix}");
        json!({"tool": tool, "arguments": {"name": name}})
    };
    vec![
        vec![call("lookup", "k"), call("lookup", "p")],
        vec![call("keyed", "k"), call("probed", "p")],
        vec![call("undoable", "u"), call("lookup", "u")],
        vec![call("pair", "d"), call("paid", "f")],
        vec![call("neither", "n"), call("paid_probed", "q")],
    ]
}

/// Each tool goes to the far side that it is made for, and class 4 is cleared by a rule.
fn write_config(world: &World, forgetful: &FarSide) -> anyhow::Result<()> {
    let text = format!(
        "data_dir = \"data\"\n\n[agent]\nfeature = \"soak\"\nsystem_prompt = \"Soak.\"\n\n\
         [model]\nkind = \"scripted\"\nscript = \"script.json\"\n\n\
         [[grant]]\ntools = {KEYED:?}\norigin = \"http://far.internal/\"\nconnect = \"{}\"\n\n\
         [[grant]]\ntools = {KEYLESS:?}\norigin = \"http://far.internal/\"\nconnect = \"{}\"\n\n\
         [tools.paid]\nclear_when = [\"true\"]\n[tools.paid_probed]\nclear_when = [\"true\"]\n",
        world.far.address, forgetful.address
    );
    Ok(fs::write(world.path().join("stoplog.toml"), text)?)
}

/// The binaries beside the one that runs: of the same build.
///
/// # Errors
/// When they are not there.
pub fn bins_beside_this() -> anyhow::Result<Bins> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a directory")?;
    let beside = |name: &str| -> anyhow::Result<&'static str> {
        let path = dir.join(name);
        ensure!(Path::exists(&path), "{} is not built", path.display());
        let text = path.into_os_string().into_string();
        let text = text.map_err(|p| anyhow::anyhow!("{p:?} is no text"))?;
        // Twice in the life of a process.
        Ok(text.leak())
    };
    Ok(Bins {
        host: beside("stoplog-under-test")?,
        far_side: beside("far-side")?,
        receiver: beside("otlp-receiver")?,
    })
}
