//! `tool test`, and the two processes that it starts.

use std::path::Path;

use super::{Context, Target};
use crate::args::ToolTest;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;
use crate::tooltest::{self, Options};

/// Where cases are looked for, beside the component.
const CASES: &str = "cases";

/// Runs the checks, and tells of them.
pub(super) async fn run(context: &Context, args: ToolTest) -> Result<Exit, CliError> {
    let target = Target::of(args.path.as_deref())?;
    // A component that is not built yet is told of as such.
    target.read()?;
    let component = target.component().to_owned();
    let file = quoted(&component);
    let add = match &target {
        Target::File(_) => format!("stoplog tool add {file}"),
        Target::Project(project) if project.dir.as_os_str().is_empty() => "stoplog tool add".into(),
        Target::Project(project) => format!("stoplog tool add {}", quoted(&project.dir)),
    };
    let cases = match (args.cases, target) {
        (Some(named), _) => named,
        (None, Target::Project(project)) => project.cases,
        (None, Target::File(_)) => {
            let folder = component.parent().unwrap_or(Path::new("."));
            folder.join(CASES)
        }
    };
    let report = tooltest::run(Options {
        cache: host::users_cache(),
        command: format!("stoplog tool test {file} --cases {}", quoted(&cases)),
        add,
        component,
        cases,
        only: args.only,
        every_point: args.every_point,
    })
    .await?;
    match context.json {
        true => output::json(&report.json()),
        false => report.print(),
    }
    Ok(match report.failures() {
        0 => Exit::Ok,
        _ => Exit::Failures,
    })
}

/// A path as a shell takes it: commands of the report are to be copied.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// The far side's process.
pub(in crate::commands) async fn far_side() -> Result<Exit, CliError> {
    let served = tooltest::far_side().await;
    served.map_err(|e| CliError::internal(format!("the far side: {e}")))?;
    Ok(Exit::Ok)
}

/// The process of the host that is killed.
pub(in crate::commands) async fn doomed_host() -> Result<Exit, CliError> {
    tooltest::doomed_host().await?;
    Ok(Exit::Ok)
}
