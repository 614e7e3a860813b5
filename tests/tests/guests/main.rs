//! Guests that want out, each run by a real host and expected by name and reason.
//!
//! Beside each bad call, in the same turn, stands a good one: the host must serve it. What no
//! compiler of tools makes is in `refused`; memory and neighbours are in `tests/guest_cost.rs`.

mod refused;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{World, bins};

/// What the model is told of a bad call.
enum Told {
    /// This output.
    Output(Value),
    /// An error with this reason, or this code where the tool itself gave it, and this in its
    /// message.
    Error(&'static str, &'static str),
}
use Told::{Error, Output};

/// Runs one bad call for each case, each beside a good one, and checks what is told of both. Comes
/// back with what the far side did: nothing, as a rule.
fn check(guest: &str, cases: &[(&str, Told)]) -> anyhow::Result<World> {
    let world = World::new(bins!(), &[guest, "lookup"])?;
    let turns: Vec<Vec<(&str, &str)>> = cases
        .iter()
        .map(|(name, _)| vec![(guest, *name), ("lookup", "good")])
        .collect();
    let turns: Vec<&[(&str, &str)]> = turns.iter().map(Vec::as_slice).collect();
    world.script(&turns)?;
    let run = world.host(&World::run_args())?;
    ensure!(run.code == Some(0), "{guest}: {run:?}");
    let seen = observed(&world)?;
    ensure!(seen.len() == 2 * cases.len(), "{guest}: {seen:?}");
    for (pair, (name, told)) in seen.chunks(2).zip(cases) {
        let bad = &pair[0]["result"];
        match told {
            Output(output) => ensure!(bad["ok"] == *output, "{guest} {name}: {bad}"),
            Error(code, says) => {
                let error = &bad["err"];
                let is_it = error["reason"] == *code || error["code"] == *code;
                let message = error["message"].as_str().unwrap_or_default();
                ensure!(is_it && message.contains(says), "{guest} {name}: {bad}");
            }
        }
        let good = &pair[1]["result"]["ok"];
        ensure!(
            *good == json!({"count": 0}),
            "beside {guest} {name}: {good}"
        );
    }
    Ok(world)
}

/// What was observed, in the order of the turns.
fn observed(world: &World) -> anyhow::Result<Vec<Value>> {
    let rows = world.sql(
        "SELECT coalesce(e.body, p.body) FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE kind = 'observed' ORDER BY iteration, ordinal",
    )?;
    rows.iter()
        .map(|row| Ok(serde_json::from_str(&row[0])?))
        .collect()
}

/// The same, and no request that changes something has reached the far side.
fn changes_nothing(guest: &str, cases: &[(&str, Told)]) -> anyhow::Result<()> {
    let world = check(guest, cases)?;
    let keys = world.far.keys("/acts")?;
    ensure!(keys.is_empty(), "{guest} got through with {keys:?}");
    ensure!(world.far.acts_done()? == 0, "{guest} did something");
    Ok(())
}

#[test]
fn time_is_bounded_wherever_a_guest_spends_it() -> anyhow::Result<()> {
    changes_nothing("spinner", &[("x", Error("sandbox_timeout", "10000 ms"))])?;
    changes_nothing("sleeper", &[("x", Error("sandbox_timeout", "500 ms"))])
}

#[test]
fn what_grows_in_the_guest_is_bounded() -> anyhow::Result<()> {
    // The stack of a Rust guest is its own memory, whose end it meets first; that of WebAssembly is
    // bounded too (`limits_have_names` in host/sandbox).
    changes_nothing("recurser", &[("x", Error("sandbox_trap", "out of bounds"))])?;
    changes_nothing("glutton", &[("x", Error("sandbox_limit", "memory"))])?;
    let resources = || Error("sandbox_limit", "resources");
    let lent = Error("sandbox_limit", "handles");
    changes_nothing("handle_hoarder", &[("x", resources()), ("poll", lent)])?;
    changes_nothing("header_hoarder", &[("x", resources())])?;
    changes_nothing("body_hoarder", &[("x", resources())])
}

#[test]
fn what_a_guest_makes_the_host_allocate_is_bounded() -> anyhow::Result<()> {
    let passed = || Error("sandbox_limit", "host call");
    let shouts = ["log", "progress", "annotation", "request"].map(|way| (way, passed()));
    changes_nothing("shouter", &shouts)?;
    let drawn = || Error("sandbox_limit", "random bytes");
    changes_nothing("random_glutton", &[("x", drawn()), ("insecure", drawn())])?;
    changes_nothing("talker", &[("x", passed()), ("error", passed())])?;
    changes_nothing("babbler", &[("x", Error("sandbox_limit", "output"))])
}

#[test]
fn annotations_are_few_and_short_and_steer_no_terminal() -> anyhow::Result<()> {
    let world = check("annotator", &[("x", Output(json!({"zero": 0})))])?;
    let spans = world.spans()?;
    let of_guest = |s: &&Value| s["tool_name"] == "annotator" && s["span_kind"] == "tool_call";
    let span = spans.iter().find(of_guest).context("a span")?;
    // Which of them may be seen its schema does not say: so none, and only how many there were.
    let hidden = |s: &Value| s["annotations"]["[undecided]"].as_u64().unwrap_or(0);
    let parts: Vec<&Value> = spans
        .iter()
        .filter(|s| s["span_kind"] == "tool_span")
        .collect();
    ensure!(parts.len() == 32, "{} spans", parts.len());
    ensure!(parts.iter().all(|s| s["name"] == "[undecided]"));
    let all = hidden(span) + parts.iter().map(|s| hidden(s)).sum::<u64>();
    ensure!(all == 32, "{all} annotations");
    ensure!(
        span.to_string().len() < 256 * 1024,
        "a span of {} bytes",
        span.to_string().len()
    );
    let file = fs::read_to_string(world.data_dir().join("spans.jsonl"))?;
    ensure!(!file.contains('\u{1b}'), "an escape in the spans");
    Ok(())
}

/// Its state is small, its own, and the only one there is.
#[test]
fn who_hoards_state_is_stopped() -> anyhow::Result<()> {
    let got = |got: u32, told: &str| Output(json!({"got": got, "told": told}));
    let limit = |n: u32| got(n, "state_limit");
    let passed = Error("sandbox_limit", "host call");
    changes_nothing(
        "state_hoarder",
        &[
            ("value", limit(0)),
            ("long_key", limit(0)),
            ("no_key", limit(0)),
            ("looks", limit(1_000)),
            ("bytes", limit(4)),
            ("shouts", passed),
            ("others", got(0, "no-such-store")),
            ("buckets", Error("sandbox_limit", "resources")),
        ],
    )?;
    // Ten calls of a hundred keys fill it, and the eleventh gets nothing in.
    let names: Vec<String> = (0..11).map(|n| format!("keys {n:02}")).collect();
    let full = |n: usize| if n < 10 { limit(100) } else { limit(0) };
    let filled = names.iter().enumerate();
    let mut cases: Vec<(&str, Told)> = filled.map(|(n, name)| (name.as_str(), full(n))).collect();
    cases.push(("lists", got(1_000, "")));
    changes_nothing("state_hoarder", &cases)
}

#[test]
fn a_crawler_is_stopped() -> anyhow::Result<()> {
    changes_nothing("crawler", &[("x", Output(json!({"answers": 64})))])
}

#[test]
fn traps_are_told_and_nothing_else_happens() -> anyhow::Result<()> {
    changes_nothing("trapper", &[("x", Error("sandbox_trap", ""))])?;
    changes_nothing("posting_reader", &[("x", Error("permission", ""))])
}

#[test]
fn a_permit_cannot_be_kept_dropped_for_profit_or_forged() -> anyhow::Result<()> {
    let nothing = || Error("internal", "nothing was done");
    changes_nothing(
        "permit_thief",
        &[
            ("holds", nothing()),
            ("drops", nothing()),
            ("keeps", nothing()),
            // If one outlived its call, this would say so.
            ("keeps_again", Error("sandbox_trap", "handle")),
            ("forges", Error("sandbox_trap", "handle")),
        ],
    )?;
    changes_nothing(
        "double_splitter",
        &[("x", Error("sandbox_trap", "used before"))],
    )
}

/// Every way to say to two servers two different things, or to take what belongs to the host.
#[test]
fn requests_cannot_be_forged() -> anyhow::Result<()> {
    let denied = |says| Error("permission", says);
    let mut cases: Vec<(&str, Told)> = ["injection", "name_injection", "length", "chunked"]
        .into_iter()
        .chain(["host", "override"])
        .map(|name| (name, denied("header_reserved")))
        .collect();
    cases.push(("user_info", denied("url_invalid")));
    cases.push(("connect", denied("method_refused")));
    cases.push(("many", denied("request_limit")));
    // A client of `wasi:http` gets its own interface's words for it.
    cases.extend([
        ("plain_injection", denied("the header x-a")),
        ("plain_length", denied("the body")),
        ("plain_chunked", denied("the header transfer-encoding")),
        ("plain_host", denied("the header host")),
        ("plain_key", denied("HttpRequestDenied")),
        ("plain_user_info", denied("plain: ")),
        ("plain_connect", denied("HttpRequestDenied")),
        ("plain_many", Error("sandbox_limit", "headers")),
    ]);
    changes_nothing("header_forger", &cases)
}

/// The request of a guest that did not wait for it is not cut off at an unknown point: it did not
/// leave at all, or its outcome is recorded.
#[test]
fn who_performs_when_its_call_has_ended_leaves_no_doubt() -> anyhow::Result<()> {
    let world = check("late_poster", &[("x", Output(json!({"begun": true})))])?;
    let arrived = world.far.keys("/acts")?.len();
    let count = |kind: &str| -> anyhow::Result<usize> {
        let query = format!("SELECT count(*) FROM events WHERE kind = '{kind}'");
        Ok(world.sql(&query)?[0][0].parse()?)
    };
    let (intents, outcomes) = (count("intent_recorded")?, count("outcome_recorded")?);
    ensure!(
        arrived <= 1 && intents == arrived && outcomes == arrived,
        "{arrived} arrived, {intents} intents, {outcomes} outcomes"
    );
    ensure!(world.sql("SELECT * FROM open_intents")?.is_empty());
    Ok(())
}

/// The far side is at it when the guest traps. The request is not cut off: the act is done once, and
/// its outcome is recorded. What the guest would have said is found by its probe, or a person is
/// asked; the model is told of no failure.
#[test]
fn who_traps_in_the_middle_of_an_effect_does_not_cut_it_off() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["late_poster"])?;
    world.script(&[&[("late_poster", "traps")]])?;
    world.far.misbehave("delay_before", 1, 4_000)?;
    let run = world.host(&World::run_args())?;
    ensure!(matches!(run.code, Some(0 | 3)), "{run:?}");
    let seen = observed(&world)?;
    ensure!(
        seen.iter().all(|s| s["result"]["err"].is_null()),
        "{seen:?}"
    );
    let keys = world.far.keys("/acts")?;
    ensure!(
        !keys.is_empty() && keys.iter().all(|k| k == &keys[0]),
        "{keys:?}"
    );
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    ensure!(world.sql("SELECT * FROM open_intents")?.is_empty());
    Ok(())
}

/// The rerun behind a crash asks for another path: parked, and the second is never sent.
#[test]
fn who_asks_for_something_else_behind_a_crash_is_parked() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["fickle"])?;
    world.script(&[&[("fickle", "x")]])?;
    world.host_dies(&World::run_args(), "answer_received:after:1")?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(3), "{resumed:?}");
    ensure!(resumed.json["reason"] == "nondeterministic", "{resumed:?}");
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    Ok(())
}

#[test]
fn no_clock_tells_how_long_something_took() -> anyhow::Result<()> {
    changes_nothing("clock_watcher", &[("x", Output(json!({"elapsed_ns": 0})))])
}

/// Two tenants, one after the other on one host, and one twice: none finds what another left.
#[test]
fn tenants_find_nothing_of_each_other() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["snoop"])?;
    world.script(&[&[("snoop", "x"), ("snoop", "y")]])?;
    for (tenant, session) in [("acme", "one"), ("globex", "two")] {
        let args = ["run", "--tenant", tenant, "--session", session, "look"];
        let run = world.host(&args)?;
        ensure!(run.code == Some(0), "{run:?}");
        let rows = world.sql(&format!(
            "SELECT coalesce(e.body, p.body) FROM events e
             LEFT JOIN payloads p ON p.digest = e.payload
             WHERE kind = 'observed' AND session_id = '{session}'"
        ))?;
        ensure!(rows.len() == 2, "{rows:?}");
        for row in rows {
            let event: Value = serde_json::from_str(&row[0])?;
            let expected = json!({"earlier_calls": 0, "dirty_words": 0, "tenant": tenant});
            ensure!(event["result"]["ok"] == expected, "{event}");
        }
    }
    Ok(())
}

/// A guest that no test names would be believed to be tested.
#[test]
fn every_guest_is_named_by_a_test() -> anyhow::Result<()> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(package.join("guests/Cargo.toml"))?;
    let members = manifest
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .context("members")?
        .0;
    let mut sources = String::new();
    // Without the kit, which lists what it can load, used or not.
    for folder in ["tests", "src/soak", "bench/src"] {
        read_all(&package.join(folder), &mut sources)?;
    }
    for guest in members.split(',').map(|m| m.trim().trim_matches('"')) {
        // `far` is the library that the others share.
        let is_known = guest.is_empty() || guest == "far";
        let is_named = sources.contains(&format!("\"{guest}\""));
        ensure!(is_known || is_named, "no test names the guest `{guest}`");
    }
    Ok(())
}

fn read_all(folder: &Path, text: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, text)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
