//! `stoplog-tool.toml`: the folder of one tool, as its author works on it.
//!
//! The manifest says how the component is made, in commands: so the host knows no language and no
//! compiler, and a template of a new language is files alone. Like the configuration it is read
//! whole, and a key that nobody knows is an error.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stoplog_model::{Reason, ToolName};

use crate::error::CliError;

/// The file that makes a folder a project.
pub(crate) const MANIFEST: &str = "stoplog-tool.toml";
/// Where cases lie if nobody says otherwise.
const DEFAULT_CASES: &str = "cases";

/// The file, as it may be written. Paths are relative to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    lang: String,
    class: String,
    component: PathBuf,
    cases: Option<PathBuf>,
    build: Build,
}

/// How the component is made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    /// Programs that must be found before anything is run.
    #[serde(default)]
    pub(crate) requires: Vec<String>,
    /// Commands that are run once, and again when they change.
    #[serde(default)]
    pub(crate) setup: Vec<String>,
    /// Commands that make the component, one after the other.
    pub(crate) steps: Vec<String>,
}

/// One tool's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// The folder with the manifest.
    pub(crate) dir: PathBuf,
    /// What the model calls the tool by.
    pub(crate) name: String,
    /// The language of its template.
    pub(crate) lang: String,
    /// The class that it was made for, as `tool new --class` has it. The component's export counts.
    pub(crate) class: String,
    /// The component that a build makes.
    pub(crate) component: PathBuf,
    /// The folder with the cases of its tests.
    pub(crate) cases: PathBuf,
    /// How it is built.
    pub(crate) build: Build,
}

impl Project {
    /// The project that a folder is in: its own manifest, or that of the nearest folder above. The
    /// empty path is the folder that we are in.
    pub(crate) fn find(dir: &Path) -> Result<Option<Project>, CliError> {
        let absolute = match dir.as_os_str().is_empty() {
            true => std::env::current_dir(),
            false => std::path::absolute(dir),
        };
        let absolute = absolute.map_err(|e| unreadable(dir, e))?;
        for (up, above) in absolute.ancestors().enumerate() {
            if above.join(MANIFEST).is_file() {
                // Paths stay as short as the person wrote them.
                let written = match up {
                    0 => dir.to_owned(),
                    _ => above.to_owned(),
                };
                return Project::load(&written).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the manifest of a folder.
    pub(crate) fn load(dir: &Path) -> Result<Project, CliError> {
        let path = dir.join(MANIFEST);
        let text = crate::bounded::text(&path).map_err(|e| unreadable(&path, e))?;
        Project::parse(dir, &text)
    }

    fn parse(dir: &Path, text: &str) -> Result<Project, CliError> {
        let path = dir.join(MANIFEST);
        let wrong = |why: String| {
            let message = format!("{}: {why}", path.display());
            CliError::new(Reason::ConfigInvalid, message)
        };
        let file: File = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        ToolName::new(file.name.clone()).map_err(|e| wrong(format!("name: {e}")))?;
        if file.build.steps.is_empty() {
            return Err(wrong(
                "[build] steps is empty: nothing would be made".into(),
            ));
        }
        Ok(Project {
            dir: dir.to_owned(),
            name: file.name,
            lang: file.lang,
            class: file.class,
            component: dir.join(file.component),
            cases: dir.join(file.cases.unwrap_or_else(|| DEFAULT_CASES.into())),
            build: file.build,
        })
    }
}

fn unreadable(path: &Path, e: std::io::Error) -> CliError {
    CliError::new(Reason::ConfigNotFound, format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
