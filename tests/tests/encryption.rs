//! Encryption at rest, at the level of commands: real kills, missing and wrong keys, rotation, and
//! what becomes of exports, results that are kept, and what tools keep.
//!
//! Invariants: with a key, no byte below the data directory tells what a person asked and the model
//! answered (`redaction.rs` has what tools send and get); without it, nothing is sent, written or half read, and the error names the key.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use rusqlite::{Connection, params};
use serde_json::json;
use stoplog_journal::conformance::chained;
use stoplog_journal::{Cipher, CipherKey, Part, read_one};
use stoplog_model::SessionId;
use stoplog_store::SqliteStore;
use stoplog_tests::{World, bins, fails, said, wait_for, works};

/// What a person asks; in some tests also what the model answers.
const SECRET: &str = "priya@example.com wants her money";

/// Of which the first key is made.
const DIGITS: &str = "1f";

const KEY: &str = "[journal]\nencryption_key = { file = \"journal.key\" }\n";
const ROTATED: &str = "[journal]\nencryption_key = { file = \"new.key\" }\n\
     old_encryption_keys = [{ file = \"journal.key\" }]\n";
const WRONG: &str = "[journal]\nencryption_key = { file = \"new.key\" }\n";

fn key_file(world: &World, name: &str, digits: &str) -> anyhow::Result<()> {
    let path = world.path().join(name);
    fs::write(&path, format!("{}\n", digits.repeat(32)))?;
    Ok(fs::set_permissions(&path, Permissions::from_mode(0o600))?)
}

/// A world whose journal is encrypted, with a second key at hand.
fn encrypted(tools: &[&str]) -> anyhow::Result<World> {
    let world = World::new(bins!(), tools)?;
    key_file(&world, "journal.key", DIGITS)?;
    key_file(&world, "new.key", "2e")?;
    world.write_config(KEY)?;
    Ok(world)
}

fn run_args(session: &str) -> [&str; 6] {
    ["run", "--tenant", "acme", "--session", session, SECRET]
}

/// Files below a directory that have the secret in them, and how many were looked at.
fn telling(dir: &Path) -> anyhow::Result<(Vec<String>, usize)> {
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked += 1;
            let bytes = fs::read(&path)?;
            if bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok((found, looked))
}

fn says_nothing(world: &World) -> anyhow::Result<()> {
    let (found, looked) = telling(&world.data_dir())?;
    ensure!(looked > 3, "only {looked} files were looked at");
    ensure!(found.is_empty(), "found in {found:?}");
    Ok(())
}

/// Every row that a command could have touched.
fn tables(world: &World) -> anyhow::Result<Vec<Vec<Vec<String>>>> {
    let all = [
        "SELECT id, session_id, seq, kind, body FROM events ORDER BY id",
        "SELECT session_id, status, lease_epoch FROM sessions ORDER BY id",
        "SELECT name, value FROM meta ORDER BY name",
        "SELECT session_id, label, attempt FROM open_intents",
        "SELECT key, state FROM act_keys",
    ];
    all.iter().map(|sql| world.sql(sql)).collect()
}

fn key_ids(world: &World) -> anyhow::Result<Vec<String>> {
    let rows = world.sql("SELECT value FROM meta WHERE name = 'encryption_keys'")?;
    let text = rows.first().context("keys are noted")?[0].clone();
    Ok(text.split(' ').map(str::to_owned).collect())
}

/// Killed at each kind of stage, the session goes on as it does without a key; each act is done
/// once, or is parked.
#[test]
fn a_killed_session_goes_on_and_its_files_tell_nothing() -> anyhow::Result<()> {
    for stage in [
        "turn_taken:after:2",
        "transaction_committed:before:3",
        "intent_durable:after:1",
        "request_sent:after:1",
        "observation_durable:after:2",
    ] {
        for tool in ["keyed", "neither", "undoable"] {
            let told = || format!("{tool} {stage}");
            let world = encrypted(&["lookup", tool])?;
            world.script(&[&[("lookup", "x")], &[(tool, "x")]])?;
            world.answer(SECRET)?;
            world.host_dies(&run_args("s"), stage)?;
            says_nothing(&world).with_context(told)?;
            works(world.host(&["verify"])?).with_context(told)?;
            let resumed = world.host(&["resume", "s"])?;
            match resumed.code {
                Some(0) => ensure!(world.far.acts_done()? == 1, "{}", told()),
                Some(3) => ensure!(world.far.acts_done()? <= 1, "{}", told()),
                _ => anyhow::bail!("{}: {resumed:?}", told()),
            }
            says_nothing(&world).with_context(told)?;
            works(world.host(&["verify"])?).with_context(told)?;
        }
    }
    // The search finds what is there.
    let clear = World::new(bins!(), &["lookup"])?;
    clear.script(&[&[("lookup", "x")]])?;
    works(clear.host(&run_args("s"))?)?;
    ensure!(!telling(&clear.data_dir())?.0.is_empty());
    Ok(())
}

#[test]
fn without_its_key_nothing_is_read_written_or_sent() -> anyhow::Result<()> {
    let world = encrypted(&["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    world.host_dies(&run_args("s"), "request_sent:after:1")?;
    works(world.host(&["traces", "--since", "1h"])?)?;
    let acts = world.far.acts_done()?;
    let id = &key_ids(&world)?[0];
    let out = world.path().join("out.jsonl");
    let out = out.to_str().context("a path")?;
    let before = tables(&world)?;
    for config in ["", WRONG] {
        world.write_config(config)?;
        for args in [
            &run_args("other")[..],
            &["resume", "s"],
            &["resume", "--all"],
            &["verify"],
            &["verify", "--session", "s"],
            &["export", "--session", "s", "--out", out],
            &["parked", "list"],
            &["approvals", "list"],
            &["traces", "rebuild"],
            &["prune", "--older-than", "0s"],
        ] {
            let said = world.host(args)?;
            let message =
                fails(&said, 5, "journal_encrypted").with_context(|| format!("{args:?}"))?;
            ensure!(message.contains(id), "{args:?}: {message}");
            ensure!(tables(&world)? == before, "{args:?} has written");
        }
        let doctor = world.host(&["doctor"])?;
        ensure!(doctor.code != Some(0), "{doctor:?}");
        let incident = world.host(&["incident", "export", "s", "--out", out])?;
        fails(&incident, 5, "journal_encrypted")?;
        // A list needs no body.
        let listed = works(world.host(&["sessions", "list"])?)?;
        ensure!(listed[0]["session"] == "s", "{listed}");
    }
    // A key that is configured and not there: lists go on, and say so.
    world.write_config("[journal]\nencryption_key = { env = \"NOBODY_SET_THIS\" }\n")?;
    for args in [&["sessions", "list"][..], &["traces", "--since", "1h"]] {
        let listed = world.host(args)?;
        ensure!(listed.code == Some(0), "{args:?}: {listed:?}");
        ensure!(listed.stderr.contains("NOBODY_SET_THIS"), "{listed:?}");
    }
    fails(&world.host(&["verify"])?, 5, "journal_encrypted")?;
    ensure!(!Path::new(out).exists());
    ensure!(world.far.acts_done()? == acts);
    world.write_config(KEY)?;
    works(world.host(&["resume", "s"])?)?;
    ensure!(world.far.acts_done()? == 1);
    Ok(())
}

#[test]
fn what_is_no_key_is_refused_before_anything_begins() -> anyhow::Result<()> {
    let world = encrypted(&["lookup"])?;
    let key = world.path().join("journal.key");
    let good = fs::read(&key)?;
    fs::write(&key, "0x1f1f\n")?;
    fails(&world.host(&run_args("s"))?, 4, "encryption_key_invalid")?;
    fs::write(&key, &good)?;
    fs::set_permissions(&key, Permissions::from_mode(0o644))?;
    fails(&world.host(&run_args("s"))?, 4, "secret_exposed")?;
    fs::remove_file(&key)?;
    let said = world.host(&run_args("s"))?;
    ensure!(said.stderr.contains("secret_missing"), "{said:?}");
    world.write_config("[journal]\nencryption_key = { file = \"a\", env = \"B\" }\n")?;
    let message = fails(&world.host(&run_args("s"))?, 4, "config_invalid")?;
    ensure!(message.contains("encryption_key needs"), "{message}");
    ensure!(!world.data_dir().join("journal.db").exists());
    Ok(())
}

/// A session that was killed under one key goes on under the next; the old one may go when nothing
/// is left that needs it.
#[test]
fn a_key_is_rotated_under_a_killed_session() -> anyhow::Result<()> {
    let world = encrypted(&["lookup", "keyed"])?;
    world.script(&[&[("lookup", "x")], &[("keyed", "x")]])?;
    world.host_dies(&run_args("s"), "intent_durable:after:1")?;
    let old = key_ids(&world)?;
    world.write_config(ROTATED)?;
    works(world.host(&["resume", "s"])?)?;
    ensure!(world.far.acts_done()? == 1);
    let both = key_ids(&world)?;
    ensure!(both.len() == 2 && both[0] == old[0], "{both:?}");
    works(world.host(&["verify"])?)?;
    let said = world.host(&["doctor"])?;
    ensure!(said.json.to_string().contains(&both[1]), "{said:?}");
    // Not before its time.
    works(world.host(&["prune"])?)?;
    world.write_config(WRONG)?;
    fails(&world.host(&["resume", "s"])?, 5, "journal_encrypted")?;
    world.write_config(ROTATED)?;
    let pruned = world.host(&["prune", "--older-than", "0s"])?;
    ensure!(pruned.json["sessions"] == 1, "{pruned:?}");
    ensure!(pruned.stderr.contains(&both[0]), "{pruned:?}");
    // The act's result stays: it was observed, and encrypted, under the new key.
    ensure!(key_ids(&world)? == both);
    world.write_config(WRONG)?;
    works(world.host(&["verify"])?)?;
    works(world.host(&run_args("next"))?)?;
    let left = key_ids(&world)?;
    ensure!(left == both[1..], "{left:?}");
    says_nothing(&world)
}

/// A host is held at the far side while the configuration changes: what commands write beside it is
/// what it reads.
#[test]
fn a_command_beside_a_host_writes_with_the_hosts_key() -> anyhow::Result<()> {
    let world = encrypted(&["lookup", "keyed", "paid"])?;
    world.script(&[&[("paid", "x")]])?;
    let waits = world.host(&run_args("waits"))?;
    let approval = waits.json["approval"].as_str().context("an approval")?;
    world.script(&[&[("keyed", "x")]])?;
    world.far.misbehave("hold_answer", 1, 4_000)?;
    let host = world.command(&run_args("s")).spawn()?;
    wait_for("the act", || {
        (world.far.acts_done().ok()? == 1).then_some(())
    })?;
    let before = key_ids(&world)?;
    world.write_config(ROTATED)?;
    works(world.host(&["approvals", "approve", approval, "--by", "Meera"])?)?;
    works(world.host(&["prune", "--older-than", "0s"])?)?;
    works(world.host(&["traces", "--since", "1h"])?)?;
    ensure!(key_ids(&world)? == before, "the host's key is the key");
    let host = said(host.wait_with_output()?)?;
    ensure!(host.code == Some(0), "{host:?}");
    world.script(&[&[("paid", "x")]])?;
    works(world.host(&["resume", "waits"])?)?;
    ensure!(world.far.acts_done()? == 2);
    ensure!(key_ids(&world)?.len() == 2, "the next host has rotated it");
    works(world.host(&["verify"])?)?;
    says_nothing(&world)
}

/// What is kept of a pruned payment is encrypted too, and still answers for it.
#[test]
fn a_pruned_act_is_still_done_once() -> anyhow::Result<()> {
    let world = encrypted(&["paid"])?;
    world.script(&[&[("paid", "x")]])?;
    let waits = world.host(&run_args("one"))?;
    let id = waits.json["approval"].as_str().context("an approval")?;
    works(world.host(&["approvals", "approve", id, "--by", "Meera"])?)?;
    works(world.host(&["resume", "one"])?)?;
    let pruned = works(world.host(&["prune", "--older-than", "0s"])?)?;
    ensure!(pruned["sessions"] == 1, "{pruned}");
    let kept = world.sql("SELECT kept FROM act_keys")?;
    ensure!(kept[0][0].starts_with("enc1:"), "{kept:?}");
    works(world.host(&run_args("two"))?)?;
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    works(world.host(&["verify"])?)?;
    says_nothing(&world)
}

/// What a tool keeps goes on across a rotation; each tenant reads its own.
#[test]
fn what_tools_keep_is_encrypted_and_goes_on() -> anyhow::Result<()> {
    let world = encrypted(&["keeper"])?;
    let call = json!({"tool": "keeper", "arguments": {"name": "{{session}}"}});
    world.script_calls(&[vec![call]])?;
    works(world.host(&run_args("one"))?)?;
    world.write_config(ROTATED)?;
    works(world.host(&run_args("two"))?)?;
    let get = [
        "state", "get", "--tenant", "acme", "--tool", "keeper", "count",
    ];
    ensure!(works(world.host(&get)?)?["value"] == "2");
    let stored = world.sql("SELECT key, bytes, length(value) FROM tool_state ORDER BY key")?;
    for row in &stored {
        let (bytes, length): (u64, u64) = (row[1].parse()?, row[2].parse()?);
        ensure!(length > bytes + 24, "{row:?}");
    }
    ensure!(stored.len() == 3, "{stored:?}");
    let found = works(world.host(&["verify"])?)?;
    ensure!(found["kept"] == 3, "{found}");
    // What the second session wrote is under the new key, what the first wrote is not.
    world.write_config(WRONG)?;
    works(world.host(&get)?)?;
    let old = [
        "state", "get", "--tenant", "acme", "--tool", "keeper", "seen one",
    ];
    fails(&world.host(&old)?, 5, "journal_encrypted")?;
    Ok(())
}

#[test]
fn an_export_stays_encrypted_and_is_checked_with_the_key() -> anyhow::Result<()> {
    let world = encrypted(&["lookup"])?;
    world.script(&[&[("lookup", "x")]])?;
    works(world.host(&run_args("s"))?)?;
    let out = world.path().join("out.jsonl");
    let path = out.to_str().context("a path")?;
    works(world.host(&["export", "--session", "s", "--out", path])?)?;
    let bytes = fs::read(&out)?;
    ensure!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
    let found = works(world.host(&["verify", path])?)?;
    let one = works(world.host(&["verify", "--session", "s"])?)?;
    ensure!(found["last_link"] == one["last_link"], "{found} {one}");
    let mut damaged = bytes.clone();
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    fs::write(&out, damaged)?;
    fails(&world.host(&["verify", path])?, 5, "export_broken")?;
    fs::write(&out, bytes)?;
    world.write_config(WRONG)?;
    fails(&world.host(&["verify", path])?, 5, "journal_encrypted")?;
    Ok(())
}

/// Bodies that are changed, or put where they do not belong, are damage, and no resume: also when
/// whoever did it has made all links anew.
#[test]
fn a_body_that_was_changed_is_never_a_wrong_resume() -> anyhow::Result<()> {
    for damage in [
        "UPDATE events SET body = (SELECT body FROM events WHERE seq = 4) WHERE seq = 3",
        "UPDATE events SET body = substr(body, 1, 60) WHERE seq = 3",
        "UPDATE events SET body = replace(body, 'enc1:', 'enc2:') WHERE seq = 3",
        "UPDATE events SET body = '{}', format = 1 WHERE seq = 3",
    ] {
        for relinks in [false, true] {
            let told = || format!("{damage}, {relinks}");
            let world = encrypted(&["lookup", "keyed"])?;
            world.script(&[&[("lookup", "x")], &[("keyed", "x")]])?;
            world.host_dies(&run_args("s"), "request_sent:after:1")?;
            world.sql(damage)?;
            if relinks {
                relink(&world, "s")?;
            }
            let acts = world.far.acts_done()?;
            fails(&world.host(&["resume", "s"])?, 5, "journal_corrupt").with_context(told)?;
            let verified = world.host(&["verify"])?;
            ensure!(verified.code == Some(5), "{}: {verified:?}", told());
            ensure!(verified.json["broken"][0]["session"] == "s", "{verified:?}");
            ensure!(world.far.acts_done()? == acts, "{}", told());
        }
    }
    Ok(())
}

/// Makes the chain anew over what is stored, as somebody without the key can.
fn relink(world: &World, session: &str) -> anyhow::Result<()> {
    let path = world.data_dir().join("journal.db");
    let key = CipherKey::from_hex(&DIGITS.repeat(32)).context("a key")?;
    let store = SqliteStore::open_to_read(&path)?.with_cipher(Cipher::new(Some(key), Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let id = SessionId::new(session)?;
    let read = runtime.block_on(read_one(&store, &id, Part::Whole))?;
    drop(store);
    let rows = chained(session, read.rows);
    let c = Connection::open(&path)?;
    for row in &rows {
        let link = "UPDATE events SET chain = ?1 WHERE session_id = ?2 AND seq = ?3";
        c.execute(link, params![row.chain, session, row.seq])?;
    }
    let end = "UPDATE sessions SET chain = ?1 WHERE session_id = ?2";
    let last = rows.last().context("events")?.chain;
    c.execute(end, params![last, session])?;
    Ok(())
}
