//! Retries and their budget over runs, and a fallback that takes over.

use anyhow::ensure;
use stoplog_tests::World;

use crate::provider::{Meets, Plan, Provider};
use crate::scene::{configure, count, journal, model, read_and_write, spans, world};

fn spare(provider: &Provider, more: &str) -> String {
    format!(
        "[[model.fallback]]\nname = \"spare\"\narmed = true\neval = \"evals/refunds\"\n{more}\n\
         kind = \"openai\"\nbase_url = \"http://{}/v1\"\nmodel = \"second\"\n\
         system_prompt = \"You are the spare.\"\n\
         input_usd_micros_per_million = 1\noutput_usd_micros_per_million = 1\n",
        provider.address
    )
}

/// What may pass is asked again, and is told; the session's budget of retries outlives its runs.
#[test]
fn retries_are_paid_from_one_budget_over_all_runs() -> anyhow::Result<()> {
    let world = world()?;
    let away = [Meets::Refused(502); 20];
    let provider = Provider::start(read_and_write(), &away)?;
    configure(
        &world,
        &format!(
            "{}[model.budget]\nretries = 5\n",
            model(provider.address, "")
        ),
    )?;
    // Five attempts, then what is left of the budget, then no retry at all.
    for (args, requests) in [
        (World::run_args().to_vec(), 5),
        (vec!["resume", "s"], 2),
        (vec!["resume", "s"], 1),
    ] {
        let before = provider.bodies().len();
        let failed = world.host(&args)?;
        ensure!(failed.code == Some(1), "{failed:?}");
        ensure!(failed.json["reason"] == "model_unavailable", "{failed:?}");
        let sent = provider.bodies().len() - before;
        ensure!(
            sent == requests,
            "{sent} requests, not {requests}: {failed:?}"
        );
    }
    let (events, session) = journal(&world)?;
    ensure!(count(&events, "model_asked") == 8 && count(&events, "model_failed") == 3);
    ensure!((session.spent().requests, session.spent().retries) == (8, 5));
    ensure!(
        session.runs.iter().all(|r| r.cost.0 == 0),
        "refusals are free"
    );
    Ok(())
}

#[test]
fn a_budget_of_requests_ends_the_run_with_its_reason() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(read_and_write(), &[])?;
    configure(
        &world,
        &format!(
            "{}[model.budget]\nrequests = 2\n",
            model(provider.address, "")
        ),
    )?;
    let failed = world.host(&World::run_args())?;
    ensure!(
        failed.json["reason"] == "model_budget_exhausted",
        "{failed:?}"
    );
    let again = world.host(&["resume", "s"])?;
    ensure!(
        again.json["reason"] == "model_budget_exhausted",
        "{again:?}"
    );
    ensure!(
        provider.bodies().len() == 2,
        "a resume gets no fresh budget"
    );
    Ok(())
}

/// The first provider is away for one turn: the spare takes it, with its own prompt, and each turn
/// says whose it is. Before a write the first one is asked again.
#[test]
fn a_fallback_is_seen_in_every_span_and_left_again_before_a_write() -> anyhow::Result<()> {
    let world = world()?;
    let first = Provider::start(read_and_write(), &[Meets::Refused(503); 5])?;
    let second = Provider::start(read_and_write(), &[])?;
    configure(
        &world,
        &format!("{}{}", model(first.address, ""), spare(&second, "")),
    )?;
    let ended = world.host(&World::run_args())?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        first.asked() == [5, 1, 1] && second.asked() == [1],
        "{:?} {:?}",
        first.asked(),
        second.asked()
    );
    let turns = spans(&world, "llm_call")?;
    let models: Vec<&str> = turns
        .iter()
        .filter_map(|s| s["model_version"].as_str())
        .collect();
    ensure!(
        models == ["second-2026-01-01", "first-2026-01-01", "first-2026-01-01"],
        "{models:?}"
    );
    let hashes: Vec<&str> = turns
        .iter()
        .filter_map(|s| s["prompt_version_hash"].as_str())
        .collect();
    ensure!(
        hashes[0] != hashes[1] && hashes[1] == hashes[2],
        "{hashes:?}"
    );
    ensure!(second.bodies()[0]["messages"][0]["content"] == "You are the spare.");
    let (_, session) = journal(&world)?;
    let profiles: Vec<&str> = session.turns.iter().map(|t| t.profile.as_str()).collect();
    ensure!(profiles == ["spare", "", ""], "{profiles:?}");
    Ok(())
}

/// The spare wrote: the session stays with it, over a kill and a resume, although the first is well.
/// And what the first wrote, a spare that was not told so does not take over.
#[test]
fn a_session_stays_with_who_wrote() -> anyhow::Result<()> {
    let plan = Plan {
        turns: vec![vec![("keyed", "x")], vec![("lookup", "x")]],
        text_chars: 30,
    };
    let first = Provider::start(plan.clone(), &[Meets::Refused(503); 5])?;
    let second = Provider::start(plan.clone(), &[])?;
    let one = world()?;
    configure(
        &one,
        &format!("{}{}", model(first.address, ""), spare(&second, "")),
    )?;
    one.host_dies(&World::run_args(), "observation_durable:after:1")?;
    let resumed = one.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    ensure!(
        first.asked() == [5] && second.asked() == [1, 1, 1],
        "{:?} {:?}",
        first.asked(),
        second.asked()
    );

    for (more, code, asked) in [("", 1, 0), ("after_write = true", 0, 2)] {
        let away = [&[Meets::Well][..], &[Meets::Refused(503); 40]].concat();
        let first = Provider::start(plan.clone(), &away)?;
        let second = Provider::start(plan.clone(), &[])?;
        let world = world()?;
        configure(
            &world,
            &format!("{}{}", model(first.address, ""), spare(&second, more)),
        )?;
        let ended = world.host(&World::run_args())?;
        ensure!(ended.code == Some(code), "{more}: {ended:?}");
        ensure!(
            second.bodies().len() == asked,
            "{more}: {:?}",
            second.asked()
        );
        ensure!(world.far.acts_done()? == 1);
    }
    Ok(())
}

/// `doctor` says what would be asked, without asking; a key that is not there is told before a run.
#[test]
fn doctor_says_what_would_be_asked() -> anyhow::Result<()> {
    let world = world()?;
    let provider = Provider::start(read_and_write(), &[])?;
    configure(
        &world,
        &format!("{}{}", model(provider.address, ""), spare(&provider, "")),
    )?;
    let told = world.host(&["doctor"])?.json.to_string();
    for words in [
        "first (openai) at 127.0.0.1",
        "price beside it",
        "fallback spare (evaluated: evals/refunds)",
    ] {
        ensure!(told.contains(words), "{words}: {told}");
    }
    configure(
        &world,
        &model(provider.address, "api_key_env = \"STOPLOG_TEST_NO_KEY\""),
    )?;
    let told = world.host(&["doctor"])?.json.to_string();
    ensure!(told.contains("STOPLOG_TEST_NO_KEY"), "{told}");
    let refused = world.host(&World::run_args())?;
    ensure!(refused.stderr.contains("secret_missing"), "{refused:?}");
    std::fs::write(world.path().join("key"), "sk-open")?;
    configure(&world, &model(provider.address, "api_key_file = \"key\""))?;
    let refused = world.host(&World::run_args())?;
    ensure!(refused.stderr.contains("secret_exposed"), "{refused:?}");
    ensure!(provider.bodies().is_empty(), "nobody was asked");
    Ok(())
}
