//! A template as `stoplog tool new` writes it, built by the commands of its manifest.
//!
//! Kept in `target/languages`: the packages by what is asked for, components by all that they are
//! made from, compiled code beside its component. So a change to a template is seen, and nothing
//! is built twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use stoplog_model::Digest;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lang {
    #[default]
    Python,
    Js,
}

impl Lang {
    /// As in `--lang`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Lang::Python => "python",
            Lang::Js => "js",
        }
    }

    /// What names the packages, and where they go.
    fn packages(self) -> (&'static str, &'static str) {
        match self {
            Lang::Python => ("requirements.txt", ".venv"),
            Lang::Js => ("package.json", "node_modules"),
        }
    }
}

/// A component of a template.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) component: PathBuf,
}

/// The files of a project, by their path in it.
type Files = BTreeMap<String, String>;

/// The folder of a template.
pub(crate) fn template(lang: Lang, class: &str) -> PathBuf {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/templates");
    templates.join(lang.word()).join(class)
}

/// Makes a tool from a template; `change` gets each file's path and text.
pub(crate) fn make(
    lang: Lang,
    class: &str,
    name: &str,
    change: &dyn Fn(&str, &str) -> String,
) -> anyhow::Result<Made> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let templates = root.join("tools/templates").join(lang.word());
    let mut files = Files::new();
    read_all(&templates.join("shared"), "", &mut files)?;
    read_all(&templates.join(class), "", &mut files)?;
    for (path, text) in &mut files {
        *text = change(path, text)
            .replace("{{name}}", name)
            .replace("{{class}}", class);
    }
    read_all(&root.join("wit"), ".stoplog/wit/", &mut files)?;

    let all: Vec<&str> = files
        .iter()
        .flat_map(|(path, text)| [path.as_str(), text.as_str()])
        .collect();
    let made_from = Digest::of_parts("stoplog/test-project1", &all);
    let home = kept()?.join(format!("{name}-{}", &made_from.as_str()[..16]));
    let made = Made {
        name: name.to_owned(),
        class: class.to_owned(),
        component: home.join("tool.wasm"),
    };
    if made.component.is_file() {
        return Ok(made);
    }
    remove_older(name)?;
    let project = tempfile::tempdir_in(kept()?)?;
    let built = build(lang, project.path(), &files)
        .with_context(|| format!("{name}, from the template {}/{class}", lang.word()))?;
    fs::create_dir_all(&home)?;
    // In one step: a build that is cut off leaves nothing that looks whole.
    fs::rename(built, &made.component)?;
    Ok(made)
}

impl Made {
    fn compiled(&self) -> PathBuf {
        self.component.with_file_name("compiled")
    }

    /// Puts compiled code into a host's cache, which checks it before it uses it.
    pub(crate) fn lend_compiled(&self, cache: &Path) -> anyhow::Result<()> {
        copy_files(&self.compiled(), cache, |_| true)
    }

    /// Keeps what the host compiled.
    pub(crate) fn keep_compiled(&self, cache: &Path) -> anyhow::Result<()> {
        let digest = Digest::of(&fs::read(&self.component)?);
        copy_files(cache, &self.compiled(), |name| {
            name.starts_with(digest.as_str())
        })
    }
}

/// The component that the manifest's commands make.
fn build(lang: Lang, project: &Path, files: &Files) -> anyhow::Result<PathBuf> {
    for (path, text) in files {
        let target = project.join(path);
        fs::create_dir_all(target.parent().context("a folder")?)?;
        fs::write(target, text)?;
    }
    let manifest = files.get("stoplog-tool.toml").context("no manifest")?;
    let manifest: toml::Table = manifest.parse()?;
    let words = |key: &str| -> anyhow::Result<Vec<String>> {
        let list = manifest["build"].get(key).and_then(toml::Value::as_array);
        let list = list.with_context(|| format!("[build] {key}"))?;
        let text = |v: &toml::Value| v.as_str().map(str::to_owned).context("a text");
        list.iter().map(text).collect()
    };
    for program in words("requires")? {
        let found = Command::new(&program).arg("--version").output();
        ensure!(
            found.is_ok_and(|o| o.status.success()),
            "`{program}` is missing: install it (apt-get install python3 python3-venv nodejs npm)"
        );
    }
    let (asked, goes_to) = lang.packages();
    let packages = packages(lang, files.get(asked).context(asked)?, &words("setup")?)?;
    std::os::unix::fs::symlink(packages.join(goes_to), project.join(goes_to))?;
    for step in words("steps")? {
        sh(&step, project)?;
    }
    let component = manifest["component"].as_str().context("component")?;
    Ok(project.join(component))
}

/// A folder with the packages installed, made once for all that ask for the same.
fn packages(lang: Lang, asked: &str, setup: &[String]) -> anyhow::Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (file, goes_to) = lang.packages();
    // A project's name says nothing about its packages.
    let nameless: String = asked.lines().filter(|l| !l.contains("\"name\"")).collect();
    let digest = Digest::of_parts("stoplog/test-packages1", &[&nameless, &setup.concat()]);
    let dir = kept()?.join(format!(
        "packages-{}-{}",
        lang.word(),
        &digest.as_str()[..16]
    ));
    let whole = dir.join("whole");
    if !whole.is_file() {
        let _ = fs::remove_dir_all(dir.join(goes_to));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(file), asked)?;
        for step in setup {
            sh(step, &dir)?;
        }
        fs::write(whole, "")?;
    }
    Ok(dir)
}

fn sh(step: &str, dir: &Path) -> anyhow::Result<()> {
    let output = Command::new("sh")
        .args(["-c", step])
        .current_dir(dir)
        .output()?;
    ensure!(
        output.status.success(),
        "`{step}`: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where all of it is kept, in the target folder.
fn kept() -> anyhow::Result<PathBuf> {
    let target = Path::new(stoplog_tests::GUESTS_DIR).ancestors().nth(3);
    let dir = target.context("a target folder")?.join("languages");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Removes what an older state of a tool left: compiled code is large.
fn remove_older(name: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(kept()?)? {
        let path = entry?.path();
        let file = path.file_name().map(|f| f.to_string_lossy().into_owned());
        if file.is_some_and(|f| {
            f.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
        }) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn read_all(dir: &Path, prefix: &str, files: &mut Files) -> anyhow::Result<()> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            read_all(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.insert(format!("{prefix}{name}"), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path, which: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if which(&entry.file_name().to_string_lossy()) && !target.exists() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
