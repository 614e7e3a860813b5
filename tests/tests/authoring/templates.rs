//! Every Rust template, from `tool new` to a call, with the real command.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::far::Far;

/// Makes and builds a project, and checks that it is of the class that was asked for.
fn make(desk: &Desk, name: &str, class: &str, told: &str) -> anyhow::Result<()> {
    let made = desk.ok(
        ".",
        &format!("stoplog tool new {name} --class {class} --lang rust"),
    )?;
    ensure!(
        made.stdout
            .contains(&format!("next: cd {name} && stoplog tool build")),
        "{made:?}"
    );
    desk.share_target(name)?;
    built(desk, name, told)?;
    // Its own cases, and the crashes that come with them.
    let tested = desk.ok(name, "stoplog tool test")?;
    ensure!(
        tested.stdout.contains("next       stoplog tool add"),
        "{tested:?}"
    );
    Ok(())
}

fn built(desk: &Desk, name: &str, told: &str) -> anyhow::Result<()> {
    let built = desk.ok(name, "stoplog tool build")?;
    ensure!(
        built.stdout.contains("next: stoplog tool test"),
        "{built:?}"
    );
    let checked = desk.ok(name, "stoplog --json tool check")?.json()?;
    ensure!(
        checked["name"] == name && checked["class"] == told,
        "{checked}"
    );
    Ok(())
}

/// A configuration that reaches the far side of the test in the place of an API, with a secret.
fn configure(desk: &Desk, name: &str, far: &Far, secret: Option<&str>) -> anyhow::Result<()> {
    let mut text = format!(
        "[agent]\nfeature = \"testing\"\nsystem_prompt = \"Test.\"\n\n[model]\nkind = \"scripted\"\n\n\
         [[grant]]\ntools = [\"{name}\"]\norigin = \"http://far.internal/\"\nconnect = \"{}\"\n",
        far.address
    );
    if let Some(secret) = secret {
        text.push_str(&format!("\n[secrets.{secret}]\nenv = \"{secret}\"\n"));
    }
    Ok(fs::write(desk.path(name).join("stoplog.toml"), text)?)
}

/// Points a template's API at the test's far side.
fn point(desk: &Desk, name: &str, api: &str) -> anyhow::Result<()> {
    desk.edit(&format!("{name}/src/lib.rs"), api, "http://far.internal")
}

fn run(desk: &Desk, name: &str, input: &Value, more: &str) -> anyhow::Result<crate::desk::Out> {
    let env = "CHAT_TOKEN=t0ken PAYMENTS_KEY=k3y-of-test";
    desk.sh(
        name,
        &format!("{env} stoplog --json tool run {name} '{input}' {more}"),
    )
}

#[test]
fn pure_and_read_run_from_nothing_without_a_network() -> anyhow::Result<()> {
    let desk = Desk::new("plain")?;
    make(&desk, "share", "pure", "pure")?;
    // Its unit tests need no host, and no component.
    let tested = desk.ok("share", "cargo test --target-dir target")?;
    ensure!(tested.stdout.contains("1 passed"), "{tested:?}");
    desk.ok("share", "stoplog tool add")?;
    let ran = desk.ok(
        "share",
        "stoplog tool run share '{\"amount_cents\": 1000, \"people\": 3}'",
    )?;
    ensure!(
        ran.json()? == json!({"shares_cents": [334, 333, 333], "total_cents": 1000}),
        "{ran:?}"
    );
    ensure!(ran.stderr.contains("executed"), "{ran:?}");
    let wrong = run(&desk, "share", &json!({"amount_cents": 1, "people": 0}), "")?;
    ensure!(wrong.code == Some(1), "{wrong:?}");
    ensure!(
        wrong.json()?["error"]["code"] == "invalid-input",
        "{wrong:?}"
    );
    let unfit = run(&desk, "share", &json!({"people": 0}), "")?;
    ensure!(
        unfit.json()?["error"]["reason"] == "input_schema",
        "{unfit:?}"
    );

    make(&desk, "weather", "read", "read-only")?;
    let added = desk.ok("weather", "stoplog tool add")?;
    ensure!(
        added.stdout.contains("wrote stoplog.toml: there was none"),
        "{added:?}"
    );
    ensure!(
        added
            .stdout
            .contains("refused    https://api.open-meteo.com/v1/forecast"),
        "{added:?}"
    );
    ensure!(
        added.stdout.contains("next: stoplog tool run weather '{}'"),
        "{added:?}"
    );
    let ran = desk
        .ok("weather", "stoplog tool run weather '{}'")?
        .json()?;
    ensure!(ran["places"][2] == "mumbai", "{ran}");
    // What was not granted does not leave.
    let refused = run(&desk, "weather", &json!({"place": "mumbai"}), "")?;
    ensure!(
        refused.code == Some(1)
            && refused.json()?["log"]
                .to_string()
                .contains("is not granted"),
        "{refused:?}"
    );
    widened(&desk)
}

/// Another version wants more: it stops with the differences, and the command that accepts them.
fn widened(desk: &Desk) -> anyhow::Result<()> {
    let lock = || fs::read_to_string(desk.path("weather/stoplog.lock"));
    let again = desk.ok("weather", "stoplog tool add --grant-asked")?;
    ensure!(again.stdout.contains("changed it in"), "{again:?}");
    let granted = lock()?;
    ensure!(
        granted.contains("path_prefix = \"/v1/forecast\""),
        "{granted}"
    );

    let wish = "egress = [\"https://api.open-meteo.com/v1/forecast\"]";
    let more = "egress = [\"https://api.open-meteo.com/v1/forecast\", \"https://else.example/\"]";
    desk.edit("weather/src/lib.rs", wish, more)?;
    desk.edit(
        "weather/Cargo.toml",
        "version = \"0.1.0\"",
        "version = \"0.2.0\"",
    )?;
    built(desk, "weather", "read-only")?;
    let stale = desk.ok("weather", "stoplog tool run weather '{}'")?;
    ensure!(
        stale.stderr.contains("the folder has another one"),
        "{stale:?}"
    );
    let stopped = desk.sh("weather", "stoplog tool add")?;
    ensure!(stopped.code == Some(4), "{stopped:?}");
    for line in [
        "error[tool_changed]",
        "version      0.1.0 -> 0.2.0",
        "asks for     + https://else.example/",
        "accept the change: stoplog tool add --replace",
    ] {
        ensure!(stopped.stderr.contains(line), "{line}: {stopped:?}");
    }
    ensure!(lock()? == granted, "nothing was written");
    let replaced = desk.ok("weather", "stoplog tool add --replace")?;
    ensure!(
        replaced.stdout.contains("refused    https://else.example/"),
        "the wider wish is not granted by itself: {replaced:?}"
    );
    ensure!(
        lock()?.matches("[[tool.grant]]").count() == 1,
        "{}",
        lock()?
    );
    Ok(())
}

#[test]
fn a_reversible_and_an_external_tool_act_once_under_their_key() -> anyhow::Result<()> {
    let (desk, far) = (Desk::new("writes")?, Far::start()?);
    make(&desk, "reserve", "reversible", "reversible")?;
    point(&desk, "reserve", "https://stock.example.com")?;
    built(&desk, "reserve", "reversible")?;
    configure(&desk, "reserve", &far, None)?;
    desk.ok("reserve", "stoplog tool add --grant-asked")?;
    let wish = json!({"order_id": "448100", "sku": "lamp-2", "quantity": 2});
    let first = run(&desk, "reserve", &wish, "")?.json()?;
    ensure!(
        first["output"] == json!({"reservation_id": "id_1"}),
        "{first}"
    );
    ensure!(
        first["disposition"] == "executed" && first["effects"] == 1,
        "{first}"
    );
    let second = run(&desk, "reserve", &wish, "")?.json()?;
    ensure!(second["disposition"] == "deduplicated", "{second}");
    ensure!(far.look(|l| l.count) == 1 && far.look(|l| l.requests.len()) == 1);
    ensure!(far.look(|l| l.done.contains_key("reserve_448100_lamp-2")));

    make(&desk, "tell", "external", "external")?;
    point(&desk, "tell", "https://chat.example.com")?;
    built(&desk, "tell", "external")?;
    configure(&desk, "tell", &far, Some("CHAT_TOKEN"))?;
    desk.fails("tell", "tool add", 4, "tool_class_not_accepted")?;
    // Methods of the lock count, although the configuration names none.
    desk.ok(
        "tell",
        "stoplog tool add --accept-class external --grant http://far.internal/v1/messages=GET",
    )?;
    let message = json!({"channel": "c", "ticket_id": "t-1", "kind": "done", "text": "It works."});
    let refused = run(&desk, "tell", &message, "")?;
    ensure!(
        refused.code == Some(1) && refused.stdout.contains("POST is not granted"),
        "{refused:?}"
    );
    desk.ok(
        "tell",
        "stoplog tool add --grant http://far.internal/v1/messages=GET,POST",
    )?;
    let posted = run(&desk, "tell", &message, "")?.json()?;
    ensure!(
        posted["output"] == json!({"message_id": "id_2"}),
        "{posted}"
    );
    let authorization = far.look(|l| l.requests.last().map(|r| r.2.clone()));
    ensure!(
        authorization.as_deref() == Some("Bearer t0ken"),
        "{authorization:?}"
    );
    Ok(())
}

#[test]
fn an_irreversible_tool_waits_for_a_person_and_acts_once() -> anyhow::Result<()> {
    let (desk, far) = (Desk::new("charges")?, Far::start()?);
    make(&desk, "charge", "irreversible", "irreversible")?;
    point(&desk, "charge", "https://payments.example.com")?;
    built(&desk, "charge", "irreversible")?;
    configure(&desk, "charge", &far, Some("PAYMENTS_KEY"))?;
    desk.fails(
        "charge",
        "tool add --accept-class external",
        4,
        "tool_class_not_accepted",
    )?;
    desk.ok(
        "charge",
        "stoplog tool add --grant-asked --accept-class irreversible",
    )?;
    let payment = json!({
        "invoice_id": "inv-1", "customer_id": "cus-1", "amount_cents": 6405, "currency": "EUR"
    });
    let waits = run(&desk, "charge", &payment, "--session s1")?;
    ensure!(waits.code == Some(3), "{waits:?}");
    let told = waits.json()?;
    ensure!(
        told["preview"] == "Charge customer cus-1 64.05 EUR for invoice inv-1.",
        "{told}"
    );
    ensure!(far.look(|l| l.count) == 0, "nothing before the approval");
    let id = told["approval"].as_str().unwrap_or_default();
    desk.ok(
        "charge",
        &format!("stoplog approvals approve {id} --by Meera"),
    )?;
    let done = desk.ok(
        "charge",
        "PAYMENTS_KEY=k3y-of-test stoplog --json tool run charge --session s1",
    )?;
    ensure!(
        done.json()?["output"] == json!({"charge_id": "id_1"}),
        "{done:?}"
    );

    // The same invoice in another conversation: what was done is told, and nobody is asked.
    let again = run(&desk, "charge", &payment, "")?.json()?;
    ensure!(again["disposition"] == "deduplicated", "{again}");
    let other = json!({
        "invoice_id": "inv-2", "customer_id": "cus-1", "amount_cents": 1, "currency": "EUR"
    });
    let approved = run(&desk, "charge", &other, "--approve-as Meera")?;
    ensure!(approved.code == Some(0), "{approved:?}");
    ensure!(
        approved.json()?["output"] == json!({"charge_id": "id_2"}),
        "{approved:?}"
    );
    ensure!(far.look(|l| l.count) == 2);
    ensure!(far.look(|l| l.done.contains_key("charge_inv-1")));
    Ok(())
}

/// Name and version of every package in a lock file of cargo.
fn packages(lock: &str) -> BTreeSet<(String, String)> {
    let lines: Vec<&str> = lock.lines().collect();
    let value = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = ")?;
        Some(value.trim_matches('"').to_owned())
    };
    let pairs = lines.windows(2);
    pairs
        .filter_map(|pair| Some((value(pair[0], "name")?, value(pair[1], "version")?)))
        .collect()
}

/// So a project builds where the guests were built, without a network.
#[test]
fn the_template_has_the_packages_of_the_guests_and_no_others() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path));
    let guests = packages(&read("tests/guests/Cargo.lock")?);
    let template = packages(&read("tools/templates/rust/shared/Cargo.lock")?);
    ensure!(template.len() > 20, "{template:?}");
    let own: Vec<_> = template.difference(&guests).map(|(name, _)| name).collect();
    ensure!(
        own == ["{{name}}"],
        "not in tests/guests/Cargo.lock: {own:?}"
    );
    Ok(())
}
