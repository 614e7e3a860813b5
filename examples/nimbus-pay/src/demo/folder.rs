//! The demo's folder: emptied at the start, and only if a demo made it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Says that the folder is a demo's, and may be emptied.
const MARK: &str = ".nimbus-pay-demo";

/// An empty folder with a mark in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make_empty(dir: Option<&Path>) -> anyhow::Result<Self> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nimbus-pay");
        let dir = dir.map_or_else(default, Path::to_owned);
        make_empty(&dir).with_context(|| format!("preparing the folder {}", dir.display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }
}

fn make_empty(dir: &Path) -> anyhow::Result<Folder> {
    fs::create_dir_all(dir)?;
    // Commands that the demo prints work from everywhere.
    let dir = dir.canonicalize()?;
    let ours = dir.join(MARK).is_file();
    let entries: Vec<_> = fs::read_dir(&dir)?.collect::<Result<_, _>>()?;
    ensure!(
        ours || entries.is_empty(),
        "it is not empty and no demo made it: name another one with --dir"
    );
    for entry in entries {
        // The mark stays until the end: a demo that is stopped here can be started again.
        if entry.file_name() == MARK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::write(
        dir.join(MARK),
        "The demo of nimbus-pay empties this folder.\n",
    )?;
    Ok(Folder(dir))
}

#[cfg(test)]
mod tests {
    use super::Folder;
    use std::fs;

    #[test]
    fn only_a_demos_folder_is_emptied() {
        let dir = tempfile::tempdir().expect("a folder");
        let mine = dir.path().join("mine");
        fs::write(&mine, "keep me").expect("a file");
        assert!(Folder::make_empty(Some(dir.path())).is_err());
        assert!(mine.is_file());

        fs::remove_file(&mine).expect("removed");
        let folder = Folder::make_empty(Some(dir.path())).expect("an empty folder will do");
        folder.write("old", "of an earlier demo").expect("written");
        let folder = Folder::make_empty(Some(dir.path())).expect("our own");
        assert!(!folder.file("old").exists());
    }
}
