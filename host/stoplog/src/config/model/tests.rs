//! `[model]`: what a good one is read as, and that each slip has its line and its cure.

use super::super::Config;
use super::*;
use stoplog_model::Reason;

const HEAD: &str = "[agent]\nfeature = \"f\"\nsystem_prompt = \"p\"\n";

fn parse(model: &str) -> Result<ChainConfig, CliError> {
    let text = format!("{HEAD}{model}");
    match Config::parse(Path::new("dir/stoplog.toml"), &text)?.model {
        ModelConfig::Chain(chain) => Ok(*chain),
        ModelConfig::Scripted { .. } => panic!("a script"),
    }
}

const FIRST: &str = "[model]\nkind = \"anthropic\"\nmodel = \"claude-haiku-4-5\"\n\
                     api_key_file = \"key\"\ncontext_window_tokens = 200000\n";
const SPARE: &str = "[[model.fallback]]\nname = \"spare\"\narmed = true\neval = \"evals/7\"\n\
                     kind = \"openai\"\nbase_url = \"http://localhost:4000/v1\"\nmodel = \"m\"\n\
                     input_usd_micros_per_million = 1\noutput_usd_micros_per_million = 2\n\
                     system_prompt = \"Be brief.\"\n";

#[test]
fn a_provider_and_its_fallback_are_read_with_their_defaults() {
    let chain = parse(&format!("{FIRST}{SPARE}")).expect("good");
    let first = &chain.first;
    assert_eq!(first.base_url.as_str(), "https://api.anthropic.com/v1");
    assert_eq!(first.key, Some(SecretSource::File("dir/key".into())));
    assert_eq!(
        (first.max_tokens, first.stream, first.temperature_milli),
        (2048, true, Some(0))
    );
    assert_eq!(first.priced.version, "2026-11-28");
    assert_eq!(chain.backoff.base, Duration::from_secs(1));
    assert_eq!(
        (chain.trimming.trim_at_percent, chain.trimming.keep_turns),
        (80, 2)
    );
    assert_eq!(chain.budget, Budget::default());
    let spare = &chain.fallbacks[0];
    assert_eq!(spare.on, DEFAULT_ON);
    assert!(spare.armed && !spare.after_write);
    assert_eq!(spare.system_prompt.as_deref(), Some("Be brief."));
    assert_eq!(
        spare.profile.priced.version, "",
        "a price beside the model is of no table"
    );
}

/// Something added to or replaced in the good file; the error must hold these parts.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    let good = format!("{FIRST}{SPARE}");
    assert!(good.contains(from), "{from}");
    let error = parse(&good.replacen(from, to, 1)).expect_err("a mistake");
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
fn every_slip_has_its_line_and_its_cure() {
    check(
        "kind = \"anthropic\"",
        "kind = \"claude\"",
        &[":5:8", "\"scripted\"", "\"gemini\""],
    );
    check(
        "api_key_file",
        "api_key_env = \"K\"\napi_key_file",
        &[":4:1", "not both"],
    );
    check(
        "model = \"claude-haiku-4-5\"",
        "model = \"tomorrow\"",
        &[":4:1", "`tomorrow`", "prices.toml"],
    );
    check("= 200000", "= 2048", &[":4:1", "more than max_tokens"]);
    check(
        "[[model",
        "[model.retry]\nfirst_wait_ms = 0\n[[model",
        &[":10:17", "1 to 30000"],
    );
    check(
        "[[model",
        "[model.context]\ntrim_at_percent = 99\n[[model",
        &[":10:19", "10 to 95"],
    );
    check(
        "[[model",
        "[model.context]\nkeep_turns = 0\n[[model",
        &["1 or more"],
    );
    check(
        "[[model",
        "[model.budget]\ntokens = 0\n[[model",
        &[":10:10", "left out"],
    );
    check(
        "[[model",
        "prices = \"nowhere.toml\"\n[[model",
        &[":9:10", "nowhere.toml"],
    );
    check("[[model", "temperature = 3\n[[model", &[":9:15", "0 to 2"]);
    check(
        "[[model",
        "temperature = 1.0\nsend_temperature = false\n[[model",
        &["no effect"],
    );
    check("[[model", "deadline_seconds = 0\n[[model", &["1 to 3600"]);
    check(
        "[[model",
        "token_limit_field = \"n\"\n[[model",
        &["max_completion_tokens"],
    );
    check(
        "eval = \"evals/7\"\n",
        "",
        &[":9:1", "`spare` is armed", "eval"],
    );
    check(
        "armed = true",
        "on = [\"internal\"]",
        &[":11:7", "provider_overloaded"],
    );
    check("name = \"spare\"", "name = \"a b\"", &[":10:8", "letters"]);
    check(
        "output_usd_micros_per_million = 2\n",
        "",
        &["`spare`", "part of a price"],
    );
    check(
        "base_url = \"http://localhost:4000/v1\"\n",
        "",
        &["`spare`", "needs `base_url`"],
    );
    check(
        "name = \"spare\"",
        "name = \"spare\"\nscript = \"x\"",
        &["script"],
    );
    let twice = parse(&format!("{FIRST}{SPARE}{SPARE}")).expect_err("the same name");
    assert!(twice.message.contains("its own"), "{}", twice.message);
}

#[test]
fn an_operators_prices_count_before_the_embedded_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("stoplog.toml");
    let table =
        "version = \"ours-1\"\n[[price]]\nmodels = [\"claude-haiku-4-5\"]\ninput = 7\noutput = 8\n";
    std::fs::write(dir.path().join("p.toml"), table).expect("written");
    let text = format!("{HEAD}{FIRST}prices = \"p.toml\"\n");
    let config = Config::parse(&path, &text).expect("good");
    let ModelConfig::Chain(chain) = config.model else {
        panic!("a script")
    };
    assert_eq!(chain.first.priced.version, "ours-1");
    assert_eq!(chain.first.priced.price.input, UsdMicros(7));
    std::fs::write(dir.path().join("p.toml"), "version = 1").expect("written");
    let error = Config::parse(&path, &text).expect_err("a slip");
    assert!(
        error.message.contains("p.toml") && error.message.contains("line 1"),
        "{}",
        error.message
    );
}
