//! The author's guide, run as it stands: its commands in their order, its files written where it
//! says.

use std::fs;
use std::path::Path;

use anyhow::ensure;

use crate::desk::Desk;

/// The guide as one shell script.
///
/// `<!-- write: PATH -->` makes the next block the file; `<!-- remove: PATH -->` takes one away.
/// Blocks of `sh` are commands; all others are for readers.
fn script(guide: &str, after_new: impl Fn(&str) -> String) -> String {
    let mut script = String::from("set -ex\nROOT=\"$PWD\"\n");
    let mut file: Option<&str> = None;
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let comment = line
            .strip_prefix("<!-- ")
            .and_then(|l| l.strip_suffix(" -->"));
        if let Some(path) = comment.and_then(|c| c.strip_prefix("write: ")) {
            file = Some(path);
        } else if let Some(path) = comment.and_then(|c| c.strip_prefix("remove: ")) {
            script.push_str(&format!("rm \"$ROOT/{path}\"\n"));
        } else if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            if let Some(path) = file.take() {
                let text = block.join("\n");
                script.push_str(&format!(
                    "cat > \"$ROOT/{path}\" <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n"
                ));
            } else if language == "sh" {
                for command in block {
                    script.push_str(command);
                    script.push('\n');
                    let name = command.strip_prefix("stoplog tool new ");
                    if let Some(name) = name.and_then(|rest| rest.split(' ').next()) {
                        script.push_str(&after_new(name));
                    }
                }
            }
        }
    }
    script
}

#[test]
fn every_command_of_the_guide_works() -> anyhow::Result<()> {
    let desk = Desk::new("guide")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let guide = fs::read_to_string(root.join("docs/authors-guide.md"))?;
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring/target");
    fs::create_dir_all(&shared)?;
    let script = script(&guide, |name| {
        format!("ln -s {} {name}/target\n", shared.display())
    });
    let out = desk.ok(".", &script)?;
    for said in [
        "mumbai",
        "open_ticket",
        "\"readOnlyHint\": false",
        "page /help",
    ] {
        ensure!(out.stdout.contains(said), "{said}: {out:?}");
    }
    ensure!(
        out.stderr.contains("version      0.1.0 -> 0.2.0"),
        "the change is told: {out:?}"
    );
    Ok(())
}

#[test]
fn files_are_written_and_commands_are_run_in_their_order() {
    let guide = "```sh\nstoplog tool new a --x\ncd a\n```\ntext\n```toml\nno = 1\n```\n\
                 <!-- write: a/b -->\n```rust\nfn f() {}\n```\n<!-- remove: a/c -->\n```sh\nlast\n```\n";
    let expected = "set -ex\nROOT=\"$PWD\"\nstoplog tool new a --x\nafter a\ncd a\n\
                    cat > \"$ROOT/a/b\" <<'END_OF_FILE'\nfn f() {}\nEND_OF_FILE\n\
                    rm \"$ROOT/a/c\"\nlast\n";
    assert_eq!(script(guide, |name| format!("after {name}\n")), expected);
}
