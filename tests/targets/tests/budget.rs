//! A fixed budget of mutated seeds for each target, the same in every run: what a fuzzer would do,
//! where no fuzzer is installed. A failure prints the input.
//!
//! `STOPLOG_BUDGET=1000000 STOPLOG_SEED=7 cargo test -p stoplog-targets --test budget` spends more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use stoplog_targets::{ALL, Target};

/// Inputs for each target.
const BUDGET: u64 = 10_000;
/// Changes that are made to a seed at most.
const CHANGES: u32 = 6;

/// Words that decide something in what the targets read.
const WORDS: &[&str] = &[
    "{{secret:TOKEN}}",
    "%7B%7Bsecret:",
    "}}",
    "\"$ref\":\"#\"",
    "\"$ref\":\"#/$defs/x\"",
    "\"x-disclosure\"",
    "\"audit\"",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "[[[[[[[[",
    "{\"a\":",
    "\\u0000",
    "\u{202e}",
    "\r\n",
    "\0",
    "https://",
    "http://127.0.0.1",
    "@evil.example",
    "/../",
    "%2e%2e/",
    "..;/",
    "#",
    "?",
    ":0",
    ":65536",
    "{a}",
    "{",
    "}",
    "\"kind\":\"observed\"",
    "content-length: 3\n",
    "[grant]",
    "= \"\"",
    "POST",
    "CONNECT",
    "\u{430}",
    ".",
    "~",
];

/// xorshift64*: the same inputs in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or(0) % end.max(1)
    }
}

fn mutated(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(CHANGES as usize) {
        let at = dice.below(bytes.len() + 1);
        let to = (at + dice.below(40)).min(bytes.len());
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                for _ in 0..=dice.below(20) {
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
            4 => {
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..to, word.bytes());
            }
        }
    }
    bytes
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let parts = |text: &str, between: &str| -> Vec<Vec<u8>> {
        text.split(between)
            .map(|part| part.as_bytes().to_vec())
            .collect()
    };
    match target {
        "loader" => [
            "(component)",
            "(component (import \"wasi:cli/exit@0.2.6\" (instance)) (instance $i)
               (export \"stoplog:tool/about@0.1.0\" (instance $i))
               (export \"stoplog:tool/read-tool@0.1.0\" (instance $i)))",
            "(module)",
        ]
        .iter()
        .map(|text| wat::parse_str(text).expect("wat"))
        .collect(),
        "journal_codec" => parts(include_str!("../seeds/events.jsonl"), "\n"),
        "config" => parts(include_str!("../seeds/config.toml"), "\0"),
        "http_adapter" => parts(include_str!("../seeds/requests.txt"), "----\n"),
        _ => parts(include_str!("../seeds/contracts.txt"), "----\n"),
    }
}

fn spend(&(name, target): &Target) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let number = |variable: &str, otherwise: u64| match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    };
    let mut dice = Dice(number("STOPLOG_SEED", 0x5eed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for round in 0..number("STOPLOG_BUDGET", BUDGET) {
        let seed = &seeds[dice.below(seeds.len())];
        let other = &seeds[dice.below(seeds.len())];
        // The seeds themselves come first.
        let input = match seeds.get(round as usize) {
            Some(whole) => whole.clone(),
            None => mutated(seed, other, &mut dice),
        };
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!(
                "{name}, round {round}: {:?}",
                String::from_utf8_lossy(&input)
            );
        }
    }
}

#[test]
fn no_target_breaks_within_its_budget() {
    for target in ALL {
        spend(target);
    }
}

/// Each target gets as far as to what it is there for: a seed of its own is accepted by its reader.
#[test]
fn seeds_are_what_the_readers_read() {
    let events = seeds("journal_codec");
    let read = events
        .iter()
        .filter(|text| stoplog_model_event(text))
        .count();
    assert!(read >= 8, "{read} events are read");
    let text = String::from_utf8(seeds("config").remove(0)).expect("text");
    stoplog::config::Config::parse(std::path::Path::new("stoplog.toml"), &text).expect("config");
}

fn stoplog_model_event(text: &[u8]) -> bool {
    serde_json::from_slice::<stoplog_model::event::Event>(text).is_ok()
}

/// `cargo fuzz` has each target that this suite has.
#[test]
fn each_target_has_its_fuzzer() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    for (name, _) in ALL {
        let file = fuzz.join(format!("fuzz_targets/{name}.rs"));
        let source = std::fs::read_to_string(&file).expect("a fuzzer");
        assert!(
            source.contains(&format!("stoplog_targets::{name}(")),
            "{name}"
        );
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
