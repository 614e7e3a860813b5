//! `tool`: the commands of authors, and of those who accept what they made. One file a command.
//!
//! All of them work inside the folder of a tool without arguments, and take a path. Each says what
//! comes next.

mod add;
mod ask;
mod build;
mod check;
mod from;
mod list;
mod new;
mod run;
pub(super) mod test;

use std::path::{Path, PathBuf};

use stoplog_model::contract::ContractError;
use stoplog_model::{Contract, Reason};
use stoplog_policy::claims;
use stoplog_sandbox::limits::COMPONENT_BYTES;
use stoplog_sandbox::{Inspection, Sandbox, inspect};

use super::Context;
use crate::args::Tool;
use crate::bounded;
use crate::error::{CliError, Exit};
use crate::project::{MANIFEST, Project};

pub(super) async fn run(context: &Context, command: Tool) -> Result<Exit, CliError> {
    match command {
        Tool::New(new) => new::run(context, &new),
        Tool::Build { path } => build::run(context, path.as_deref()).await,
        Tool::Check { path } => check::run(context, path.as_deref()).await,
        Tool::Add(add) => add::run(context, add).await,
        Tool::Run(run) => run::run(context, run).await,
        Tool::List { format } => list::run(context, format),
        Tool::From(args) => from::run(context, &args),
        Tool::Test(args) => test::run(context, args).await,
    }
}

/// What a path of the command line means.
enum Target {
    /// A component.
    File(PathBuf),
    /// The folder of a tool.
    Project(Project),
}

impl Target {
    /// The file or the folder that is named; else the folder that we are in.
    fn of(path: Option<&Path>) -> Result<Target, CliError> {
        match path {
            Some(file) if !file.is_dir() => Ok(Target::File(file.to_owned())),
            Some(dir) => project(dir).map(Target::Project),
            None => project(Path::new("")).map(Target::Project),
        }
    }

    /// Its component.
    fn component(&self) -> &Path {
        match self {
            Target::File(file) => file,
            Target::Project(project) => &project.component,
        }
    }

    /// The bytes of its component.
    fn read(&self) -> Result<Vec<u8>, CliError> {
        let file = self.component();
        bounded::read(file, COMPONENT_BYTES as u64).map_err(|e| {
            let reason = match self {
                Target::File(_) => Reason::ToolMissing,
                Target::Project(_) => Reason::ToolNotBuilt,
            };
            CliError::new(reason, format!("{}: {e}", file.display()))
        })
    }
}

/// The project of a folder; it is an error if there is none.
fn project(dir: &Path) -> Result<Project, CliError> {
    Project::find(dir)?.ok_or_else(|| {
        let place = match dir.as_os_str().is_empty() {
            true => "this folder".to_owned(),
            false => dir.display().to_string(),
        };
        let message = format!("there is no {MANIFEST} in {place} or above it");
        CliError::new(Reason::ProjectNotFound, message)
    })
}

fn at(file: &Path, error: CliError) -> CliError {
    CliError {
        message: format!("{}: {}", file.display(), error.message),
        ..error
    }
}

fn contract_error(error: ContractError) -> CliError {
    CliError::new(error.reason, error.to_string())
}

/// What a component is and says: its class from its exports, its contract from `describe`.
async fn examine(
    sandbox: &Sandbox,
    file: &Path,
    bytes: &[u8],
) -> Result<(Inspection, Contract), CliError> {
    // Refusals by name come first, and without compiling.
    inspect(bytes).map_err(|e| at(file, e.into()))?;
    let (inspection, described) = sandbox
        .describe(bytes)
        .await
        .map_err(|e| at(file, e.into()))?;
    let contract =
        Contract::check(described, inspection.class).map_err(|e| at(file, contract_error(e)))?;
    claims::declared(&contract).map_err(|e| {
        let message = format!("output-schema, {}: {e}", claims::KEYWORD);
        at(file, CliError::new(Reason::ToolContractInvalid, message))
    })?;
    Ok((inspection, contract))
}

fn words(list: &[String]) -> String {
    if list.is_empty() {
        "nothing".into()
    } else {
        list.join(", ")
    }
}

/// A word for a shell, quoted where it has to be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_command_can_be_copied() {
        assert_eq!(quoted("a/b.wasm"), "a/b.wasm");
        assert_eq!(quoted("{}"), "'{}'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
