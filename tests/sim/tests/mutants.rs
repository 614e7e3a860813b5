//! The table of sabotages still fits: each one finds its line exactly once, and each guarantee of
//! ARCHITECTURE.md has one. Whether a test dies of it is for `tests/mutants/run`, which builds.
//!
//! As in the house rules, each rule is a function from its input to complaints; one test gives it
//! the project, and another something that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Fewer than this, and whole promises would rest on one line each.
const FEWEST_MUTANTS: usize = 40;

/// One line of the table.
#[derive(Debug, Clone, Default)]
struct Mutant {
    name: String,
    guarantee: String,
    file: String,
    find: String,
    replace: String,
    test: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn table() -> Vec<Mutant> {
    let table: toml::Table = read("tests/mutants/mutants.toml").parse().expect("toml");
    let mutants = table["mutant"].as_array().expect("a list").iter();
    let mutant = |row: &toml::Value| {
        let text = |field: &str| {
            let value = row.get(field).and_then(toml::Value::as_str);
            value
                .unwrap_or_else(|| panic!("no `{field}`: {row}"))
                .to_owned()
        };
        Mutant {
            name: text("name"),
            guarantee: text("guarantee"),
            file: text("file"),
            find: text("find"),
            replace: text("replace"),
            test: text("test"),
        }
    };
    mutants.map(mutant).collect()
}

/// Names in the first column of the table below `## Guarantees`.
fn guarantees(architecture: &str) -> BTreeSet<String> {
    let section = architecture.split("\n## Guarantees\n").nth(1);
    let section = section.and_then(|s| s.split("\n## ").next());
    let name = |line: &str| {
        let cell = line.strip_prefix("| `")?;
        cell.split_once('`').map(|(name, _)| name.to_owned())
    };
    section
        .unwrap_or_default()
        .lines()
        .filter_map(name)
        .collect()
}

fn misfits(mutants: &[Mutant], texts: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for m in mutants {
        if !names.insert(&m.name) {
            problems.push(format!("two mutants are called {}", m.name));
        }
        let text = texts.get(&m.file).map_or("", String::as_str);
        let times = text.matches(&m.find).count();
        if times != 1 {
            problems.push(format!(
                "{}: its text is {times} times in {}",
                m.name, m.file
            ));
        }
        if m.find == m.replace {
            problems.push(format!("{}: it changes nothing", m.name));
        }
        if !(m.test.starts_with("cargo test -p ") || m.test.starts_with("cargo check -p ")) {
            problems.push(format!("{}: `{}` is no test", m.name, m.test));
        }
    }
    problems
}

fn uncovered(mutants: &[Mutant], guarantees: &BTreeSet<String>) -> Vec<String> {
    let covered: BTreeSet<String> = mutants.iter().map(|m| m.guarantee.clone()).collect();
    let bare = guarantees.difference(&covered);
    let unlisted = covered.difference(guarantees);
    bare.map(|g| format!("the guarantee `{g}` has no mutant"))
        .chain(unlisted.map(|g| format!("ARCHITECTURE.md does not list the guarantee `{g}`")))
        .collect()
}

#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_mutant_fits_its_file() {
    let mutants = table();
    assert!(mutants.len() >= FEWEST_MUTANTS, "{} mutants", mutants.len());
    let files = mutants.iter().map(|m| (m.file.clone(), read(&m.file)));
    assert_none(&misfits(&mutants, &files.collect()));
}

#[test]
fn every_guarantee_has_its_mutant() {
    let guarantees = guarantees(&read("ARCHITECTURE.md"));
    assert!(guarantees.len() >= 10, "{guarantees:?}");
    assert_none(&uncovered(&table(), &guarantees));
}

#[test]
fn a_stale_mutant_and_a_bare_guarantee_are_found() {
    let good = Mutant {
        name: "m".into(),
        guarantee: "once".into(),
        file: "a.rs".into(),
        find: "x == y".into(),
        replace: "true".into(),
        test: "cargo test -p a".into(),
    };
    let found = |m: &Mutant, text: &str| {
        let texts = BTreeMap::from([("a.rs".to_owned(), text.to_owned())]);
        misfits(std::slice::from_ref(m), &texts)
    };
    assert_none(&found(&good, "if x == y {"));
    assert_eq!(found(&good, "x != y"), ["m: its text is 0 times in a.rs"]);
    assert_eq!(
        found(&good, "x == y, x == y"),
        ["m: its text is 2 times in a.rs"]
    );
    let idle = Mutant {
        replace: good.find.clone(),
        test: "true".into(),
        ..good.clone()
    };
    assert_eq!(
        found(&idle, "x == y"),
        ["m: it changes nothing", "m: `true` is no test"]
    );
    let page =
        "# A\n\n## Guarantees\n\n| name | is |\n|---|---|\n| `once` | x |\n\n## B\n| `no` |\n";
    let listed = guarantees(page);
    assert_eq!(listed, BTreeSet::from(["once".to_owned()]));
    assert_none(&uncovered(std::slice::from_ref(&good), &listed));
    assert_eq!(
        uncovered(&[], &listed),
        ["the guarantee `once` has no mutant"]
    );
    assert_eq!(uncovered(&[good], &BTreeSet::new()).len(), 1);
}
