//! Builds the guests that the tests load.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoplog_guest_build::build("guests")
}
