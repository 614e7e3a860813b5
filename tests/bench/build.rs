//! Builds the guests that the benchmark loads: the same set as the tests', in the same folder.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoplog_guest_build::build("../guests")
}
