//! One cell: a world, a kill or two, a resume, and what must hold then.
//!
//! What must hold is worked out from the journal as the kill left it, and from a run of the same
//! world that nobody kills. Nothing is a table of what was seen once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_journal::load;
use stoplog_model::SessionId;
use stoplog_store::{SqliteStore, TraceDb};
use stoplog_telemetry::{Bounds, Projector, Scope, TraceStore};
use stoplog_tests::{Said, World, bins};

use super::points::Scene;

/// Longer than a lease goes without renewal (10 s), far less than a call may take.
const HOLD_MS: u32 = 12_000;

/// Reads in one turn: a start and an observation each make more than the 256 events after which
/// a snapshot is written.
const MANY_READS: usize = 130;

/// What the far side of a tool can do about a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FarSide {
    /// It remembers keys.
    KeepsKeys,
    /// It can be asked.
    Probed,
    /// Neither; the act can be taken back.
    Undone,
    /// Nothing: a person must look.
    Neither,
}

/// A tool of the sweep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its class.
    pub(crate) class: u8,
    /// What its far side can do.
    pub(crate) far: FarSide,
}

/// Every class that writes, with every far side that it can have.
pub(crate) const TOOLS: [Tool; 9] = [
    tool("undoable_keyed", 2, FarSide::KeepsKeys),
    tool("undoable_probed", 2, FarSide::Probed),
    tool("undoable", 2, FarSide::Undone),
    tool("keyed", 3, FarSide::KeepsKeys),
    tool("probed", 3, FarSide::Probed),
    tool("neither", 3, FarSide::Neither),
    tool("paid", 4, FarSide::KeepsKeys),
    tool("paid_probed", 4, FarSide::Probed),
    tool("paid_neither", 4, FarSide::Neither),
];

const fn tool(name: &'static str, class: u8, far: FarSide) -> Tool {
    Tool { name, class, far }
}

impl Tool {
    /// The key of its act of a name, as the far side sees it.
    pub(crate) fn key(self, name: &str) -> String {
        match self.name {
            "paid" => format!("paid_{name}"),
            _ => format!("act_{name}"),
        }
    }
}

impl Scene {
    /// The acts that are to be done.
    pub(crate) fn acts(self) -> &'static [&'static str] {
        match self {
            Scene::Long => &["x", "y"],
            Scene::Write | Scene::Approved | Scene::Slow => &["x"],
        }
    }

    /// The world in which `tool` plays it, before the first run.
    pub(crate) fn world(self, tool: Tool) -> anyhow::Result<World> {
        let world = World::new(bins!(), &["lookup", tool.name])?;
        let read = [("lookup", "x")];
        match self {
            Scene::Long => {
                let reads = [("lookup", "x"); MANY_READS];
                world.script(&[&[(tool.name, "x")], &reads, &[(tool.name, "y")]])?;
            }
            _ => world.script(&[&read, &[(tool.name, "x")]])?,
        }
        // Class 4 waits unless a rule clears it; the others wait if a rule holds them.
        let rule = match (self, tool.class) {
            (Scene::Approved, 4) => String::new(),
            (Scene::Approved, _) => format!("[tools.{}]\nhold_when = [\"true\"]\n", tool.name),
            (_, 4) => format!("[tools.{}]\nclear_when = [\"true\"]\n", tool.name),
            _ => String::new(),
        };
        world.write_config(&rule)?;
        if tool.far != FarSide::KeepsKeys {
            world.far.misbehave("forget_keys", 0, 0)?;
        }
        Ok(world)
    }

    /// Plays it up to the run that is killed, and gives the arguments of that run.
    pub(crate) fn begin(self, world: &World) -> anyhow::Result<Vec<&'static str>> {
        if self != Scene::Approved {
            return Ok(World::run_args().to_vec());
        }
        let waits = world.host(&World::run_args())?;
        ensure!(waits.code == Some(3), "{waits:?}");
        let id = waits.json["approval"].as_str().context("an approval")?;
        let approved = world.host(&["approvals", "approve", id, "--by", "Meera"])?;
        ensure!(approved.code == Some(0), "{approved:?}");
        ensure!(world.far.acts_done()? == 0, "done before the approval");
        Ok(vec!["resume", "s"])
    }
}

/// What the journal holds of session `s`, as far as another run must not change it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Durable {
    /// By iteration and ordinal: the row of `state_transitions` and the whole event.
    pub(crate) observed: BTreeMap<(u32, u32), (Vec<String>, Value)>,
    /// Calls of each turn.
    pub(crate) turns: BTreeMap<u32, Value>,
    /// Intents without an outcome.
    pub(crate) open_intents: usize,
    /// Events in all. Nought: the session was never begun.
    pub(crate) events: usize,
    /// Whether the last run has no end.
    pub(crate) run_is_open: bool,
    /// The answer of the last run, if it ended with success: then the session is over.
    pub(crate) answer: Option<Value>,
}

impl Durable {
    /// Reads the file, as it is.
    pub(crate) fn of(world: &World) -> anyhow::Result<Durable> {
        let mut durable = Durable::default();
        let events = world.sql(
            "SELECT kind, iteration, ordinal, tool, args_digest, key, summary, at_ms,
                    coalesce(body, (SELECT body FROM payloads WHERE digest = payload))
             FROM events WHERE session_id = 's' ORDER BY seq",
        )?;
        durable.events = events.len();
        for row in events {
            let body: Value = serde_json::from_str(&row[8]).context("the body of an event")?;
            match row[0].as_str() {
                "observed" => {
                    let at = (row[1].parse()?, row[2].parse()?);
                    let twice = durable.observed.insert(at, (row[3..8].to_vec(), body));
                    ensure!(twice.is_none(), "{at:?} is observed twice");
                }
                "turn_taken" => {
                    // The last turn has an answer in place of calls.
                    let calls = found(&body, "calls").cloned().unwrap_or(json!([]));
                    let n = found(&body, "iteration").and_then(Value::as_u64);
                    let n = u32::try_from(n.context("a turn without number")?)?;
                    let twice = durable.turns.insert(n, calls);
                    ensure!(twice.is_none(), "turn {n} is taken twice");
                }
                "run_started" => durable.run_is_open = true,
                "run_ended" => {
                    durable.run_is_open = false;
                    let outcome = found(&body, "outcome");
                    let is_over = outcome.is_some_and(|o| o == "success");
                    durable.answer = found(&body, "answer").filter(|_| is_over).cloned();
                }
                _ => {}
            }
        }
        let open = "SELECT count(*) FROM open_intents";
        durable.open_intents = world.sql(open)?[0][0].parse()?;
        Ok(durable)
    }

    /// The iteration of the first call that is not observed; behind them, the next one.
    pub(crate) fn goes_on_at(&self) -> u32 {
        let unseen = self.turns.iter().find(|(n, calls)| {
            let calls = calls.as_array().map_or(0, Vec::len);
            (0..calls).any(|i| !self.observed.contains_key(&(**n, i as u32)))
        });
        match unseen {
            Some((n, _)) => *n,
            None => self.turns.len() as u32 + 1,
        }
    }

    /// That all of it is still there, as it was.
    pub(crate) fn is_kept_by(&self, later: &Durable) -> anyhow::Result<()> {
        for (at, seen) in &self.observed {
            let now = later.observed.get(at);
            ensure!(now == Some(seen), "{at:?}: {seen:?} became {now:?}");
        }
        for (n, calls) in &self.turns {
            let now = later.turns.get(n);
            ensure!(now == Some(calls), "turn {n}: {calls} became {now:?}");
        }
        Ok(())
    }
}

/// A field of an event, however the codec wraps it.
fn found<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    let object = body.as_object()?;
    object
        .get(name)
        .or_else(|| object.values().find_map(|inner| found(inner, name)))
}

/// What the agent saw and did, without what requirement 21 lets differ between a run that was
/// killed and one that was not: times, dispositions, attempts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transcript {
    turns: BTreeMap<u32, Value>,
    observed: BTreeMap<(u32, u32), Value>,
    answer: Value,
}

impl Transcript {
    /// Of a session that is over.
    fn of(world: &World, tool: Tool) -> anyhow::Result<Transcript> {
        let durable = Durable::of(world)?;
        let observed = durable.observed.iter().map(|(at, (row, body))| {
            let mut result = found(body, "result").cloned().unwrap_or_default();
            // An act that was taken back and done anew has another number, and rightly.
            if tool.far == FarSide::Undone {
                forget(&mut result, "act_id");
            }
            // Tool, digest of the arguments, key.
            (*at, json!([row[0], row[1], row[2], result]))
        });
        Ok(Transcript {
            observed: observed.collect(),
            answer: durable.answer.context("the session is not over")?,
            turns: durable.turns,
        })
    }
}

fn forget(value: &mut Value, name: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(name);
        object.values_mut().for_each(|inner| forget(inner, name));
    }
}

/// The transcript of a run that nobody kills.
fn unkilled(tool: Tool, scene: Scene) -> anyhow::Result<Transcript> {
    type Slot = Arc<OnceLock<Result<Transcript, String>>>;
    static KNOWN: Mutex<BTreeMap<(&str, Scene), Slot>> = Mutex::new(BTreeMap::new());
    // Slow and Write differ in what the far side does, and not in what the agent sees.
    let scene = match scene {
        Scene::Slow => Scene::Write,
        other => other,
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = known.entry((tool.name, scene)).or_default().clone();
    drop(known);
    let run = || -> anyhow::Result<Transcript> {
        let world = scene.world(tool)?;
        let args = scene.begin(&world)?;
        let ended = world.host(&args)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Transcript::of(&world, tool)
    };
    let made = slot.get_or_init(|| run().map_err(|e| format!("{e:#}")));
    made.clone().map_err(anyhow::Error::msg)
}

/// Kills the host at `at`, once more at `again` while it recovers, and lets it finish.
pub(crate) fn check(tool: Tool, scene: Scene, at: &str, again: Option<&str>) -> anyhow::Result<()> {
    checked(tool, scene, at, again).map(drop)
}

/// The same, and gives the world as it is then.
pub(crate) fn checked(
    tool: Tool,
    scene: Scene,
    at: &str,
    again: Option<&str>,
) -> anyhow::Result<World> {
    let expected = unkilled(tool, scene).context("the run that nobody kills")?;
    let world = scene.world(tool)?;
    let first = scene.begin(&world)?;
    if scene == Scene::Slow {
        world.far.misbehave("hold_answer", 1, HOLD_MS)?;
    }
    world.host_dies(&first, at)?;
    check_state(&world)?;
    let mut durable = Durable::of(&world)?;
    if let Some(again) = again {
        let args = go_on_args(&durable);
        world.host_dies(&args, again).context("killed again")?;
        check_state(&world).context("killed again")?;
        let later = Durable::of(&world)?;
        durable.is_kept_by(&later).context("killed again")?;
        durable = later;
    }
    finish(&world, tool, &durable, again.is_some())?;
    durable.is_kept_by(&Durable::of(&world)?)?;
    check_effects(&world, tool, scene.acts())?;
    let transcript = Transcript::of(&world, tool)?;
    ensure!(
        transcript == expected,
        "it differs from a run that nobody killed:\n{transcript:?}\n{expected:?}"
    );
    check_state(&world)?;
    check_traces(&world)?;
    match durable.answer {
        // Nobody takes the session up again, so nobody adds to the file what it lacks.
        Some(_) => check_spans_of(&world, spans_of_journal(&world)?, scene.acts().len())?,
        None => check_spans(&world, scene.acts().len())?,
    }
    Ok(world)
}

/// What the tools keep is what the events say, whoever died when.
fn check_state(world: &World) -> anyhow::Result<()> {
    let events = world.sql(
        "SELECT coalesce(body, (SELECT body FROM payloads WHERE digest = payload))
         FROM events WHERE kind IN ('observed', 'undone') ORDER BY id",
    )?;
    let mut told = BTreeMap::new();
    for row in events {
        let body: Value = serde_json::from_str(&row[0])?;
        for write in found(&body, "state")
            .and_then(Value::as_array)
            .unwrap_or(&vec![])
        {
            let key = write["key"].as_str().context("a key")?.to_owned();
            match write["value"].as_str() {
                Some(value) => drop(told.insert(key, value.to_owned())),
                None => drop(told.remove(&key)),
            }
        }
    }
    let kept = kept(world)?;
    ensure!(kept == told, "{kept:?} is kept, and told is {told:?}");
    Ok(())
}

/// What is kept, by key.
pub(crate) fn kept(world: &World) -> anyhow::Result<BTreeMap<String, String>> {
    let rows =
        world.sql("SELECT key, CAST(value AS TEXT) FROM tool_state WHERE tenant_id = 'acme'")?;
    let pair = |row: Vec<String>| (row[0].clone(), row[1].clone());
    Ok(rows.into_iter().map(pair).collect())
}

/// The trace store has the spans of the journal, each once, and nothing open, whoever wrote them.
fn check_traces(world: &World) -> anyhow::Result<()> {
    let traces = TraceDb::open(&world.data_dir().join("traces.db"))?;
    let traces = Arc::new(traces);
    let journal = SqliteStore::open_to_read(&world.data_dir().join("journal.db"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bodies = runtime.block_on(async {
        // A host that died behind the answer has left the end of it to whoever looks.
        let mut projector = Projector::new(Arc::new(journal), traces.clone(), Bounds::default());
        projector.catch_up().await?;
        anyhow::Ok(traces.spans(Scope::Session("s")).await?)
    })?;
    let read = |body: &String| serde_json::from_str(body);
    let mut there: Vec<Value> = bodies.iter().map(read).collect::<Result<_, _>>()?;
    let mut expected = spans_of_journal(world)?;
    for spans in [&mut there, &mut expected] {
        spans.sort_by_key(|s| s["span_id"].to_string());
    }
    ensure!(
        there == expected,
        "traces.db has\n{there:?}\nand not\n{expected:?}"
    );
    Ok(())
}

/// The spans as the journal gives them, whatever the file has.
fn spans_of_journal(world: &World) -> anyhow::Result<Vec<Value>> {
    let store = SqliteStore::open_to_read(&world.data_dir().join("journal.db"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let loaded = runtime.block_on(load(&store, &SessionId::new("s")?))?;
    let (records, _) = loaded.context("the session")?;
    let spans = stoplog_telemetry::spans(&records)?;
    Ok(spans.iter().map(|span| json!(span)).collect())
}

/// The resume that nobody kills, up to the session's answer.
fn finish(world: &World, tool: Tool, dead: &Durable, killed_again: bool) -> anyhow::Result<()> {
    let resumed = world.host(&go_on_args(dead))?;
    if dead.answer.is_some() {
        // It had given its answer before it died: there is nothing to go on with.
        ensure!(resumed.stderr.contains("session_ended"), "{resumed:?}");
        return Ok(());
    }
    if dead.events > 0 {
        let at = dead.goes_on_at();
        ensure!(
            resumed.json["at_iteration"] == at,
            "not at {at}: {resumed:?}"
        );
        let after_crash = &resumed.json["after_crash"];
        ensure!(*after_crash == dead.run_is_open, "{resumed:?}");
    }
    let in_doubt = dead.open_intents > 0;
    let ended = match resumed.code {
        Some(3) => {
            ensure!(may_park(tool, in_doubt, killed_again), "{resumed:?}");
            resolve_and_finish(world, tool, &resumed)?
        }
        _ => {
            ensure!(!must_park(tool, in_doubt), "not parked: {resumed:?}");
            resumed
        }
    };
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

/// A session that was never begun is begun again; else it is resumed.
fn go_on_args(durable: &Durable) -> Vec<&'static str> {
    match durable.events {
        0 => World::run_args().to_vec(),
        _ => vec!["resume", "s"],
    }
}

/// A doubt that nobody can clear up goes to a person, and must not be acted on.
fn must_park(tool: Tool, in_doubt: bool) -> bool {
    tool.far == FarSide::Neither && in_doubt
}

/// An undo that died as well may not be repeated on a guess. Where the far side keeps keys or can
/// be asked, nothing parks.
fn may_park(tool: Tool, in_doubt: bool, killed_again: bool) -> bool {
    must_park(tool, in_doubt) || (tool.far == FarSide::Undone && in_doubt && killed_again)
}

/// A person looks at the far side, decides, and the session goes on to its answer.
fn resolve_and_finish(world: &World, tool: Tool, resumed: &Said) -> anyhow::Result<Said> {
    let reason = &resumed.json["reason"];
    ensure!(reason == "doubt_unresolvable", "{resumed:?}");
    let parked = world.host(&["parked", "list"])?;
    ensure!(parked.json[0]["reason"] == *reason, "{parked:?}");
    let id = parked.json[0]["id"].as_str().context("an id")?;
    let requests = world.far.counts("requests")?;
    let again = world.host(&["resume", "s"])?;
    ensure!(again.code == Some(3), "it does not wait: {again:?}");
    ensure!(
        world.far.counts("requests")? == requests,
        "a parked call was sent"
    );
    // The act that is parked is the last one that was asked for.
    let turns = Durable::of(world)?.turns;
    let calls = turns.values().last().context("a turn")?;
    let name = found(&calls[0], "name").and_then(Value::as_str);
    let path = format!("/acts/by-key/{}", tool.key(name.context("a name")?));
    let ledger = world.far.ask("GET", &path, None)?;
    let output = ledger["acts"].get(0).map(|act| {
        let output = json!({"act_id": act["act_id"]});
        output.to_string()
    });
    let mut args = vec!["parked", "resolve", id, "--by", "Meera", "--as"];
    match &output {
        Some(output) => args.extend(["done", "--output", output]),
        None => args.push("not-done"),
    }
    let resolved = world.host(&args)?;
    ensure!(resolved.code == Some(0), "{resolved:?}");
    world.host(&["resume", "s"])
}

/// Each act is in force once, was done once unless it can be undone, and went out under its key
/// alone.
pub(crate) fn check_effects(world: &World, tool: Tool, acts: &[&str]) -> anyhow::Result<()> {
    let keys: Vec<String> = acts.iter().map(|act| tool.key(act)).collect();
    for key in &keys {
        let in_force = world.far.acts_in_force(key)?;
        ensure!(in_force == 1, "{key} is in force {in_force} times");
    }
    let sent = world.far.keys("/acts")?;
    ensure!(
        sent.iter().all(|k| keys.contains(k)),
        "other keys: {sent:?}"
    );
    if tool.far != FarSide::Undone {
        let done = world.far.acts_done()?;
        ensure!(done == acts.len() as u64, "done {done} times");
    }
    let open = world.sql("SELECT * FROM open_intents")?;
    ensure!(open.is_empty(), "an intent is left open: {open:?}");
    Ok(())
}

/// Every span has its tags, no id is there twice, each trace has one root, and each effect one
/// span of its own.
pub(crate) fn check_spans(world: &World, effects: usize) -> anyhow::Result<()> {
    check_spans_of(world, world.spans()?, effects)
}

fn check_spans_of(world: &World, spans: Vec<Value>, effects: usize) -> anyhow::Result<()> {
    let mut ids = std::collections::BTreeSet::new();
    for span in &spans {
        for tag in [
            "trace_id",
            "tenant_id",
            "session_id",
            "feature",
            "span_kind",
        ] {
            ensure!(span[tag].is_string(), "{tag} is missing: {span}");
        }
        ensure!(span["timestamp_ms"].as_u64() > Some(0), "no time: {span}");
        ensure!(ids.insert(span["span_id"].to_string()), "twice: {span}");
    }
    let own = |s: &&Value| {
        s["span_kind"] == "tool_call"
            && s["blast_radius_class"].as_u64() >= Some(2)
            && s["disposition"] != "replayed"
            && s["disposition"] != "in_doubt"
    };
    let told = spans.iter().filter(own).count();
    ensure!(told == effects, "{effects} effects have {told} spans");
    let runs = world.sql("SELECT count(*) FROM events WHERE kind = 'run_started'")?;
    let roots = spans
        .iter()
        .filter(|s| s["parent_span_id"].is_null())
        .count();
    ensure!(
        runs[0][0] == roots.to_string(),
        "{roots} roots for {} runs",
        runs[0][0]
    );
    Ok(())
}
