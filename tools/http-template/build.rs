//! Builds the generic components, one for each class.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoplog_guest_build::build("guest")
}
