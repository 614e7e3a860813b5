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
        &[":9:8", "\"scripted\" or \"openai\""],
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
