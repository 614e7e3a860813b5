//! All printing, in one place: tables and texts for people, JSON where a machine may read.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use stoplog_policy::readable::make_readable;

use crate::error::CliError;

/// Prints a line to standard output. Nothing in it may steer a terminal or hide: names and
/// messages come from models and far sides.
pub(crate) fn line(text: impl AsRef<str>) {
    use std::io::Write;
    // A closed pipe (`| head`) is no error of ours.
    let _ = writeln!(std::io::stdout(), "{}", make_readable(text.as_ref()));
}

/// Prints a text as it is: for machines.
pub(crate) fn text(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a JSON value, indented.
pub(crate) fn json(value: &Value) {
    use std::io::Write;
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a JSON value on a line of its own: for what comes one after the other.
pub(crate) fn json_line(value: &Value) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{value}");
}

/// Prints lines to standard error. Nothing in them may steer a terminal or hide: a message names
/// what a component imports, and its author chose that.
pub(crate) fn note(text: impl AsRef<str>) {
    use std::io::Write;
    for line in text.as_ref().lines() {
        let _ = writeln!(std::io::stderr(), "{}", make_readable(line));
    }
}

/// Prints an error to standard error.
pub(crate) fn print_error(as_json: bool, error: &CliError) {
    let (code, hint) = code_and_hint(error);
    if as_json {
        note(json!({"error": error_json(error)}).to_string());
        return;
    }
    note(format!("error[{code}]: {}", error.message));
    if let Some(hint) = hint {
        note(format!("  to do: {hint}"));
    }
}

/// The code of an error, and what to do about it.
pub(crate) fn code_and_hint(error: &CliError) -> (&'static str, Option<&'static str>) {
    let code = error.reason.map_or("internal", |r| r.code());
    (code, error.reason.map(|r| r.hint()))
}

/// An error for machines.
pub(crate) fn error_json(error: &CliError) -> Value {
    let (code, hint) = code_and_hint(error);
    json!({"reason": code, "message": error.message, "hint": hint})
}

/// A table for people, as wide as it needs to be.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied())
        .add_rows(rows);
    for text in table.to_string().lines() {
        line(text.trim_end());
    }
}

/// A time for people: UTC, to the second.
pub(crate) fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => ms.to_string(),
    }
}
