//! What `tool new` writes: a template, the contract, and the SDK, all embedded in the command.
//!
//! Invariant: a project that was written builds without this checkout, from the registry's
//! packages alone. The SDK is in no registry yet, so it goes along, with the versions of the
//! workspace that this command was built from.
//!
//! `tools/templates/README.md` says how a template is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use stoplog_model::{Reason, ToolName};
use toml::{Table, Value};

use crate::error::CliError;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../tools/templates");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../tools/sdk/src");
static MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../tools/sdk-macros/src");

const SDK_MANIFEST: &str = include_str!("../../../tools/sdk/Cargo.toml");
const MACROS_MANIFEST: &str = include_str!("../../../tools/sdk-macros/Cargo.toml");
const WORKSPACE: &str = include_str!("../../../Cargo.toml");
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

/// What is of every class of a language.
const SHARED: &str = "shared";
/// Where the host's part of a project lies.
const OURS: &str = ".stoplog";

/// The files of a new project, by their path in it.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The project of a tool: its template filled in, the contract, and the SDK of its language.
pub(crate) fn project(name: &ToolName, lang: &str, class: &str) -> Result<Files, CliError> {
    if !languages(class).any(|known| known == lang) {
        let known: Vec<&str> = languages(class).collect();
        let message = format!(
            "there is no template for class {class} in `{lang}`; there is one in {}",
            known.join(", ")
        );
        return Err(CliError::new(Reason::TemplateMissing, message));
    }
    let mut files = Files::new();
    for part in [SHARED, class] {
        let folder = format!("{lang}/{part}");
        if let Some(dir) = TEMPLATES.get_dir(&folder) {
            embedded(dir, Path::new(&folder), Path::new(""), &mut files);
        }
    }
    fill(&mut files, name, class);
    embedded(
        &WIT,
        Path::new(""),
        &Path::new(OURS).join("wit"),
        &mut files,
    );
    // What a build leaves there is of one machine.
    files.insert(Path::new(OURS).join(".gitignore"), b"/set-up\n".into());
    if lang == "rust" {
        rust(&mut files)?;
    }
    Ok(files)
}

/// The languages that have a template of a class.
fn languages(class: &str) -> impl Iterator<Item = &'static str> {
    let has = move |dir: &&Dir<'static>| dir.get_dir(dir.path().join(class)).is_some();
    TEMPLATES
        .dirs()
        .filter(has)
        .filter_map(|dir| dir.path().to_str())
}

/// Puts a folder's files in, as they are.
fn embedded(dir: &Dir<'_>, without: &Path, into: &Path, files: &mut Files) {
    for file in dir.files() {
        let path = file.path().strip_prefix(without).unwrap_or(file.path());
        files.insert(into.join(path), file.contents().to_vec());
    }
    for below in dir.dirs() {
        embedded(below, without, into, files);
    }
}

/// Fills in name and class, wherever a template has them.
fn fill(files: &mut Files, name: &ToolName, class: &str) {
    for bytes in files.values_mut() {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let filled = text
                .replace("{{name}}", name.as_str())
                .replace("{{class}}", class);
            *bytes = filled.into_bytes();
        }
    }
}

/// The SDK, as a workspace of its own that lies like this one does, and the toolchain it needs.
fn rust(files: &mut Files) -> Result<(), CliError> {
    let tools = Path::new(OURS).join("tools");
    let crates = [
        ("sdk", &SDK, SDK_MANIFEST),
        ("sdk-macros", &MACROS, MACROS_MANIFEST),
    ];
    let mut needed = Vec::new();
    for (name, sources, manifest) in crates {
        embedded(sources, Path::new(""), &tools.join(name).join("src"), files);
        let mut manifest = parse(manifest)?;
        manifest.remove("dev-dependencies");
        if let Some(Value::Table(dependencies)) = manifest.get("dependencies") {
            needed.extend(dependencies.keys().cloned());
        }
        let path = tools.join(name).join("Cargo.toml");
        files.insert(path, print(&manifest)?.into_bytes());
    }
    let workspace = sdk_workspace(&needed)?;
    files.insert(Path::new(OURS).join("Cargo.toml"), workspace.into_bytes());
    files.insert("rust-toolchain.toml".into(), TOOLCHAIN.into());
    Ok(())
}

/// The manifest above the SDK: what its crates inherit, and nothing else of ours.
fn sdk_workspace(needed: &[String]) -> Result<String, CliError> {
    let mut root = parse(WORKSPACE)?;
    let mut ours = match root.remove("workspace") {
        Some(Value::Table(ours)) => ours,
        _ => Table::new(),
    };
    ours.remove("exclude");
    let members = ["tools/sdk", "tools/sdk-macros"].map(Value::from);
    ours.insert("members".into(), Value::Array(members.into()));
    if let Some(Value::Table(dependencies)) = ours.get_mut("dependencies") {
        dependencies.retain(|name, _| needed.iter().any(|n| n == name));
    }
    let mut manifest = Table::new();
    manifest.insert("workspace".into(), Value::Table(ours));
    let head = "# Written by `stoplog tool new`: what the SDK beside it inherits.\n";
    Ok(format!("{head}{}", print(&manifest)?))
}

fn parse(text: &str) -> Result<Table, CliError> {
    text.parse().map_err(|e| CliError::internal(format!("{e}")))
}

fn print(table: &Table) -> Result<String, CliError> {
    toml::to_string_pretty(table).map_err(|e| CliError::internal(format!("{e}")))
}

#[cfg(test)]
mod tests;
