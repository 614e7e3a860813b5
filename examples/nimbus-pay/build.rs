//! Builds the five tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoplog_guest_build::build("tools")
}
