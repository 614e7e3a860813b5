//! `mcp install`: the entry of this server in a client's configuration.
//!
//! Invariants:
//! * what the client's file has, and nobody here knows, stays as it is, in its order;
//! * nothing is written before the difference was shown and agreed to;
//! * a file that cannot be read as JSON is not touched: its entry is printed instead.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use stoplog_model::Reason;

use super::Context;
use crate::args::{Client, Install};
use crate::error::{CliError, Exit};
use crate::files::{Readers, replace};
use crate::output;

pub(super) fn run(context: &Context, args: Install) -> Result<Exit, CliError> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => usual_place(args.client)?,
    };
    let entry = entry(context, &args)?;
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(invalid(&path, &entry, e)),
    };
    let after = with_entry(&before, section(args.client), &args.name, &entry)
        .map_err(|why| invalid(&path, &entry, why))?;
    output::note(format!("{}", path.display()));
    if before == after {
        output::note("  nothing changes");
        return tell(context, &path, false);
    }
    for line in difference(&before, &after) {
        output::note(line);
    }
    if !args.yes && !agreed()? {
        let message = "nothing was written";
        return Err(CliError::new(Reason::ClientConfigInvalid, message));
    }
    write(&path, &after).map_err(|e| invalid(&path, &entry, e))?;
    tell(context, &path, true)
}

fn tell(context: &Context, path: &Path, written: bool) -> Result<Exit, CliError> {
    match context.json {
        true => output::json(&json!({"file": path, "written": written})),
        false if written => output::line("written; start the client anew"),
        false => {}
    }
    Ok(Exit::Ok)
}

fn invalid(path: &Path, entry: &Value, why: impl std::fmt::Display) -> CliError {
    let message = format!("{}: {why}. The entry: {entry}", path.display());
    CliError::new(Reason::ClientConfigInvalid, message)
}

/// What the client is to start. Every path in it is absolute: a client starts it anywhere.
fn entry(context: &Context, args: &Install) -> Result<Value, CliError> {
    let program = std::env::current_exe().map_err(|e| CliError::internal(e.to_string()))?;
    let config = context.config_path();
    let config = std::path::absolute(config).map_err(|e| CliError::internal(e.to_string()))?;
    context.config()?;
    let mut entry = json!({
        "command": program,
        "args": ["--config", config, "mcp", "--tenant", args.tenant],
    });
    if args.client == Client::Vscode {
        entry["type"] = json!("stdio");
    }
    Ok(entry)
}

/// Where the client lists its servers.
fn section(client: Client) -> &'static str {
    match client {
        Client::ClaudeDesktop | Client::ClaudeCode | Client::Cursor => "mcpServers",
        Client::Vscode => "servers",
    }
}

fn usual_place(client: Client) -> Result<PathBuf, CliError> {
    let home = || {
        let home = std::env::home_dir();
        home.ok_or_else(|| {
            CliError::internal("there is no home directory: name the file with --file")
        })
    };
    Ok(match client {
        Client::ClaudeDesktop if cfg!(target_os = "macos") => {
            home()?.join("Library/Application Support/Claude/claude_desktop_config.json")
        }
        Client::ClaudeDesktop => home()?.join(".config/Claude/claude_desktop_config.json"),
        Client::ClaudeCode => PathBuf::from(".mcp.json"),
        Client::Cursor => home()?.join(".cursor/mcp.json"),
        Client::Vscode => PathBuf::from(".vscode/mcp.json"),
    })
}

/// The text with the entry in it. An object is needed on the way; anything else is not touched.
fn with_entry(before: &str, section: &str, name: &str, entry: &Value) -> Result<String, String> {
    let mut whole: Value = match before.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|e| format!("it is no plain JSON: {e}"))?,
    };
    let servers = whole
        .as_object_mut()
        .ok_or("it is no object")?
        .entry(section)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| format!("`{section}` is no object"))?;
    match servers.get_mut(name) {
        // What a person added to the entry stays: variables, a switch.
        Some(Value::Object(there)) => {
            for (key, value) in entry.as_object().into_iter().flatten() {
                there.insert(key.clone(), value.clone());
            }
        }
        Some(_) => return Err(format!("`{section}.{name}` is no object")),
        None => drop(servers.insert(name.to_owned(), entry.clone())),
    }
    let same = serde_json::from_str::<Value>(before).is_ok_and(|old| old == whole);
    if same {
        return Ok(before.to_owned());
    }
    let mut text = serde_json::to_string_pretty(&whole).map_err(|e| e.to_string())?;
    text.push('\n');
    Ok(text)
}

/// The lines that go and come. What both begin and end with is left out.
fn difference(before: &str, after: &str) -> Vec<String> {
    let lines = before.lines().zip(after.lines());
    let first = lines.take_while(|(old, new)| old == new).count();
    let mut old: Vec<&str> = before.lines().skip(first).collect();
    let mut new: Vec<&str> = after.lines().skip(first).collect();
    while !old.is_empty() && old.last() == new.last() {
        old.pop();
        new.pop();
    }
    let gone = old.iter().map(|line| format!("- {line}"));
    let come = new.iter().map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

fn agreed() -> Result<bool, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = "nobody is there to ask: add --yes";
        return Err(CliError::new(Reason::ClientConfigInvalid, message));
    }
    let _ = write!(std::io::stderr(), "Write it? [y/N] ");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|e| CliError::internal(e.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

/// A link leads to the file that is meant, and stays one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let meant = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(&meant, text.as_bytes(), Readers::AsBefore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_in_and_all_else_stays() {
        let before = "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\"other\": {\"command\": \"x\", \"odd\": [1]},\n    \"stoplog\": {\"command\": \"old\", \"env\": {\"A\": \"1\"}}},\n  \"z\": null\n}";
        let entry = json!({"command": "new", "args": ["mcp"]});
        let after = with_entry(before, "mcpServers", "stoplog", &entry).expect("an object");
        let told: Value = serde_json::from_str(&after).expect("json");
        let expected = json!({
            "theme": "dark",
            "mcpServers": {
                "other": {"command": "x", "odd": [1]},
                "stoplog": {"command": "new", "env": {"A": "1"}, "args": ["mcp"]},
            },
            "z": null,
        });
        assert_eq!(told, expected);
        let keys: Vec<&String> = told.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["theme", "mcpServers", "z"], "the order stays");
        let again = with_entry(&after, "mcpServers", "stoplog", &entry).expect("an object");
        assert_eq!(again, after, "the second time nothing changes");
    }

    #[test]
    fn what_is_no_plain_object_is_not_touched() {
        let entry = json!({});
        for bad in [
            "{ // a comment\n}",
            "[]",
            "{\"servers\": []}",
            "{\"servers\": {\"s\": 1}}",
            "{",
        ] {
            assert!(with_entry(bad, "servers", "s", &entry).is_err(), "{bad}");
        }
        assert!(with_entry("", "servers", "s", &entry).is_ok());
    }

    #[test]
    fn only_what_differs_is_shown() {
        let lines = difference("{\n a\n b\n}", "{\n a\n c\n d\n}");
        assert_eq!(lines, ["-  b", "+  c", "+  d"]);
    }
}
