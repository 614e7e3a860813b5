//! Who comes in, and how far.

use anyhow::ensure;
use serde_json::json;
use stoplog_tests::service::{Say, Service};

use super::{act, world};

#[test]
fn nobody_comes_in_without_a_key_that_may() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    let keys: Vec<(&str, String)> = ["agent", "operator", "approver", "viewer"]
        .into_iter()
        .map(|role| Ok((role, world.key("acme", role, role)?)))
        .collect::<anyhow::Result<_>>()?;
    let service = Service::start(&world)?;
    for wrong in ["", "slk_000000000000_00", &keys[0].1[..40]] {
        let heard = act(&service, wrong, "keyed", "x", None)?;
        ensure!(
            (heard.status, heard.reason()) == (401, "unauthenticated".into()),
            "{heard:?}"
        );
        ensure!(heard.headers["www-authenticate"] == "Bearer", "{heard:?}");
    }
    let none = service.ask("GET", "/approvals", &Say::default())?;
    ensure!(none.status == 401, "{none:?}");
    // What each role may do, of all that there is to do.
    let rights = [
        (
            "POST",
            "/tools/keyed/call",
            json!({"arguments": {"name": "x"}}),
            "agent",
        ),
        ("POST", "/agent/run", json!({"task": "do it"}), "agent"),
        ("GET", "/tools", json!({}), "agent operator approver viewer"),
        ("GET", "/approvals", json!({}), "operator approver viewer"),
        ("GET", "/traces", json!({}), "operator approver viewer"),
        ("GET", "/cost", json!({}), "operator approver viewer"),
        ("GET", "/parked", json!({}), "operator approver viewer"),
        ("POST", "/approvals/ap_0/approve", json!({}), "approver"),
        (
            "POST",
            "/approvals/ap_0/reject",
            json!({"note": "no"}),
            "approver",
        ),
        (
            "POST",
            "/parked/s/1.0/resolve",
            json!({"as": "not-done"}),
            "operator",
        ),
        ("POST", "/mcp", json!({}), "agent"),
    ];
    for (method, path, body, may) in rights {
        for (role, key) in &keys {
            let heard = service.ask(method, path, &Say::of(key).body(body.clone()))?;
            let refused = heard.status == 403;
            ensure!(refused != may.contains(role), "{role} at {path}: {heard:?}");
        }
    }
    // A key that is taken back is good for nothing at once.
    let listed = world.host(&["key", "list"])?;
    let id = listed.json[0]["id"].as_str().unwrap_or_default().to_owned();
    ensure!(world.host(&["key", "revoke", &id])?.code == Some(0));
    let heard = act(&service, &keys[0].1, "keyed", "x", None)?;
    ensure!(heard.status == 401, "{heard:?}");
    let gone = world.host(&["key", "revoke", &id])?;
    ensure!(gone.stderr.contains("key_not_found"), "{gone:?}");
    // No secret is written anywhere.
    let secret = keys[1].1.rsplit('_').next().unwrap_or_default();
    let grep = std::process::Command::new("grep")
        .args(["-rl", secret])
        .arg(world.path())
        .output()?;
    ensure!(grep.stdout.is_empty(), "{grep:?}");
    Ok(())
}

#[test]
fn without_keys_a_tenant_is_named_and_nobody_decides() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.write_config("[serve]\nauth = \"off\"\n")?;
    let service = Service::start(&world)?;
    let call = |say: Say<'_>| {
        let say = say.body(json!({"arguments": {"name": "x"}}));
        service.ask("POST", "/tools/keyed/call", &say)
    };
    let nameless = call(Say::default())?;
    ensure!(
        (nameless.status, nameless.reason()) == (401, "unauthenticated".into()),
        "{nameless:?}"
    );
    let named = call(Say::default().with("stoplog-tenant", "acme"))?;
    ensure!(named.status == 200, "{named:?}");
    let say = Say::default()
        .with("stoplog-tenant", "acme")
        .body(json!({}));
    let decides = service.ask("POST", "/approvals/ap_0/approve", &say)?;
    ensure!(decides.status == 403, "{decides:?}");
    drop(service);
    // Only on a loopback address.
    let said = world.host(&["serve", "--listen", "0.0.0.0:0"])?;
    ensure!(
        said.code == Some(4) && said.stderr.contains("config_invalid"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn a_name_or_a_page_of_somebody_else_is_refused() -> anyhow::Result<()> {
    let world = world(&["keyed"])?;
    world.write_config(
        "[serve]\nhosts = [\"tools.example.com\"]\norigins = [\"https://desk.example.com\"]\n",
    )?;
    let agent = world.key("acme", "agent", "bot")?;
    let service = Service::start(&world)?;
    let port = service.address.port();
    let (local, other) = (
        format!("localhost:{port}"),
        format!("evil.example.com:{port}"),
    );
    for (host, origin, status) in [
        (local.as_str(), None, 200),
        ("tools.example.com", None, 200),
        (&other, None, 403),
        ("127.0.0.1.evil.example.com", None, 403),
        ("", None, 403),
        (&local, Some("https://desk.example.com"), 200),
        (&local, Some("https://evil.example.com"), 403),
        (&local, Some("null"), 403),
    ] {
        for path in ["/health", "/tools"] {
            let mut say = Say::of(&agent).with("host", host);
            if let Some(origin) = origin {
                say = say.with("origin", origin);
            }
            let heard = service.ask("GET", path, &say)?;
            ensure!(heard.status == status, "{host} {origin:?}: {heard:?}");
            ensure!(
                status == 200 || heard.reason() == "host_refused",
                "{heard:?}"
            );
        }
    }
    Ok(())
}
