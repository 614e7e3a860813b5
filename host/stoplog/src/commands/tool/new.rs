//! `tool new`: the folder of a new tool, from a template.
//!
//! Invariant: nothing that is there is overwritten: the folder is new, or empty.

use std::fs;
use std::path::Path;

use serde_json::json;
use stoplog_model::Reason;

use super::{Context, from};
use crate::args::{New, ProjectClass};
use crate::error::{CliError, Exit};
use crate::output;
use crate::templates;

/// Words that a Rust function cannot be named by.
const RUST_WORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Words that a Python function cannot be named by.
const PYTHON_WORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif",
    "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda",
    "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Whether a tool of this name cannot be written in the language; in JavaScript a name is a text.
fn is_word_of(lang: &str, name: &str) -> bool {
    match lang {
        "rust" => RUST_WORDS.contains(&name),
        "python" => PYTHON_WORDS.contains(&name),
        _ => false,
    }
}

pub(super) fn run(context: &Context, new: &New) -> Result<Exit, CliError> {
    let (name, lang) = (&new.name, new.lang.as_str());
    let dir = Path::new(name.as_str());
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        let message = format!("{} is there, and not empty", dir.display());
        return Err(CliError::new(Reason::ProjectExists, message));
    }
    if let Some(template) = &new.from {
        return from::project(context, name.as_str(), template);
    }
    let class = new.class.map_or("", ProjectClass::as_str);
    let files = templates::project(name, lang, class)?;
    if is_word_of(lang, name.as_str()) {
        let message = format!(
            "`{name}` is a word of the language, and a tool in {lang} is a function of its name"
        );
        return Err(CliError::new(Reason::ToolNameReserved, message));
    }
    for (path, bytes) in &files {
        let path = dir.join(path);
        let unwritable = |e: std::io::Error| {
            let message = format!("{}: {e}", path.display());
            CliError::new(Reason::FileUnwritable, message)
        };
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(unwritable)?;
        }
        fs::write(&path, bytes).map_err(unwritable)?;
    }
    let own = files.keys().filter(|path| !path.starts_with(".stoplog"));
    let own: Vec<String> = own.map(|path| path.display().to_string()).collect();
    let next = format!("cd {name} && stoplog tool build");
    if context.json {
        output::json(&json!({
            "name": name, "lang": lang, "class": class, "files": own, "next": next,
        }));
        return Ok(Exit::Ok);
    }
    output::line(format!("made {name}/, a tool of class {class} in {lang}"));
    for path in own {
        output::line(format!("  {path}"));
    }
    output::line(format!("next: {next}"));
    Ok(Exit::Ok)
}
