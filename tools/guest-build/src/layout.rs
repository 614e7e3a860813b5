//! Where things lie: guests, what they are made from, and cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};

/// What every guest is made from besides its own sources, seen from this crate.
const SHARED_SOURCES: [&str; 6] = [
    "../sdk/Cargo.toml",
    "../sdk/src",
    "../sdk-macros/Cargo.toml",
    "../sdk-macros/src",
    "../../wit",
    // It holds the versions that the SDK depends on.
    "../../Cargo.toml",
];

/// The workspace's target folder, found from a build script's `OUT_DIR`: it is
/// `TARGET_DIR/[TRIPLE/]PROFILE/build/..`.
pub(crate) fn target_dir(out_dir: &Path, triple: &str) -> Option<PathBuf> {
    let build = out_dir.ancestors().find(|path| path.ends_with("build"))?;
    let above_profile = build.parent()?.parent()?;
    let target_dir = if above_profile.ends_with(triple) {
        above_profile.parent()?
    } else {
        above_profile
    };
    Some(target_dir.to_owned())
}

/// The guests of a workspace, sorted.
pub(crate) fn guests(workspace: &Path) -> Result<Vec<String>, String> {
    let mut guests: Vec<String> = entries(workspace)?
        .into_iter()
        .filter(|path| {
            fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.contains("cdylib"))
        })
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    guests.sort();
    Ok(guests)
}

/// What the guests of a workspace are made from: files, and folders to be watched as a whole.
pub(crate) fn sources(workspace: &Path) -> Result<Vec<PathBuf>, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources: Vec<_> = SHARED_SOURCES.iter().map(|path| here.join(path)).collect();
    sources.extend(entries(workspace)?);
    Ok(sources)
}

/// What is in a guest workspace, apart from a target folder that somebody made by hand.
fn entries(workspace: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", workspace.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(workspace).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.ends_with("target") {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::target_dir;
    use std::path::Path;

    #[test]
    fn the_target_folder_is_found_with_and_without_a_triple() {
        let triple = "x86_64-unknown-linux-gnu";
        for (out_dir, expected) in [
            ("/w/target/debug/build/a-1f/out", Some("/w/target")),
            ("/t/release/build/a-1f/out", Some("/t")),
            (
                "/w/target/x86_64-unknown-linux-gnu/debug/build/a-1f/out",
                Some("/w/target"),
            ),
            ("/w/target/debug/build/a/1f/out", Some("/w/target")),
            ("/somewhere/else", None),
        ] {
            let found = target_dir(Path::new(out_dir), triple);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{out_dir}");
        }
    }
}
