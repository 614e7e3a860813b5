//! What a tool keeps between its calls: keys and values, for each tenant and tool apart.
//!
//! A call sees what is committed, and its own writes over that; nobody else sees those. They become
//! visible in the commit of its observation (or of its undo), or never. What a write tool saw is
//! recorded, so that running it again sees the same.

use serde::{Deserialize, Serialize};

use crate::call::Position;
use crate::digest::sha256;
use crate::effect::body_text;

/// Bytes of a key at most: it is a column, and part of an index.
pub const KEY_BYTES: usize = 256;

/// Bytes of a value at most: 64 KiB. State is a memory, and no place for files.
pub const VALUE_BYTES: usize = 64 * 1024;

/// Keys that a tool may keep for a tenant. A tool that needs more has a database at its far side.
pub const KEYS: u32 = 1_000;

/// Bytes of keys and values that a tool may keep for a tenant: 1 MiB.
pub const BYTES: u64 = 1024 * 1024;

/// Keys that one call may write: they go into one event.
pub const WRITES_A_CALL: usize = 100;

/// Bytes of keys and values that one call may write: 256 KiB.
pub const WRITTEN_BYTES_A_CALL: usize = 256 * 1024;

/// Questions to its state that one call may ask. Stops a loop over keys that are not there.
pub const LOOKS_A_CALL: u32 = 1_000;

/// Bytes that one call may read out of its state: all that a tool may keep, once. What a write tool
/// read goes into the journal.
pub const READ_BYTES_A_CALL: usize = 1024 * 1024;

/// Keys of one page of `list-keys`.
pub const PAGE_KEYS: usize = 100;

/// Bytes of a value, readable in the journal where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(#[serde(with = "body_text")] pub Vec<u8>);

/// What a value is known by: SHA-256 over it, behind a domain.
pub fn value_digest(value: &[u8]) -> [u8; 32] {
    sha256("stoplog/state-value1", &[value])
}

/// One key that a call has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateWrite {
    /// Which.
    pub key: String,
    /// What is there from now on; none if the key was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// What is asked of the committed state of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateAsk {
    /// The value of a key.
    Value(String),
    /// All keys.
    Keys,
    /// How much there is.
    Room,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "snake_case")]
pub enum StateSeen {
    /// The value of a key; none if there is no such key.
    Value {
        /// Which key.
        key: String,
        /// Its value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
    /// All keys, in the order of their bytes.
    Keys {
        /// The keys.
        keys: Vec<String>,
    },
    /// How much there is.
    Room {
        /// Keys.
        keys: u32,
        /// Bytes of keys and values.
        bytes: u64,
    },
}

impl StateSeen {
    /// Whether this is the answer to a question.
    pub fn answers(&self, ask: &StateAsk) -> bool {
        match (self, ask) {
            (StateSeen::Value { key, .. }, StateAsk::Value(asked)) => key == asked,
            (StateSeen::Keys { .. }, StateAsk::Keys) | (StateSeen::Room { .. }, StateAsk::Room) => {
                true
            }
            _ => false,
        }
    }
}

/// See [`Event::StateRead`](crate::Event::StateRead).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRead {
    /// The call.
    pub position: Position,
    /// Which look of the call at its state, counted from 0.
    pub index: u32,
    /// What it saw.
    #[serde(flatten)]
    pub seen: StateSeen,
}

/// What a guest asks of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateOp {
    /// The value of a key.
    Get(String),
    /// Whether there is a key.
    Exists(String),
    /// A value under a key.
    Set(String, Vec<u8>),
    /// No key of this name any more.
    Delete(String),
    /// Keys in the order of their bytes: a page from so many keys on. A page from 0 looks anew.
    Keys(u64),
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateGot {
    /// For `Get`.
    Value(Option<Vec<u8>>),
    /// For `Exists`.
    Exists(bool),
    /// For `Set` and `Delete`.
    Done,
    /// For `Keys`: a page, and where the next one begins, if there is one.
    Keys(Vec<String>, Option<u64>),
}

/// Why it gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateRefused {
    /// It may not, here.
    #[error("{0}")]
    Denied(String),
    /// It is too much, or makes no sense.
    #[error("{0}")]
    Limit(String),
    /// The call is stopped, or the journal cannot be read.
    #[error("{0}")]
    Stopped(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_journal_byte_for_byte() {
        for bytes in [&b"{\"n\": 1}"[..], b"", b"\xff\x00\xfe"] {
            let write = StateWrite {
                key: "k".into(),
                value: Some(Value(bytes.to_vec())),
            };
            let text = serde_json::to_string(&write).expect("json");
            let back: StateWrite = serde_json::from_str(&text).expect("json");
            assert_eq!(back, write);
        }
        let gone = StateWrite {
            key: "k".into(),
            value: None,
        };
        let text = serde_json::to_string(&gone).expect("json");
        assert_eq!(text, r#"{"key":"k"}"#);
        assert_eq!(
            serde_json::from_str::<StateWrite>(&text).expect("json"),
            gone
        );
    }

    #[test]
    fn an_answer_belongs_to_its_question() {
        let seen = StateSeen::Value {
            key: "a".into(),
            value: None,
        };
        assert!(seen.answers(&StateAsk::Value("a".into())));
        assert!(!seen.answers(&StateAsk::Value("b".into())));
        assert!(!seen.answers(&StateAsk::Keys));
        let text = serde_json::to_string(&StateRead {
            position: Position {
                iteration: 1,
                ordinal: 0,
            },
            index: 0,
            seen,
        })
        .expect("json");
        assert_eq!(
            text,
            r#"{"position":{"iteration":1,"ordinal":0},"index":0,"saw":"value","key":"a"}"#
        );
        let read: StateRead = serde_json::from_str(&text).expect("json");
        let event = crate::Event::StateRead(read);
        let text = serde_json::to_string(&event).expect("json");
        let back: crate::Event = serde_json::from_str(&text).expect("json");
        assert_eq!(back, event);
    }
}
