//! `tool build`: the commands of a tool's manifest, one after the other, and a look at what came
//! out. The host knows no compiler.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use stoplog_model::{Digest, Reason};

use super::{Context, examine, project};
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;
use crate::project::Project;

/// Holds the digest of the set-up that was run.
const SET_UP: &str = ".stoplog/set-up";

pub(super) async fn run(context: &Context, path: Option<&Path>) -> Result<Exit, CliError> {
    let project = project(path.unwrap_or(Path::new("")))?;
    let began = Instant::now();
    for program in &project.build.requires {
        if !is_on_path(program) {
            let message = format!("`{program}` is needed to build this tool, and not on the PATH");
            return Err(CliError::new(Reason::BuildFailed, message));
        }
    }
    set_up(&project)?;
    // What an earlier build made is not taken for what this one could not make.
    let _ = fs::remove_file(&project.component);
    for step in &project.build.steps {
        perform(&project, step)?;
    }
    let built_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let bytes = fs::read(&project.component).map_err(|e| {
        let file = project.component.display();
        let message = format!("the steps went well, and {file} is not there: {e}");
        CliError::new(Reason::BuildFailed, message)
    })?;
    let sandbox = host::authors_sandbox()?;
    let (inspection, contract) = examine(&sandbox, &project.component, &bytes).await?;
    if contract.name.as_str() != project.name {
        output::note(format!(
            "note: the component calls itself `{}`, and the manifest `{}`: the component counts",
            contract.name, project.name
        ));
    }
    let next = match project.dir.as_os_str().is_empty() {
        true => "stoplog tool test".to_owned(),
        false => format!("stoplog tool test {}", project.dir.display()),
    };
    let file = project.component.display().to_string();
    if context.json {
        output::json(&json!({
            "name": contract.name, "class": inspection.class, "component": inspection.digest,
            "file": file, "size_bytes": inspection.size_bytes, "ms": built_ms, "next": next,
        }));
        return Ok(Exit::Ok);
    }
    output::line(format!(
        "built {} {}, class {} ({}), in {}.{} s: {file} ({} KiB)",
        contract.name,
        contract.version,
        inspection.class,
        inspection.class.number(),
        built_ms / 1000,
        built_ms % 1000 / 100,
        inspection.size_bytes / 1024
    ));
    output::line(format!("next: {next}"));
    Ok(Exit::Ok)
}

/// Runs the set-up, unless just that was run before.
fn set_up(project: &Project) -> Result<(), CliError> {
    if project.build.setup.is_empty() {
        return Ok(());
    }
    let digest = Digest::of(project.build.setup.join("\n").as_bytes()).to_string();
    let marker = project.dir.join(SET_UP);
    if fs::read_to_string(&marker).is_ok_and(|text| text.trim() == digest) {
        return Ok(());
    }
    for step in &project.build.setup {
        perform(project, step)?;
    }
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(project.dir.join(".stoplog"))?;
        fs::write(&marker, format!("{digest}\n"))
    };
    write().map_err(|e| {
        let message = format!("{}: {e}", marker.display());
        CliError::new(Reason::BuildFailed, message)
    })
}

/// Runs one command in the tool's folder. What it says goes to standard error: what we print may
/// be read by a machine.
fn perform(project: &Project, step: &str) -> Result<(), CliError> {
    output::note(format!("$ {step}"));
    let dir = match project.dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => &project.dir,
    };
    let mut command = Command::new("sh");
    command
        .args(["-c", step])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    let status = command
        .status()
        .map_err(|e| CliError::new(Reason::BuildFailed, format!("sh: {e}")))?;
    if status.success() {
        return Ok(());
    }
    let message = format!("`{step}` failed ({status}): it says why above");
    Err(CliError::new(Reason::BuildFailed, message))
}

fn is_on_path(program: &str) -> bool {
    let Some(path) = env::var_os("PATH") else {
        return false;
    };
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
