//! Tells all that it can find out about its surroundings: run again, it must say the same.

use far::Act;
use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};
use stoplog_sdk::prelude::*;

#[output]
struct Surroundings {
    /// Random numbers, as hex.
    #[audit]
    rolls: Vec<String>,
    /// What the clock shows, in milliseconds since 1970.
    #[audit]
    now_ms: u64,
    /// How many environment variables there are.
    #[audit]
    env_vars: u32,
    /// How many arguments there are.
    #[audit]
    args: u32,
}

/// Rolls dice, and looks at the clock.
#[tool(class = pure)]
fn dice(_: Act) -> Result<Surroundings, ToolError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Surroundings {
        rolls: vec![roll()?, roll()?, map_key(), map_key()],
        now_ms: now.map_or(0, |past| past.as_millis() as u64),
        env_vars: env::vars_os().count() as u32,
        args: env::args_os().count() as u32,
    })
}

/// From `wasi:random/random`.
fn roll() -> Result<String, ToolError> {
    match getrandom::u64() {
        Ok(number) => Ok(format!("{number:016x}")),
        Err(error) => Err(ToolError::internal(error.to_string())),
    }
}

/// From `wasi:random/insecure-seed`: the standard library keys its hash maps by it.
fn map_key() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
