//! One tool call of a turn, and its position.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a call stands in its session. Stable over crashes, retries and resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The turn, counted from 1. `step_index` in spans is one less.
    pub iteration: u32,
    /// Place in the turn, counted from 0.
    pub ordinal: u32,
}

impl Position {
    /// `step_index` of requirement 28: the iteration, counted from 0.
    pub fn step_index(self) -> u32 {
        self.iteration.saturating_sub(1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.iteration, self.ordinal)
    }
}

/// A tool call, as the model asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Place in the turn, counted from 0.
    pub ordinal: u32,
    /// The tool's name as the model wrote it; it may name no tool at all.
    pub tool: String,
    /// The arguments. `Value::String` with the raw text when they were not JSON.
    pub arguments: Value,
    /// The provider's id of the call, to answer it by. Never part of a key. In a client's session:
    /// the client's own key of the call, by which it may ask for it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}
