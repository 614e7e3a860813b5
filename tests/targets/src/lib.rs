//! Everything that reads what others wrote, as functions of bytes.
//!
//! Each takes any bytes, and panics when the host would break a promise on them: that is all that a
//! fuzzer needs (`tests/fuzz`), and `tests/budget.rs` gives each a fixed number of mutated seeds in
//! every run of the test suite.
//!
//! What is absent: none of them opens a file, a socket or a database.

mod adapter;
mod contract;

use std::path::Path;

use stoplog_journal::codec;
use stoplog_journal::store::{CLEAR_FORMAT, Row};

pub use adapter::http_adapter;
pub use contract::{contract, key_template, schema};

/// A name, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("loader", loader),
    ("contract", contract),
    ("schema", schema),
    ("key_template", key_template),
    ("journal_codec", journal_codec),
    ("config", config),
    ("http_adapter", http_adapter),
];

/// A component's bytes: refused with a reason and a message, or read.
pub fn loader(bytes: &[u8]) {
    match stoplog_sandbox::inspect(bytes) {
        Err(error) => assert!(!error.message.is_empty(), "{}", error.reason),
        Ok(inspection) => {
            assert!(inspection.floor <= inspection.class, "{inspection:?}");
            assert_eq!(inspection.size_bytes, bytes.len());
        }
    }
}

/// The body of an event, as a journal has it. What is read is written as what reads the same.
pub fn journal_codec(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let kind = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|v| Some(v.get("kind")?.as_str()?.to_owned()));
    let row = Row {
        seq: 1,
        format: CLEAR_FORMAT,
        epoch: 1,
        at_ms: 0,
        kind: kind.unwrap_or_default(),
        iteration: None,
        ordinal: None,
        tool: None,
        args_digest: None,
        key: None,
        summary: None,
        body: text.clone().into_owned(),
        encrypted: None,
        chain: [0; 32],
    };
    let _ = codec::kept_observation(&text);
    let Ok(record) = codec::decode(&row) else {
        return;
    };
    let written = serde_json::to_string(&record.event).expect("an event that was read is written");
    let again = codec::decode(&Row {
        body: written,
        ..row
    });
    assert_eq!(again.as_ref(), Ok(&record));
}

/// A configuration: an error names the file and the line, and shows no more than a few lines.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = stoplog::config::Config::parse(Path::new("stoplog.toml"), &text) {
        assert!(
            error.message.starts_with("stoplog.toml:"),
            "{}",
            error.message
        );
    }
}
