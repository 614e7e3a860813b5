use super::*;

const GOOD: &str = r#"
data_dir = "data"

[agent]
feature = "refund_handling"
system_prompt = "You handle refunds."

[model]
kind = "scripted"
script = "priya.json"

[[grant]]
tools = ["issue_refund"]
origin = "http://nimbus.internal/"
connect = "127.0.0.1:8080"

[tools.issue_refund]
clear_when = ["amount_inr <= 50000"]
"#;

/// Replaces one piece of the good file; the error must hold these parts.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let error = Config::parse(Path::new("dir/stoplog.toml"), &GOOD.replace(from, to))
        .expect_err("a mistake");
    assert_eq!(error.reason, Some(Reason::ConfigInvalid));
    for part in expected {
        assert!(
            error.message.contains(part),
            "{part:?} is not in {:?}",
            error.message
        );
    }
}

#[test]
fn a_good_file_is_read_relative_to_itself() {
    let config = Config::parse(Path::new("dir/stoplog.toml"), GOOD).expect("good");
    assert_eq!(config.data_dir, Path::new("dir/data"));
    assert_eq!(config.max_iterations, 20);
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!(config.grants["issue_refund"].len(), 1);
}

#[test]
fn every_mistake_has_file_line_and_cure() {
    check(
        "feature =",
        "faeture =",
        &["dir/stoplog.toml:5:1", "faeture", "expected"],
    );
    check(
        "kind = \"scripted\"",
        "kind = \"script\"",
        &[":9:8", "\"scripted\", \"openai\""],
    );
    check(
        "connect = \"127.0.0.1:8080\"",
        "connect = \"localhost\"",
        &[":15:11", "127.0.0.1:8080"],
    );
    check("http://nimbus.internal/", "nimbus.internal", &[":14:10"]);
    check(
        "amount_inr <= 50000",
        "amount_inr <=",
        &[":18:15", "issue_refund"],
    );
    check(
        "kind = \"scripted\"",
        "kind = \"openai\"",
        &[":8:1", "base_url"],
    );
    check(
        "[agent]",
        "[agent]\nmax_iterations = 0",
        &[":5:18", "1 to 100"],
    );
    for grace in ["0", "3601"] {
        let section = format!("[shutdown]\ngrace_seconds = {grace}\n[agent]");
        check("[agent]", &section, &[":5:17", "1 to 3600"]);
    }
    check("data_dir = \"data\"", "data_dir = ", &[":2:12"]);
    check("[model]", "[modle]", &["modle"]);
}

#[test]
fn the_grace_of_a_shutdown_may_be_set() {
    let text = format!("{GOOD}\n[shutdown]\ngrace_seconds = 7\n");
    let config = Config::parse(Path::new("stoplog.toml"), &text).expect("good");
    assert_eq!(config.grace, Duration::from_secs(7));
}

#[test]
fn what_is_kept_is_kept_long_enough() {
    let kept = |section: &str| {
        let text = format!("{GOOD}\n[retention]\n{section}\n");
        Config::parse(Path::new("stoplog.toml"), &text).map(|c| {
            let days = |ms: u64| ms / (24 * 60 * 60 * 1000);
            let k = c.retention;
            (days(k.sessions_ms), days(k.keys_ms), days(k.audit_ms))
        })
    };
    assert_eq!(kept(""), Ok((30, 30, 2555)));
    assert_eq!(kept("sessions_days = 90"), Ok((90, 90, 2555)));
    assert_eq!(kept("keys_days = 60\naudit_days = 100"), Ok((30, 60, 100)));
    assert_eq!(kept("sessions_days = 4000"), Ok((4000, 4000, 4000)));
    for (section, cure) in [
        ("keys_days = 29", "less than sessions_days, which is 30"),
        ("audit_days = 29", "less than keys_days, which is 30"),
        ("sessions_days = 0", "1 to 36500"),
        ("session_days = 1", "session_days"),
    ] {
        let error = kept(section).expect_err(section);
        assert_eq!(error.reason, Some(Reason::ConfigInvalid));
        assert!(error.message.contains(cure), "{}", error.message);
    }
}

#[test]
fn an_age_is_a_number_and_a_unit() {
    for (text, ms) in [
        ("0s", 0),
        ("90m", 5_400_000),
        ("12h", 43_200_000),
        ("30d", 2_592_000_000),
    ] {
        assert_eq!(parse_age(text), Ok(ms));
    }
    for bad in [
        "",
        "d",
        "30",
        "-1d",
        "+1d",
        "1.5h",
        "1w",
        "3é",
        "999999999999999999d",
    ] {
        assert!(parse_age(bad).is_err(), "{bad}");
    }
}

fn with_limits(limits: &str) -> Result<Config, CliError> {
    Config::parse(Path::new("stoplog.toml"), &format!("{GOOD}\n{limits}"))
}

#[test]
fn limits_are_of_all_and_of_each_tenant() {
    let bounds = with_limits("").expect("good").calls;
    assert_eq!(bounds, stoplog_dispatch::default_bounds());

    let text = "[limits]\ncalls_at_once = 8\ncalls_waiting = 20\n\
                [limits.tenants.acme]\ncalls_at_once = 2\n";
    let bounds = with_limits(text).expect("good").calls;
    let of = |name: &str| {
        let share = bounds.share(&stoplog_model::Tenant::new(name).expect("a name"));
        (share.places.get(), share.waiting)
    };
    assert_eq!(of("acme"), (2, 20));
    assert_eq!(of("initech"), (8, 20), "nobody has more than all");
}

#[test]
fn limits_that_make_no_sense_are_told() {
    for (limits, expected) in [
        (
            "[limits]\ncalls_at_once = 0",
            "calls_at_once must be 1 to 64",
        ),
        ("[limits]\ncalls_at_once = 65", "1 to 64"),
        (
            "[limits]\ncalls_at_once = 4\ncalls_at_once_per_tenant = 5",
            "calls_at_once_per_tenant must be 1 to 4",
        ),
        (
            "[limits]\ncalls_waiting = 4\ncalls_waiting_per_tenant = 5",
            "calls_waiting_per_tenant must be 0 to 4",
        ),
        ("[limits]\ncall_wait_seconds = 0", "must be 1 to 600"),
        ("[limits.tenants.\"a b\"]\n", "`a b` is not a tenant"),
        ("[limits.tenants.a]\ncalls_at_onec = 1", "calls_at_onec"),
    ] {
        let error = with_limits(limits).expect_err("a mistake");
        assert_eq!(error.reason, Some(Reason::ConfigInvalid));
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(
            error.message.starts_with("stoplog.toml:2"),
            "{}",
            error.message
        );
    }
}
