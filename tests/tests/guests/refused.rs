//! Components that are refused before anything of them runs, made from the contract's own text.
//!
//! Each is a world of `wit/tool.wit`, sometimes with the contract itself changed, encoded as a real
//! component whose functions all trap. `tool check` must name what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, ensure};
use stoplog_tests::{World, bins};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// A component for this world of the contract, whose text was changed first.
fn component(change: impl Fn(String) -> String, world: &str) -> anyhow::Result<Vec<u8>> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let dir = tempfile::tempdir()?;
    let deps = dir.path().join("deps");
    fs::create_dir(&deps)?;
    for entry in fs::read_dir(wit.join("deps"))? {
        let entry = entry?;
        fs::copy(entry.path(), deps.join(entry.file_name()))?;
    }
    let contract = change(fs::read_to_string(wit.join("tool.wit"))?);
    let text = format!("{contract}\n{world}\n");
    fs::write(dir.path().join("tool.wit"), text)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(dir.path())?;
    let world = resolve.select_world(&[package], Some("bad"))?;
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()
}

/// The contract as it is.
fn plain(world: &str) -> anyhow::Result<Vec<u8>> {
    component(|contract| contract, world)
}

/// The contract without this text.
fn without(text: &'static str, world: &str) -> anyhow::Result<Vec<u8>> {
    let change = |contract: String| {
        assert!(contract.contains(text), "the contract has no `{text}`");
        contract.replace(text, "")
    };
    component(change, world)
}

fn tool_check(world: &World, file: &Path) -> anyhow::Result<Output> {
    let file = file.to_str().context("a path")?;
    Ok(world.command(&["tool", "check", file]).output()?)
}

/// `tool check` says no with this reason, and names this.
fn refused(world: &World, bytes: &[u8], reason: &str, names: &[&str]) -> anyhow::Result<()> {
    let file: PathBuf = world.path().join("bad.wasm");
    fs::write(&file, bytes)?;
    let output = tool_check(world, &file)?;
    let stderr = String::from_utf8(output.stderr)?;
    let failed = matches!(output.status.code(), Some(1 | 4));
    ensure!(failed, "{reason}: {stderr}");
    let said = format!("\"reason\":\"{reason}\"");
    ensure!(stderr.contains(&said), "{reason} expected: {stderr}");
    for name in names {
        ensure!(stderr.contains(name), "{reason}: no {name} in {stderr}");
    }
    Ok(())
}

const NO_CALL_READ: &str = "world bad { export about; export read-tool; }";

#[test]
fn a_component_that_is_not_what_it_claims_is_refused_by_name() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    // The control: nothing is wrong with it but that its functions trap.
    refused(&world, &plain(NO_CALL_READ)?, "sandbox_trap", &["describe"])?;

    let import = "tool_import_refused";
    let posing = "world bad { import effects; export about; export read-tool; }";
    refused(&world, &plain(posing)?, import, &["stoplog:tool/effects"])?;
    let posing = "world bad { import wasi:http/outgoing-handler@0.2.12; export about; \
                  export pure-tool; }";
    refused(&world, &plain(posing)?, import, &["wasi:http/"])?;
    let door = "interface door { open: func(); } \
                world bad { import door; export about; export pure-tool; }";
    refused(&world, &plain(door)?, import, &["stoplog:tool/door"])?;
    let function = "world bad { import open-door: func(); export about; export pure-tool; }";
    refused(&world, &plain(function)?, import, &["open-door"])?;

    let unclear = "tool_class_unclear";
    let both = "world bad { export about; export read-tool; export external-tool; }";
    refused(
        &world,
        &plain(both)?,
        unclear,
        &["read-tool", "external-tool"],
    )?;
    let neither = "world bad { export about; }";
    refused(&world, &plain(neither)?, unclear, &["no tool interface"])?;
    let silent = "world bad { export pure-tool; }";
    refused(&world, &plain(silent)?, unclear, &["about"])
}

#[test]
fn what_a_class_owes_must_be_there_and_have_its_type() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let unclear = "tool_class_unclear";
    let probe = "  probe: func(input: string, key: string) -> result<finding, tool-error>;\n";
    let external = "world bad { import effects; export about; export external-tool; }";
    refused(&world, &without(probe, external)?, unclear, &["`probe`"])?;
    let undo = "  undo: func(input: string, output: string, permit: permit) -> \
                result<string, tool-error>;\n";
    let reversible = "world bad { import effects; export about; export reversible-tool; }";
    refused(&world, &without(undo, reversible)?, unclear, &["`undo`"])?;
    let preview = "  preview: func(input: string) -> result<string, tool-error>;\n";
    let irreversible = "world bad { import effects; export about; export irreversible-tool; }";
    refused(
        &world,
        &without(preview, irreversible)?,
        unclear,
        &["`preview`"],
    )?;
    // A probe that takes a permit could act where nobody looks.
    let armed = |contract: String| contract.replace("key: string)", "key: string, p: permit)");
    let armed = component(armed, external)?;
    refused(&world, &armed, unclear, &["`probe`", "has not the type"])
}

#[test]
fn what_is_no_component_is_refused_unread() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let reason = "tool_not_component";
    let module = wat::parse_str("(module)")?;
    refused(&world, &module, reason, &["core WebAssembly module"])?;
    refused(&world, b"", reason, &["empty"])?;
    // 200 MB, most of it never read: a section that is longer than any tool.
    let file = world.path().join("bad.wasm");
    fs::write(&file, plain(NO_CALL_READ)?)?;
    fs::File::options()
        .write(true)
        .open(&file)?
        .set_len(200_000_000)?;
    let output = tool_check(&world, &file)?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(4), "{stderr}");
    ensure!(
        stderr.contains(reason) && stderr.contains("at most"),
        "{stderr}"
    );
    Ok(())
}

/// The name of an import is its author's text, and a person reads it in a terminal.
#[test]
fn a_message_steers_no_terminal() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let text = "(component (import \"evil\" (func)))";
    let mut bytes = wat::parse_str(text)?;
    let at = bytes
        .windows(4)
        .position(|w| w == b"evil")
        .context("name")?;
    bytes[at..at + 4].copy_from_slice(b"\x1b[2J");
    let file = world.path().join("bad.wasm");
    fs::write(&file, bytes)?;
    for json in [true, false] {
        let mut command = std::process::Command::new(bins!().host);
        command.args(json.then_some("--json"));
        let output = command.args(["tool", "check"]).arg(&file).output()?;
        ensure!(!output.status.success());
        let said = [output.stdout, output.stderr].concat();
        ensure!(!said.contains(&0x1b), "{}", String::from_utf8_lossy(&said));
    }
    Ok(())
}
