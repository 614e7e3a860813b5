//! What an answer says against what the journal has: an answer that claims a deed without one is not
//! delivered, however often the session is resumed, and whoever was killed in between.

use anyhow::ensure;
use stoplog_tests::{Said, World, bins};

const RULE: &str = "[[claims.rule]]\nphrases = [\"(?:was|is) done\"]\ntools = [\"keyed\"]\n";

/// A run with these calls and this answer.
fn run(world: &World, turns: &[&[(&str, &str)]], answer: &str) -> anyhow::Result<Said> {
    world.script(turns)?;
    world.answer(answer)?;
    world.host(&World::run_args())
}

fn delivered(said: &Said) -> anyhow::Result<()> {
    ensure!(
        said.code == Some(0) && said.json["outcome"] == "success",
        "{said:?}"
    );
    Ok(())
}

fn held_back(said: &Said, words: &str) -> anyhow::Result<()> {
    ensure!(
        said.code == Some(1)
            && said.json["outcome"] == "error"
            && said.json["reason"] == "unsupported_claim"
            && said.json["answer"] == ""
            && said.json["message"]
                .as_str()
                .is_some_and(|m| m.contains(words)),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn a_rule_of_the_operator_holds_an_answer_back() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed", "lookup"])?;
    world.write_config(RULE)?;
    let said = run(&world, &[&[("lookup", "x")]], "It was done. Anything else?")?;
    held_back(&said, "`was done`, and no call of keyed succeeded")?;
    // The text is kept where it was said, and the same text is judged the same again.
    let turns = world.sql("SELECT body FROM events WHERE kind = 'turn_taken'")?;
    ensure!(
        turns.iter().any(|t| t[0].contains("It was done.")),
        "{turns:?}"
    );
    held_back(&world.host(&["resume", "s"])?, "was done")?;
    ensure!(world.host(&["sessions", "list"])?.json[0]["status"] == "failed");
    // An operator who takes the rule away lets it out.
    world.write_config("")?;
    delivered(&world.host(&["resume", "s"])?)
}

#[test]
fn a_deed_supports_its_claim_also_behind_a_crash() -> anyhow::Result<()> {
    for stage in [
        "intent_durable:after:1",
        "request_sent:after:1",
        "observation_durable:after:1",
    ] {
        let world = World::new(bins!(), &["keyed"])?;
        world.write_config(RULE)?;
        world.script(&[&[("keyed", "x")]])?;
        world.answer("It was done.")?;
        world.host_dies(&World::run_args(), stage)?;
        delivered(&world.host(&["resume", "s"])?)?;
        ensure!(world.far.acts_done()? == 1, "{stage}");
    }
    Ok(())
}

/// Another session did it: this one has the stored result, and may say so.
#[test]
fn a_deduplicated_deed_supports_its_claim() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.write_config(RULE)?;
    let turns: &[&[(&str, &str)]] = &[&[("keyed", "x")]];
    delivered(&run(&world, turns, "It was done.")?)?;
    delivered(&world.host(&["run", "--tenant", "acme", "--session", "s2", "do it"])?)?;
    ensure!(world.far.acts_done()? == 1);
    let seen = world.sql("SELECT body FROM events WHERE kind = 'observed' ORDER BY id")?;
    ensure!(seen[1][0].contains("deduplicated"), "{seen:?}");
    Ok(())
}

#[test]
fn a_tool_declares_what_it_supports_and_a_refused_call_supports_nothing() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["paid"])?;
    world.script(&[&[("paid", "x")]])?;
    world.answer("I have paid for it.")?;
    let waits = world.host(&World::run_args())?;
    ensure!(waits.code == Some(3), "{waits:?}");
    let id = waits.json["approval"].as_str().unwrap_or("").to_owned();
    let no = ["approvals", "reject", &id, "--by", "Asha", "--reason", "no"];
    ensure!(world.host(&no)?.code == Some(0));
    held_back(&world.host(&["resume", "s"])?, "no call of paid succeeded")?;
    // What tools declare can be switched off.
    world.write_config("[claims]\ndeclared = false\n")?;
    delivered(&world.host(&["resume", "s"])?)
}

/// A host that dies between the answer and its verdict leaves the verdict to the next one.
#[test]
fn the_verdict_is_the_same_behind_a_crash() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    world.write_config(RULE)?;
    world.script(&[&[("lookup", "x")]])?;
    world.answer("It is done!")?;
    world.host_dies(&World::run_args(), "turn_taken:after:2")?;
    held_back(&world.host(&["resume", "s"])?, "is done")
}

#[test]
fn a_phrase_that_cannot_be_used_is_told_with_its_line() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    for phrases in ["[\"(\"]", "[]", "[\"a*\"]"] {
        world.write_config(&format!("[[claims.rule]]\nphrases = {phrases}\n"))?;
        let said = world.host(&World::run_args())?;
        ensure!(
            said.code == Some(4)
                && said.stderr.contains("config_invalid")
                && said.stderr.contains("stoplog.toml:"),
            "{said:?}"
        );
    }
    ensure!(
        !world.data_dir().join("journal.db").exists(),
        "it was begun"
    );
    Ok(())
}
