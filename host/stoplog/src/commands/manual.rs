//! `completions` and `man`: the command line told to shells and readers, made from what it parses.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use stoplog_model::Reason;

use crate::args::Args;
use crate::error::{CliError, Exit};
use crate::output;

/// Prints the script of a shell.
pub(super) fn completions(shell: Shell) -> Result<Exit, CliError> {
    let mut command = for_people();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    // A closed pipe (`| head`) is no error of ours.
    let _ = io::stdout().write_all(&script);
    Ok(Exit::Ok)
}

/// Writes the pages of every command that people may call.
pub(super) fn pages(dir: &Path) -> Result<Exit, CliError> {
    let failed = |e: io::Error| {
        let message = format!("{}: {e}", dir.display());
        CliError::new(Reason::FileUnwritable, message)
    };
    fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(for_people(), dir).map_err(failed)?;
    output::line(format!("written     {}", dir.display()));
    Ok(Exit::Ok)
}

/// The command line without what is there for the host itself alone: completing scripts would show
/// that too.
fn for_people() -> Command {
    let whole = Args::command();
    let shown = whole.get_subcommands().filter(|c| !c.is_hide_set());
    let text = |text: Option<&StyledStr>| text.cloned().unwrap_or_default();
    Command::new("stoplog")
        .version(env!("CARGO_PKG_VERSION"))
        .about(text(whole.get_about()))
        .long_about(text(whole.get_long_about()))
        .after_help(text(whole.get_after_help()))
        .args(whole.get_arguments().cloned())
        .subcommands(shown.cloned())
}
