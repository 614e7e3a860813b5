//! SECURITY.md promises nothing that no test shows: each test that it names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of functions in all Rust files below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" {
            functions(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let after_fn = text.split("fn ").skip(1);
            let names = after_fn
                .filter_map(|rest| rest.split_once('('))
                .map(|(name, _)| name);
            found.extend(names.map(str::to_owned));
        }
    }
}

/// The words in backticks in the last column of the rows of tables with a column `shown by`.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut shows = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            shows = false;
        } else if line.contains("| shown by |") {
            shows = true;
        } else if shows && !line.starts_with("|---") {
            let last = line.trim_end_matches([' ', '|']).rsplit('|').next();
            let found: Vec<String> = last
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            assert!(!found.is_empty(), "no test shows: {line}");
            names.extend(found);
        }
    }
    names
}

#[test]
fn every_promise_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("root");
    let mut known = BTreeSet::new();
    for folder in ["host", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let names = named(&text);
    assert!(names.len() > 30, "only {} tests are named", names.len());
    let missing: Vec<&String> = names.iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn a_promise_without_a_test_is_found() {
    let table = "| promise | shown by |\n|---|---|\n| a | `x`, `y` |\n\n| b | c |\n| `no` | no |\n";
    assert_eq!(named(table), ["x", "y"]);
    let empty = "| promise | shown by |\n|---|---|\n| a | nothing |\n";
    assert!(std::panic::catch_unwind(|| named(empty)).is_err());
}
