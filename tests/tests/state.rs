//! What tools keep between calls, as operators meet it: whose it is, how to see and delete it, and
//! what `verify`, `export` and `prune` make of it.

use anyhow::{Context, ensure};
use rusqlite::Connection;
use serde_json::{Value, json};
use stoplog_tests::{Said, World, bins, wait_for};

fn run(world: &World, tenant: &str, session: &str) -> anyhow::Result<Said> {
    let said = world.host(&["run", "--tenant", tenant, "--session", session, "do it"])?;
    ensure!(said.code == Some(0), "{session}: {said:?}");
    Ok(said)
}

/// A world in which `keeper` is called once a session, under a name of the session's own.
fn world() -> anyhow::Result<World> {
    let world = World::new(bins!(), &["keeper", "lookup"])?;
    let call = json!({"tool": "keeper", "arguments": {"name": "{{session}}"}});
    world.script_calls(&[vec![call]])?;
    Ok(world)
}

fn verified(world: &World, code: i32) -> anyhow::Result<Value> {
    let said = world.host(&["verify"])?;
    ensure!(said.code == Some(code), "{said:?}");
    Ok(said.json)
}

/// Keys and values of a tenant, through the command line.
fn kept(world: &World, tenant: &str) -> anyhow::Result<Vec<(String, String)>> {
    let listed = world.host(&["state", "list", "--tenant", tenant])?;
    ensure!(listed.code == Some(0), "{listed:?}");
    let mut kept = Vec::new();
    for entry in listed.json.as_array().context("a list")? {
        ensure!(
            entry["tool"] == "keeper" && entry["tenant"] == tenant,
            "{entry}"
        );
        let key = entry["key"].as_str().context("a key")?;
        let got = world.host(&["state", "get", "--tenant", tenant, "--tool", "keeper", key])?;
        let value = got.json["value"]
            .as_str()
            .with_context(|| format!("{got:?}"))?;
        kept.push((key.to_owned(), value.to_owned()));
    }
    Ok(kept)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    expected.iter().map(owned).collect()
}

/// One tenant's count is not another's, and a later session of the same tenant goes on with it.
#[test]
fn each_tenant_has_a_state_of_its_own() -> anyhow::Result<()> {
    let world = world()?;
    for (tenant, session) in [("acme", "a"), ("globex", "b"), ("acme", "c")] {
        run(&world, tenant, session)?;
    }
    let acme = pairs(&[("count", "2"), ("seen a", "0"), ("seen c", "1")]);
    let globex = pairs(&[("count", "1"), ("seen b", "0")]);
    ensure!(kept(&world, "acme")? == acme, "{:?}", kept(&world, "acme")?);
    ensure!(
        kept(&world, "globex")? == globex,
        "{:?}",
        kept(&world, "globex")?
    );
    ensure!(kept(&world, "nobody")?.is_empty());
    ensure!(verified(&world, 0)?["kept"] == 5);
    Ok(())
}

/// It wrote before it failed, and nothing of that stays.
#[test]
fn a_call_that_fails_keeps_nothing() -> anyhow::Result<()> {
    let world = world()?;
    run(&world, "acme", "fails")?;
    ensure!(
        kept(&world, "acme")?.is_empty(),
        "{:?}",
        kept(&world, "acme")?
    );
    ensure!(world.far.acts_done()? == 0);
    Ok(())
}

#[test]
fn an_operator_deletes_what_is_kept() -> anyhow::Result<()> {
    let world = world()?;
    run(&world, "acme", "a")?;
    let of = |more: &[&'static str]| {
        let mut args = vec!["state", "delete", "--tenant", "acme", "--tool", "keeper"];
        args.extend(more);
        args
    };
    let gone = world.host(&of(&["seen a"]))?;
    ensure!(
        gone.code == Some(0) && gone.json["deleted"] == 1,
        "{gone:?}"
    );
    ensure!(kept(&world, "acme")? == pairs(&[("count", "1")]));
    verified(&world, 0)?;
    let again = world.host(&of(&["seen a"]))?;
    ensure!(
        again.code == Some(5) && again.stderr.contains("state_not_found"),
        "{again:?}"
    );
    let neither = world.host(&of(&[]))?;
    ensure!(neither.code == Some(2), "a key, or --all: {neither:?}");
    ensure!(world.host(&of(&["--all"]))?.json["deleted"] == 1);
    ensure!(kept(&world, "acme")?.is_empty());
    verified(&world, 0)?;
    // The next call begins anew, and what it keeps is explained by its event.
    run(&world, "acme", "b")?;
    ensure!(kept(&world, "acme")? == pairs(&[("count", "1"), ("seen b", "0")]));
    verified(&world, 0)?;
    Ok(())
}

/// An operator takes the state away: the tool is told so, and the call fails.
#[test]
fn a_lock_without_state_takes_it_away() -> anyhow::Result<()> {
    let world = world()?;
    let lock = world.path().join("stoplog.lock");
    let text = std::fs::read_to_string(&lock)?;
    ensure!(text.matches("state = true").count() == 1, "{text}");
    std::fs::write(&lock, text.replace("state = true\n", ""))?;
    run(&world, "acme", "a")?;
    ensure!(kept(&world, "acme")?.is_empty());
    let log = world.sql("SELECT body FROM events WHERE kind = 'observed'")?;
    ensure!(log[0][0].contains("state_denied: stoplog.lock"), "{log:?}");
    Ok(())
}

/// What sessions kept stays when they are pruned, and nothing that `verify` sees is wrong with that.
#[test]
fn pruning_takes_the_sessions_and_leaves_what_they_kept() -> anyhow::Result<()> {
    let world = world()?;
    run(&world, "acme", "a")?;
    run(&world, "acme", "b")?;
    let before = kept(&world, "acme")?;
    // What ended in this millisecond is not older than it.
    let mut pruned = 0;
    wait_for("both sessions to be pruned", || {
        let said = world.host(&["prune", "--older-than", "0s"]).ok()?;
        pruned += said.json["sessions"].as_u64()?;
        (pruned == 2).then_some(())
    })?;
    ensure!(kept(&world, "acme")? == before);
    verified(&world, 0)?;
    run(&world, "acme", "c")?;
    ensure!(kept(&world, "acme")?[0] == ("count".to_owned(), "3".to_owned()));
    verified(&world, 0)?;
    Ok(())
}

/// An export has what the session's calls wrote, under its chain.
#[test]
fn an_export_has_what_was_kept() -> anyhow::Result<()> {
    let world = world()?;
    run(&world, "acme", "a")?;
    let file = world.path().join("a.jsonl");
    let name = file.to_str().context("a path")?;
    let exported = world.host(&["export", "--session", "a", "--out", name])?;
    ensure!(exported.code == Some(0), "{exported:?}");
    let text = std::fs::read_to_string(&file)?;
    ensure!(
        text.contains("seen a") && text.contains("state_read"),
        "{text}"
    );
    let verified = world.host(&["verify", name])?;
    ensure!(verified.code == Some(0), "{verified:?}");
    let forged = text.replace("seen a", "seen b");
    std::fs::write(&file, forged)?;
    let verified = world.host(&["verify", name])?;
    ensure!(verified.code == Some(5), "{verified:?}");
    Ok(())
}

/// Whatever becomes of the table: a value, a row, or a whole older state that is sound in itself.
#[test]
fn verify_finds_state_that_no_event_explains() -> anyhow::Result<()> {
    for (damage, says) in [
        (
            "UPDATE tool_state SET value = x'39' WHERE key = 'count'",
            "a damaged value",
        ),
        ("DELETE FROM tool_state WHERE key = 'count'", "`count`"),
        (
            "UPDATE tool_state SET key = 'counts' WHERE key = 'count'",
            "no event wrote it",
        ),
        (
            "UPDATE tool_state SET tenant_id = 'globex' WHERE key = 'count'",
            "no event wrote it",
        ),
        (
            "UPDATE tool_state SET place = 1 WHERE key = 'count'",
            "`count`",
        ),
    ] {
        let world = world()?;
        run(&world, "acme", "a")?;
        run(&world, "acme", "b")?;
        Connection::open(world.data_dir().join("journal.db"))?.execute_batch(damage)?;
        let told = verified(&world, 5)?;
        ensure!(
            told["problems"].to_string().contains(says),
            "{damage}: {told}"
        );
    }
    Ok(())
}
