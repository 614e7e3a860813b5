//! The `stoplog` command.

fn main() -> std::process::ExitCode {
    stoplog::main_with_args(std::env::args_os().collect())
}
