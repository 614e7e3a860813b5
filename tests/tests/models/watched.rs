//! A model that is heard while it writes, by a client of `stoplog serve`: what is shown before it is
//! true, what is taken back, and that the journal has the last word.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::service::{Say, Service, Sse};

use crate::provider::{Meets, Provider};
use crate::scene::{configure, model, read_and_write, world};

/// The second turn breaks off, is asked for again, and is held in the middle. Until it is let go its
/// pieces are there and its turn is not.
#[test]
fn text_is_shown_taken_back_and_shown_again_before_its_turn() -> anyhow::Result<()> {
    let world = world()?;
    let schedule = [Meets::Well, Meets::Half, Meets::Held];
    let provider = Provider::start(read_and_write(), &schedule)?;
    configure(&world, &model(provider.address, ""))?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let say = Say::of(&agent)
        .with("prefer", "respond-async")
        .body(json!({"task": "do it"}));
    let begun = service.ask("POST", "/agent/run", &say)?;
    let path = format!("{}/events", begun.headers["location"]);

    let mut told: Vec<Sse> = Vec::new();
    let mut events = service.events(&path, &Say::of(&agent))?;
    let is_piece = |e: &Sse| e.name == "text" && e.data["piece"].is_u64();
    let said = |e: &Sse| e.data["text"].as_str().unwrap_or("").to_owned();
    let status = |e: &Sse| e.data["status"].as_str().unwrap_or("").to_owned();
    loop {
        let event = events.next().context("the stream goes on")??;
        let is_second = event.data["attempt"] == 2 && event.data["iteration"] == 2;
        told.push(event);
        if is_second && provider.asked() == [1, 2] {
            break;
        }
    }
    let turn = |n: u64| move |e: &&Sse| e.data["iteration"] == n;
    ensure!(
        told.iter()
            .filter(turn(2))
            .all(|e| is_piece(e) && e.id.is_empty()),
        "a turn that is held is not in the journal: {told:#?}"
    );
    provider.release();
    for event in events {
        told.push(event?);
    }

    // Of the attempt that broke: what was shown is what is taken back.
    let of = |attempt: u64, wanted: &str| -> Vec<&Sse> {
        let mine = told
            .iter()
            .filter(|e| is_piece(e) && e.data["iteration"] == 2 && e.data["attempt"] == attempt);
        mine.filter(|e| status(e) == wanted).collect()
    };
    let shown: String = of(1, "provisional").into_iter().map(said).collect();
    let retracted = of(1, "retracted");
    ensure!(
        retracted.len() == 1 && said(retracted[0]) == shown,
        "{told:#?}"
    );
    ensure!(of(2, "retracted").is_empty(), "{told:#?}");
    // Of each turn the journal says the whole, and it is committed behind that.
    for n in 1..=3 {
        let settled: Vec<(String, Value)> = told
            .iter()
            .filter(turn(n))
            .filter(|e| e.name == "text" && !is_piece(e))
            .map(|e| (status(e), e.data["text"].clone()))
            .collect();
        let whole = settled.first().context("the turn")?.1.clone();
        let expected = [
            ("provisional".into(), whole.clone()),
            ("committed".into(), whole.clone()),
        ];
        ensure!(settled == expected, "{settled:?}");
        if n == 2 {
            let shown: String = of(2, "provisional").into_iter().map(said).collect();
            ensure!(whole == json!(shown), "{shown:?} is not {whole}");
        }
    }
    ensure!(
        world.far.acts_done()? == 1,
        "done {}",
        world.far.acts_done()?
    );
    Ok(())
}
