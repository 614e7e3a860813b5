//! `tool from`: a tool without code, made of a template.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;
use stoplog_http_template::{CATALOG, Entry, Made, component};
use stoplog_model::Reason;

use super::Context;
use crate::args::ToolFrom;
use crate::bounded;
use crate::error::{CliError, Exit};
use crate::output;
use crate::project::MANIFEST;

/// The template in a tool's folder.
const TEMPLATE: &str = "template.toml";

/// A tool in a folder.
pub(super) struct Written {
    pub(super) made: Made,
    /// The component.
    pub(super) file: PathBuf,
    /// The folder with the cases.
    pub(super) cases: PathBuf,
}

fn wrong(what: &str, why: impl std::fmt::Display) -> CliError {
    CliError::new(Reason::TemplateInvalid, format!("{what}: {why}"))
}

/// The text of a template: of a file, else of the catalogue.
fn template(from: &str) -> Result<(String, Option<&'static Entry>), CliError> {
    match bounded::text(Path::new(from)) {
        Ok(text) => return Ok((text, None)),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(wrong(from, e)),
        Err(_) => {}
    }
    let entry = CATALOG.iter().find(|entry| entry.name == from);
    let entry = entry.ok_or_else(|| {
        let names: Vec<&str> = CATALOG.iter().map(|e| e.name).collect();
        let why = format!(
            "no such file, and none of the catalogue: {}",
            names.join(", ")
        );
        wrong(from, why)
    })?;
    Ok((entry.template.to_owned(), Some(entry)))
}

/// Makes a component of a template, and writes it into a folder with the template and its cases. What
/// the author may have changed there, template and cases, is never written over.
pub(super) fn make(
    from: &str,
    name: Option<&str>,
    dir: Option<&Path>,
) -> Result<Written, CliError> {
    let (text, entry) = template(from)?;
    let made = component(&text, name).map_err(|e| wrong(from, e))?;
    let dir = dir.map_or_else(|| PathBuf::from(&made.name), Path::to_owned);
    let cases = dir.join("cases");
    let unwritable = |e: std::io::Error| wrong(&dir.display().to_string(), e);
    fs::create_dir_all(&cases).map_err(unwritable)?;
    let file = dir.join(format!("{}.wasm", made.name));
    fs::write(&file, &made.component).map_err(unwritable)?;
    if let Some(entry) = entry {
        keep_or_write(&dir.join(TEMPLATE), &text).map_err(unwritable)?;
        for (name, text) in entry.cases {
            keep_or_write(&cases.join(name), text).map_err(unwritable)?;
        }
    }
    Ok(Written { made, file, cases })
}

fn keep_or_write(path: &Path, text: &str) -> std::io::Result<()> {
    match path.exists() {
        true => Ok(()),
        false => fs::write(path, text),
    }
}

/// The folder of a new tool without code: template, cases, component, and the manifest by which the
/// other commands find them.
pub(super) fn project(context: &Context, name: &str, from: &str) -> Result<Exit, CliError> {
    let dir = Path::new(name);
    let written = make(from, Some(name), Some(dir))?;
    let class = format!("{:?}", written.made.class).to_lowercase();
    let manifest = format!(
        "# What `stoplog tool build`, `test` and `add` go by. The tool is {TEMPLATE}: change it and \
         build again.\nname = \"{name}\"\nlang = \"template\"\nclass = \"{class}\"\n\
         component = \"{name}.wasm\"\ncases = \"cases\"\n\n[build]\n\
         steps = [\"stoplog tool from {TEMPLATE} --name {name} --out .\"]\n"
    );
    let keep = |file: &str, text: &str| {
        let path = dir.join(file);
        keep_or_write(&path, text).map_err(|e| wrong(&path.display().to_string(), e))
    };
    keep(MANIFEST, &manifest)?;
    keep(TEMPLATE, &template(from)?.0)?;
    let next = format!("cd {name} && stoplog tool test");
    if context.json {
        output::json(&json!({
            "name": name, "lang": "template", "class": class,
            "component": written.file, "next": next,
        }));
        return Ok(Exit::Ok);
    }
    output::line(format!(
        "made {name}/, a tool of class {class} without code"
    ));
    output::line(format!("next: {next}"));
    Ok(Exit::Ok)
}

/// The command.
pub(super) fn run(context: &Context, args: &ToolFrom) -> Result<Exit, CliError> {
    let written = make(&args.template, args.name.as_deref(), args.out.as_deref())?;
    let (file, cases) = (written.file.display(), written.cases.display());
    let next = format!("stoplog tool test {file} --cases {cases}");
    if context.json {
        output::json(&json!({
            "name": written.made.name, "class": format!("{:?}", written.made.class).to_lowercase(),
            "component": written.file, "cases": written.cases,
            "size_bytes": written.made.component.len(), "next": next,
        }));
        return Ok(Exit::Ok);
    }
    output::line(format!("tool       {}", written.made.name));
    output::line(format!("component  {file}"));
    output::line(format!("cases      {cases}"));
    output::line(format!("next       {next}"));
    Ok(Exit::Ok)
}
