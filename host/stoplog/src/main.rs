//! The `stoplog` command.

/// A call makes some hundred small allocations on several threads: this one spends half the time on
/// them that the system's does, and gives less of it to other threads' locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    stoplog::main_with_args(std::env::args_os().collect())
}
