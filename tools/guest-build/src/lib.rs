//! Builds a workspace of guests from a build script, so that plain `cargo run` and `cargo test`
//! need no other step.
//!
//! ```no_run
//! // build.rs; the guests lie in the folder `tools` beside it.
//! fn main() -> std::process::ExitCode {
//!     stoplog_guest_build::build("tools")
//! }
//! ```
//!
//! The crate then finds its guests by two names:
//!
//! | `env!` | is |
//! |---|---|
//! | `STOPLOG_GUESTS_DIR` | the folder in which each guest is a file `NAME.wasm` |
//! | `STOPLOG_GUESTS` | the names, sorted, with commas between them |
//!
//! Invariants:
//! - All sets of guests share one target folder, `guests` within the workspace's own, so the SDK
//!   is compiled once. The cargo inside never waits for the cargo outside: it locks another folder.
//!   Two sets that build at once wait for each other.
//! - What the outer cargo was told (flags, wrappers, profiles) does not reach the guests: the same
//!   sources give the same bytes in `cargo test`, `cargo clippy` and a coverage run.
//!
//! A guest is a package of the workspace whose library is a `cdylib`, in a folder of its own name.

mod environment;
mod layout;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What guests are built for.
const TARGET: &str = "wasm32-wasip2";

/// Builds the guest workspace in `folder`, which is relative to the package that is being built.
///
/// Give what it returns back from `main`: a failure is one line for people, above it what the
/// compiler said.
#[must_use]
pub fn build(folder: &str) -> ExitCode {
    match try_build(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tell(&format!("error={message}"));
            ExitCode::FAILURE
        }
    }
}

fn try_build(folder: &str) -> Result<(), String> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.join(folder);
    let guests = layout::guests(&workspace)?;
    for source in layout::sources(&workspace)? {
        tell(&format!("rerun-if-changed={}", source.display()));
    }
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let triple = variable("TARGET")?;
    let target_dir = layout::target_dir(&out_dir, &triple.to_string_lossy())
        .ok_or_else(|| format!("{} is not in a target folder of cargo", out_dir.display()))?
        .join("guests");

    require_target()?;
    compile(&workspace, &target_dir)?;

    let files = target_dir.join(TARGET).join("release");
    for guest in &guests {
        let file = files.join(format!("{guest}.wasm"));
        if !file.is_file() {
            let folder = workspace.join(guest);
            return Err(format!(
                "{} was not built: the package in {} must be named {guest}",
                file.display(),
                folder.display()
            ));
        }
    }
    tell(&format!("rustc-env=STOPLOG_GUESTS_DIR={}", files.display()));
    tell(&format!("rustc-env=STOPLOG_GUESTS={}", guests.join(",")));
    Ok(())
}

fn compile(workspace: &Path, target_dir: &Path) -> Result<(), String> {
    let manifest = workspace.join("Cargo.toml");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--release", "--target", TARGET, "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace);
    if workspace.join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    for (name, _) in env::vars_os() {
        if environment::leaks(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cargo could not be run: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the guests of {} do not build: cargo says why above",
            manifest.display()
        ));
    }
    Ok(())
}

/// Asks the compiler itself, which knows about toolchains without rustup too.
fn require_target() -> Result<(), String> {
    let output = Command::new(variable("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc could not be run: {error}"))?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "guests are built for {TARGET}, which this toolchain lacks: run \
         `rustup target add {TARGET}`"
    ))
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: call this from a build script"))
}

/// Says something to cargo.
#[expect(
    clippy::print_stdout,
    reason = "it is how a build script speaks to cargo"
)]
fn tell(instruction: &str) {
    println!("cargo::{instruction}");
}
