//! A case: one input, how the far side answers, and what is expected. A TOML file.
//!
//! ```toml
//! input = { order_id = "448100", amount_inr = 6400 }
//!
//! [expect]
//! output = { refund_id = "re_1" }
//!
//! [[far]]
//! request = "POST /refunds"
//! status = 201
//! body = { refund_id = "re_{n}" }
//!
//! [[far]]
//! request = "GET /refunds/by-key/{key}"
//! body = { refunds = "{effects}" }
//! ```
//!
//! A line `[[far]]` with an unsafe method does an effect and remembers it, unless it says
//! otherwise; `far::script` says what a body may show of it. A file is read whole or refused: there
//! is no case with a broken part.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use stoplog_model::{Contract, Reason};

use super::far::{KeyPlace, Route, Script};
use crate::bounded;
use crate::error::CliError;

/// Cases in one folder at most: more is a folder that somebody named by mistake.
const MAX_CASES: usize = 200;

/// The file, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    /// In words, for the report.
    #[serde(default)]
    about: String,
    /// A table, or a text with JSON.
    input: Value,
    #[serde(default)]
    expect: Expect,
    /// Whether the far side keeps idempotency keys; the contract's word if left out.
    keeps_keys: Option<bool>,
    /// Where the far side looks for the key.
    #[serde(default)]
    key_in: KeyPlace,
    #[serde(default)]
    far: Vec<Route>,
}

/// What the author expects. All parts may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Fields of the output: these must be there, and equal.
    pub(super) output: Option<Value>,
    /// The error's code, such as `not-found`, or the reason of the host, such as `input_schema`.
    pub(super) error: Option<String>,
    /// Effects in force at the far side afterwards.
    pub(super) effects: Option<usize>,
}

/// A case, checked.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The name of its file without the ending.
    pub(super) name: String,
    pub(super) about: String,
    pub(super) input: Value,
    pub(super) expect: Expect,
    pub(super) script: Script,
}

impl Case {
    /// The same case, with a far side that forgets keys.
    pub(super) fn without_keys(&self) -> Script {
        Script {
            keeps_keys: false,
            ..self.script.clone()
        }
    }
}

fn invalid(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::new(Reason::CaseInvalid, format!("{}: {why}", path.display()))
}

/// Reads one case.
fn parse(path: &Path, text: &str, contract: &Contract) -> Result<Case, CliError> {
    let file: CaseFile = toml::from_str(text).map_err(|e| invalid(path, e))?;
    let input = match file.input {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|e| invalid(path, format!("`input` is a text, and no JSON: {e}")))?,
        input => input,
    };
    if file.expect.output.is_some() && file.expect.error.is_some() {
        let why = "[expect] has `output` and `error`: a call ends with one of them";
        return Err(invalid(path, why));
    }
    let script = Script {
        routes: file.far,
        keeps_keys: file.keeps_keys.unwrap_or(contract.keeps_keys),
        key_in: file.key_in,
        loses_answers: 0,
        holds_answers: 0,
    };
    script.check().map_err(|why| invalid(path, why))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Case {
        name: name.into_owned(),
        about: file.about,
        input,
        expect: file.expect,
        script,
    })
}

/// Reads the cases of a folder, in the order of their names.
pub(super) fn load(dir: &Path, contract: &Contract) -> Result<Vec<Case>, CliError> {
    let entries = fs::read_dir(dir).map_err(|e| invalid(dir, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(invalid(dir, "there is no case: write one, NAME.toml"));
    }
    if files.len() > MAX_CASES {
        return Err(invalid(dir, format!("more than {MAX_CASES} files")));
    }
    files
        .iter()
        .map(|path| {
            let text = bounded::text(path).map_err(|e| invalid(path, e))?;
            parse(path, &text, contract)
        })
        .collect()
}

/// What is missing or other in a value, compared with what is expected of it: fields that are not
/// named are free. None: it fits.
pub(super) fn misfit(expected: &Value, found: &Value, at: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().find_map(|(name, value)| {
                let at = format!("{at}/{name}");
                match found.get(name) {
                    None => Some(format!("{at} is not there; expected {value}")),
                    Some(found) => misfit(value, found, &at),
                }
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => expected
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(i, (e, f))| misfit(e, f, &format!("{at}/{i}"))),
        // 1 and 1.0 are one number in JSON.
        (Value::Number(e), Value::Number(f)) if e.as_f64() == f.as_f64() => None,
        (expected, found) if expected == found => None,
        (expected, found) => {
            let at = if at.is_empty() { "it" } else { at };
            Some(format!("{at} is {found}; expected {expected}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_named_must_fit() {
        let found = json!({"a": 1, "b": {"c": [1, 2]}, "d": null});
        assert_eq!(misfit(&json!({"b": {"c": [1, 2]}}), &found, ""), None);
        assert_eq!(misfit(&json!({"a": 1.0}), &found, ""), None);
        let other = misfit(&json!({"b": {"c": [1, 3]}}), &found, "");
        assert_eq!(other.as_deref(), Some("/b/c/1 is 2; expected 3"));
        let missing = misfit(&json!({"e": "x"}), &found, "");
        assert_eq!(missing.as_deref(), Some("/e is not there; expected \"x\""));
    }
}
