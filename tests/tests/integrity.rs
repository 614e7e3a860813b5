//! Whether the journal is what was written, at the level of commands: verify, export, prune, old
//! and newer journals, and flipped bytes.
//!
//! Invariants: looking changes no byte; a resume after damage does what the unharmed one would
//! have done, or is refused with a reason; an act of a pruned session is not done again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{World, bins, fails, said, wait_for, works};

fn run_args(session: &str) -> [&str; 6] {
    ["run", "--tenant", "acme", "--session", session, "do it"]
}

/// The bytes of the journal's files.
fn files(world: &World) -> Vec<Option<Vec<u8>>> {
    ["journal.db", "journal.db-wal"]
        .map(|name| fs::read(world.data_dir().join(name)).ok())
        .to_vec()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/format-1.db")
}

/// A journal with a session that is over, and one that was killed in the middle of a write.
fn harmed_world() -> anyhow::Result<World> {
    let world = World::new(bins!(), &["lookup", "keyed"])?;
    world.script(&[&[("lookup", "a")], &[("keyed", "a")]])?;
    works(world.host(&run_args("over"))?)?;
    world.script(&[&[("lookup", "x")], &[("keyed", "x")]])?;
    world.host_dies(&World::run_args(), "request_sent:after:1")?;
    Ok(world)
}

#[test]
fn verify_looks_and_changes_nothing() -> anyhow::Result<()> {
    let world = harmed_world()?;
    let before = files(&world);
    ensure!(before.iter().all(Option::is_some), "the log is there");
    let found = works(world.host(&["verify"])?)?;
    works(world.host(&["sessions", "list"])?)?;
    ensure!(files(&world) == before, "a look has changed a file");
    ensure!(found["sound"] == true && found["chain"] == true, "{found}");
    ensure!(found["sessions"] == 2, "{found}");
    let events = world.sql("SELECT count(*) FROM events")?;
    let events: u64 = events[0][0].parse()?;
    ensure!(found["events"] == events, "{found}");
    let one = works(world.host(&["verify", "--session", "s"])?)?;
    let link = one["last_link"].as_str().context("a link")?;
    let stored = world.sql("SELECT lower(hex(chain)) FROM sessions WHERE session_id = 's'")?;
    ensure!(link == stored[0][0], "{one}");
    fails(
        &world.host(&["verify", "--session", "nobody"])?,
        5,
        "session_not_found",
    )?;
    Ok(())
}

/// Each change is made by hand in a sound journal; verify names the session and the row.
#[test]
fn verify_names_what_was_changed() -> anyhow::Result<()> {
    let world = harmed_world()?;
    works(world.host(&["verify"])?)?;
    let journal = world.data_dir().join("journal.db");
    world.sql("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let good = fs::read(&journal)?;
    let changes = [
        (
            "UPDATE events SET body = replace(body, 'lookup', 'keyed') WHERE session_id = 'over' AND seq = 3",
            ("over", json!(3), "turn_taken"),
        ),
        (
            "DELETE FROM events WHERE session_id = 'over' AND seq = 5",
            ("over", json!(6), ""),
        ),
        (
            "UPDATE sessions SET status = 'active' WHERE session_id = 'over'",
            ("over", Value::Null, "session"),
        ),
        (
            "DELETE FROM open_intents",
            ("s", Value::Null, "open_intent"),
        ),
        (
            "DELETE FROM act_keys WHERE session_id = 'over'",
            ("over", Value::Null, "act_key"),
        ),
    ];
    for (sql, (session, seq, kind)) in changes {
        fs::write(&journal, &good)?;
        let _ = fs::remove_file(world.data_dir().join("journal.db-wal"));
        let _ = fs::remove_file(world.data_dir().join("journal.db-shm"));
        world.sql(sql)?;
        let found = world.host(&["verify"])?;
        let message = fails(&found, 5, "journal_corrupt")?;
        ensure!(message.contains(session), "{sql}: {message}");
        let flaws = found.json["broken"].as_array().context("flaws")?;
        ensure!(flaws.len() == 1, "the other session is sound: {flaws:?}");
        let flaw = &flaws[0];
        ensure!(
            flaw["session"] == session && flaw["seq"] == seq,
            "{sql}: {flaw}"
        );
        ensure!(kind.is_empty() || flaw["kind"] == kind, "{sql}: {flaw}");
    }
    Ok(())
}

#[test]
fn an_export_stands_for_itself() -> anyhow::Result<()> {
    let world = harmed_world()?;
    let out = world.path().join("s.jsonl");
    let path = out.to_string_lossy().into_owned();
    let exported = world.host(&["export", "--session", "s", "--out", &path])?;
    ensure!(exported.stderr.contains("personal data"), "{exported:?}");
    let exported = works(exported)?;
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&out)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "mode {mode:o}");
    let checked = works(world.host(&["verify", &path])?)?;
    ensure!(checked["session"] == "s" && checked["tenant"] == "acme");
    ensure!(checked["events"] == exported["events"], "{checked}");
    let link = &works(world.host(&["verify", "--session", "s"])?)?["last_link"];
    ensure!(checked["last_link"] == *link && link.is_string(), "{link}");

    let good = fs::read(&out)?;
    for at in (0..good.len()).step_by(good.len() / 12) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x04;
        fs::write(&out, bytes)?;
        let message = fails(&world.host(&["verify", &path])?, 5, "export_broken")?;
        ensure!(message.contains("line "), "{message}");
    }
    fails(
        &world.host(&["verify", "no-such-file"])?,
        5,
        "export_broken",
    )?;
    fails(
        &world.host(&["export", "--session", "nobody", "--out", &path])?,
        5,
        "session_not_found",
    )?;
    Ok(())
}

#[test]
fn a_pruned_act_of_class_4_is_still_done_once() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["paid"])?;
    world.script(&[&[("paid", "x")]])?;
    let waits = world.host(&run_args("one"))?;
    let id = waits.json["approval"].as_str().context("an approval")?;
    works(world.host(&["approvals", "approve", id, "--by", "Meera"])?)?;
    works(world.host(&["resume", "one"])?)?;
    ensure!(world.far.acts_done()? == 1);

    let dry = works(world.host(&["prune", "--older-than", "0s", "--dry-run"])?)?;
    ensure!(dry["sessions"] == 1 && dry["keys"] == 0, "{dry}");
    ensure!(world.sql("SELECT * FROM sessions")?.len() == 1);
    let kept = works(world.host(&["prune", "--older-than", "0s", "--keep-latest", "1"])?)?;
    ensure!(kept["sessions"] == 0, "{kept}");
    let young = works(world.host(&["prune"])?)?;
    ensure!(young["sessions"] == 0, "30 days are not over: {young}");
    let pruned = works(world.host(&["prune", "--older-than", "0s"])?)?;
    ensure!(pruned["sessions"] == 1, "{pruned}");
    ensure!(pruned["events"] == dry["events"] && pruned["keys"] == 0);
    ensure!(world.sql("SELECT * FROM events")?.is_empty());

    // Another session, and one that takes the name of the pruned one.
    for session in ["two", "one"] {
        let run = works(world.host(&run_args(session))?)?;
        ensure!(run["outcome"] == "success", "{run}");
        let told = world.sql(&format!(
            "SELECT body FROM events WHERE session_id = '{session}' AND kind = 'observed'"
        ))?;
        let observed: Value = serde_json::from_str(&told[0][0])?;
        let text = observed.to_string();
        ensure!(text.contains("\"deduplicated\""), "{session}: {observed}");
        ensure!(text.contains("act_1"), "the stored result: {observed}");
        ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    }
    let sound = works(world.host(&["verify"])?)?;
    ensure!(sound["keys"] == 1, "{sound}");
    Ok(())
}

#[test]
fn a_pruned_act_with_other_arguments_is_a_conflict() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["issue_refund"])?;
    world.write_config("[tools.issue_refund]\nclear_when = [\"amount_inr <= 50000\"]\n")?;
    let refund = |amount: u64| {
        let arguments = json!({"order_id": "448100", "amount_inr": amount, "reason": "delay"});
        vec![json!({"tool": "issue_refund", "arguments": arguments})]
    };
    world.script_calls(&[refund(6400)])?;
    works(world.host(&run_args("one"))?)?;
    let pruned = works(world.host(&["prune", "--older-than", "0s"])?)?;
    ensure!(pruned["sessions"] == 1, "{pruned}");
    world.script_calls(&[refund(100)])?;
    works(world.host(&run_args("two"))?)?;
    let told = world.sql("SELECT body FROM events WHERE kind = 'observed'")?;
    ensure!(told[0][0].contains("key_conflict"), "{told:?}");
    ensure!(world.far.keys("/refunds")?.len() == 1);
    Ok(())
}

/// A host is held at the far side: what it works on stays, and what is over goes.
#[test]
fn pruning_beside_a_host_leaves_its_session_alone() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup", "keyed"])?;
    world.script(&[&[("lookup", "a")]])?;
    for session in ["one", "two"] {
        works(world.host(&run_args(session))?)?;
    }
    world.script(&[&[("keyed", "x")]])?;
    world.far.misbehave("hold_answer", 1, 4_000)?;
    let host = world.command(&World::run_args()).spawn()?;
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let found = works(world.host(&["verify"])?)?;
    ensure!(found["sessions"] == 3, "beside a host: {found}");
    let pruned = works(world.host(&["prune", "--older-than", "0s"])?)?;
    ensure!(pruned["sessions"] == 2, "{pruned}");
    let left = world.sql("SELECT session_id, status FROM sessions")?;
    ensure!(left == [["s", "active"]], "{left:?}");
    let host = said(host.wait_with_output()?)?;
    ensure!(host.code == Some(0), "{host:?}");
    ensure!(world.far.acts_done()? == 1);
    works(world.host(&["verify"])?)?;
    Ok(())
}

/// Killed at each kind of stage, and after the resume: verify finds nothing that recovery itself
/// would not say.
#[test]
fn a_killed_journal_is_sound() -> anyhow::Result<()> {
    for stage in [
        "turn_taken:after:2",
        "intent_durable:after:1",
        "answer_received:after:1",
        "observation_durable:before:2",
        "observation_durable:after:2",
    ] {
        for tool in ["keyed", "neither", "undoable"] {
            let world = World::new(bins!(), &["lookup", tool])?;
            world.script(&[&[("lookup", "x")], &[(tool, "x")]])?;
            world.host_dies(&World::run_args(), stage)?;
            works(world.host(&["verify"])?).with_context(|| format!("{tool} {stage}"))?;
            let resumed = world.host(&["resume", "s"])?;
            ensure!(matches!(resumed.code, Some(0 | 3)), "{resumed:?}");
            works(world.host(&["verify"])?).with_context(|| format!("{tool} {stage}"))?;
            if resumed.code == Some(3) {
                let resolve = [
                    "parked", "resolve", "s/2.0", "--as", "not-done", "--by", "Meera",
                ];
                works(world.host(&resolve)?)?;
                works(world.host(&["verify"])?).with_context(|| format!("{tool} {stage}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_journal_of_format_1_is_read_verified_and_brought_up_to_date() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    fs::copy(golden(), world.data_dir().join("journal.db"))?;
    let before = fs::read(golden())?;
    let listed = works(world.host(&["sessions", "list"])?)?;
    let names: Vec<&str> = listed
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|s| s["session"].as_str())
        .collect();
    ensure!(names == ["sess_suresh", "sess_88"], "{names:?}");
    let spans = works(world.host(&["trace", "show", "sess_88"])?)?;
    ensure!(spans.as_array().is_some_and(|s| s.len() > 5), "{spans}");
    let found = works(world.host(&["verify"])?)?;
    ensure!(found["chain"] == false && found["events"] == 50, "{found}");
    let out = world.path().join("old.jsonl");
    let out = out.to_string_lossy();
    let old = works(world.host(&["export", "--session", "sess_88", "--out", &out])?)?;
    let dry = works(world.host(&["prune", "--dry-run"])?)?;
    ensure!(dry["dry_run"] == true, "{dry}");
    let after = fs::read(world.data_dir().join("journal.db"))?;
    ensure!(after == before, "a look has changed the file");

    fails(&world.host(&["resume", "sess_88"])?, 5, "session_ended")?;
    let found = works(world.host(&["verify"])?)?;
    ensure!(found["chain"] == true && found["keys"] == 4, "{found}");
    let one = works(world.host(&["verify", "--session", "sess_88"])?)?;
    ensure!(one["last_link"] == old["last_link"], "{one} {old}");
    works(world.host(&["verify", &out])?)?;
    Ok(())
}

#[test]
fn a_journal_of_a_newer_version_is_refused() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    world.script(&[&[("lookup", "a")]])?;
    works(world.host(&World::run_args())?)?;
    world.sql("UPDATE meta SET value = '99' WHERE name = 'format'")?;
    for args in [
        &run_args("other")[..],
        &["resume", "s"],
        &["resume", "--all"],
        &["verify"],
        &["export", "--session", "s"],
        &["prune"],
        &["sessions", "list"],
    ] {
        let message = fails(&world.host(args)?, 5, "journal_newer")?;
        ensure!(message.contains("format 99"), "{args:?}: {message}");
    }
    Ok(())
}

/// Bytes of the database that are flipped, spread by a fixed seed.
const FLIPS: usize = 60;

/// A resume after a flipped byte ends as the unharmed one, or is refused with a reason.
#[test]
fn a_flipped_byte_is_never_a_wrong_resume() -> anyhow::Result<()> {
    let world = harmed_world()?;
    let data = world.data_dir();
    let journal = data.join("journal.db");
    world.sql("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let good = fs::read(&journal)?;
    let put = |bytes: &[u8]| -> anyhow::Result<()> {
        for beside in ["journal.db-wal", "journal.db-shm", "spans.jsonl"] {
            let _ = fs::remove_file(data.join(beside));
        }
        Ok(fs::write(&journal, bytes)?)
    };
    put(&good)?;
    let unharmed = works(world.host(&["resume", "s"])?)?;
    let expected = (unharmed["at_iteration"].clone(), history(&world)?);
    let acts = world.far.acts_done()?;

    let mut seed = 0x5707_1060_u64;
    let (mut refused, mut found, mut named) = (0, 0, 0);
    for _ in 0..FLIPS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (seed >> 33) as usize % good.len();
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (seed >> 61);
        put(&bytes)?;
        let verified = world.host(&["verify"])?;
        ensure!(
            matches!(verified.code, Some(0 | 5)),
            "byte {at}: {verified:?}"
        );
        found += usize::from(verified.code == Some(5));
        let flaws = verified.json["broken"].as_array().map_or(0, Vec::len);
        named += usize::from(flaws > 0);
        let resumed = world.host(&["resume", "s"])?;
        let context = || format!("byte {at}: {resumed:?}");
        match resumed.code {
            Some(0) => {
                let ended = (resumed.json["at_iteration"].clone(), history(&world)?);
                ensure!(ended == expected, "{}: {ended:?}", context());
            }
            Some(5) => {
                refused += 1;
                ensure!(resumed.stderr.contains("\"reason\":"), "{}", context());
            }
            _ => anyhow::bail!("{}", context()),
        }
        ensure!(world.far.acts_done()? == acts, "{}", context());
    }
    ensure!(refused > 0 && found >= refused, "{refused} {found} {named}");
    ensure!(named > 0, "{refused} refused, {found} found, {named} named");
    Ok(())
}

/// What the session has seen: tools, digests, keys and results, in order.
fn history(world: &World) -> anyhow::Result<Vec<Vec<String>>> {
    world.sql(
        "SELECT tool, args_digest, key, summary FROM events
         WHERE session_id = 's' AND kind = 'observed' ORDER BY seq",
    )
}
