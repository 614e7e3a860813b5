//! Tools in Python and JavaScript: the templates of `stoplog tool new`, built from the registries'
//! packages, and run by the real host beside a far side that counts.
//!
//! Needs `python3` with `venv`, `node` and `npm`, and network the first time. What was built and
//! compiled is kept in the target folder: cold it takes minutes, warm seconds.

mod far;
mod project;
mod scene;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::project::{Lang, Made};
use crate::scene::Scene;

/// A plain client, in each language: two POSTs to one path, and no word of a permit; and a count of
/// calls in the tool's state.
const PLAIN: [(Lang, &str, &str); 2] = [
    (Lang::Python, "tool.py", include_str!("plain.py")),
    (Lang::Js, "tool.js", include_str!("plain.js")),
];

/// Lines that templates get for these tests: class 0 prints, and class 1 tries to post for one input.
const MORE: [(Lang, &str, &str, &str); 4] = [
    (
        Lang::Python,
        "pure",
        "    if not 1 <= bill.people <= 1_000:\n",
        "    print(\"shared by\", bill.people)\n",
    ),
    (
        Lang::Js,
        "pure",
        "    if (people === 0 || people > 1000) {\n",
        "    console.log(\"shared by\", people);\n",
    ),
    (
        Lang::Python,
        "read",
        "    if question.place is None:\n",
        "    if question.place == \"post\":\n        niquests.post(FORECAST, json={})\n",
    ),
    (
        Lang::Js,
        "read",
        "    if (place == null) return { places };\n",
        "    if (place === \"post\") await fetch(FORECAST, { method: \"POST\", body: \"{}\" });\n",
    ),
];

/// The three templates of a language, moved to the far side of these tests.
fn templates(lang: Lang) -> anyhow::Result<Vec<Made>> {
    let word = lang.word();
    let make = |class: &str, name: &str| {
        project::make(lang, class, &format!("{name}_{word}"), &|_, text| {
            let mut text = text
                .replace("https://api.open-meteo.com/", far::ORIGIN)
                .replace("https://payments.example.com/", far::ORIGIN);
            for (_, _, before, more) in MORE.iter().filter(|m| (m.0, m.1) == (lang, class)) {
                text = text.replace(before, &format!("{more}{before}"));
            }
            text
        })
    };
    Ok(vec![
        make("pure", "bill")?,
        make("read", "weather")?,
        make("irreversible", "charge")?,
    ])
}

fn templates_run(lang: Lang) -> anyhow::Result<()> {
    let word = lang.word();
    let made = templates(lang)?;
    let scene = Scene::new(&made)?;
    let (bill, weather, charge) = (
        format!("bill_{word}"),
        format!("weather_{word}"),
        format!("charge_{word}"),
    );

    // Class 0 and 1: what they compute and read, and what they are told about what is wrong.
    let three = json!({"amount_cents": 1000, "people": 3, "tip_percent": 10});
    scene.script(&[
        (&bill, three),
        (&bill, json!({"amount_cents": 1000, "people": 0})),
        (&weather, json!({})),
        (&weather, json!({"place": "mumbai"})),
        (&weather, json!({"place": "atlantis"})),
        (&weather, json!({"place": "post"})),
    ])?;
    scene.runs("reads")?;
    let places = json!(["berlin", "lagos", "mumbai", "sao_paulo", "tokyo"]);
    let told = scene.told("reads")?;
    let expected = [
        json!({"ok": {"shares_cents": [367, 367, 366], "total_cents": 1100}}),
        json!({"err": "invalid-input"}),
        json!({"ok": {"places": places}}),
        json!({"ok": {"places": places, "temperature_c": 31.5, "wind_kmh": 12.5}}),
        json!({"err": "not-found"}),
        // The client's own words for a request that was refused.
        json!({"err": "transient"}),
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(scene.far.posts().is_empty(), "{:?}", scene.far.posts());
    let log = scene.log("reads", 1)?;
    ensure!(log.contains("shared by 3"), "{log:?}");
    let log = scene.log("reads", 6)?;
    ensure!(log.contains("method_refused"), "{log:?}");

    // Class 4: approved, killed when the money has left, and started again.
    let payment = json!({
        "invoice_id": "inv-1", "customer_id": "cus-1", "amount_cents": 6400, "currency": "EUR",
    });
    scene.script(&[(&charge, payment)])?;
    scene.approved(
        "pays",
        "6400",
        "Charge customer cus-1 64.00 EUR for invoice inv-1.",
    )?;
    scene.dies("pays", "request_sent:after:1")?;
    ensure!(scene.far.done() == 1, "{} before", scene.far.done());
    scene.resumes("pays")?;
    ensure!(scene.far.done() == 1, "{} after", scene.far.done());
    let keys = scene.far.keys();
    ensure!(keys == ["charge_inv-1"], "{keys:?}");
    let told = scene.told("pays")?;
    ensure!(told == [json!({"ok": {"charge_id": "ch_1"}})], "{told:#?}");

    // And as its author would see to it.
    for tool in made.iter().filter(|tool| tool.class == "irreversible") {
        scene.crash_tested(tool, lang)?;
    }
    Ok(())
}

#[test]
fn the_python_templates_run() -> anyhow::Result<()> {
    templates_run(Lang::Python)
}

#[test]
fn the_javascript_templates_run() -> anyhow::Result<()> {
    templates_run(Lang::Js)
}

/// The template of class 2, on its own cases: killed everywhere, taken back, and done again.
fn what_can_be_undone_runs(lang: Lang) -> anyhow::Result<()> {
    let name = format!("hold_{}", lang.word());
    let made = project::make(lang, "reversible", &name, &|_, text| text.to_owned())?;
    let scene = Scene::new(&[])?;
    let report = scene.crash_tested(&made, lang)?;
    let undone = report["sections"].as_array().into_iter().flatten();
    let mut checks = undone.flat_map(|s| s["checks"].as_array().into_iter().flatten());
    let is_undone = checks.any(|c| c["id"].as_str().is_some_and(|id| id.ends_with("/undo")));
    ensure!(is_undone, "{report:#}");
    Ok(())
}

#[test]
fn the_python_template_of_what_can_be_undone_runs() -> anyhow::Result<()> {
    what_can_be_undone_runs(Lang::Python)
}

#[test]
fn the_javascript_template_of_what_can_be_undone_runs() -> anyhow::Result<()> {
    what_can_be_undone_runs(Lang::Js)
}

/// Killed behind the first and behind the second POST of a client that knows no permits: each is
/// done once, under a key of its own that no rerun changes. Its probe may not post. And what it read
/// from its state is what it reads again, so each call is counted once.
fn plain_posts_are_effects(lang: Lang) -> anyhow::Result<()> {
    let name = format!("plain_{}", lang.word());
    let (_, file, source) = PLAIN
        .into_iter()
        .find(|(l, _, _)| *l == lang)
        .unwrap_or_default();
    let made = project::make(lang, "external", &name, &|path, text| match path {
        _ if path == file => source.replace("{{name}}", &name),
        "stoplog-tool.toml" => text
            .replace("--world {{class}}", "--world {{class}}-with-state")
            .replace(
                "--world-name {{class}}",
                "--world-name {{class}}-with-state",
            ),
        _ => text.to_owned(),
    })?;
    let scene = Scene::new(&[made])?;
    for (before, session, stage, posts) in [
        (0, "first", "request_sent:after:1", 3),
        (1, "second", "request_sent:after:2", 3),
    ] {
        let done = scene.far.done();
        let arrived = scene.far.posts().len();
        scene.script(&[(&name, json!({"name": session}))])?;
        scene.dies_in_run(session, stage)?;
        scene.resumes(session)?;
        let keys = scene.far.keys().split_off(arrived);
        ensure!(keys.len() == posts, "{session}: {keys:?}");
        ensure!(scene.far.done() == done + 2, "{session}: {keys:?}");
        let prefix = format!("act_{session}.http-post-");
        let numbers: Vec<Option<char>> = keys
            .iter()
            .map(|k| k.strip_prefix(&prefix).and_then(|rest| rest.chars().last()))
            .collect();
        let expected: &[char] = match session {
            "first" => &['1', '1', '2'],
            _ => &['1', '2', '2'],
        };
        ensure!(
            numbers.iter().flatten().eq(expected) && numbers.len() == expected.len(),
            "{session}: {keys:?}"
        );
        let told: Vec<Value> = scene.told(session)?;
        ensure!(told[0]["ok"]["before"] == before, "{told:#?}");
        ensure!(
            told.len() == 1
                && told[0]["ok"]["ids"]
                    .as_array()
                    .is_some_and(|ids| ids.len() == 2),
            "{told:#?}"
        );
    }
    let refused = scene.far.asked_for("/v1/refused");
    ensure!(refused == 0, "its probe posted {refused} times");
    Ok(())
}

#[test]
fn a_python_client_that_posts_is_journalled_keyed_and_recovered() -> anyhow::Result<()> {
    plain_posts_are_effects(Lang::Python)
}

#[test]
fn a_javascript_client_that_posts_is_journalled_keyed_and_recovered() -> anyhow::Result<()> {
    plain_posts_are_effects(Lang::Js)
}
