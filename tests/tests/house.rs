//! The rules of the house: what no compiler checks, and what a reader of ARCHITECTURE.md believes.
//!
//! Each rule is a function from its input to a list of complaints. One test gives it the project,
//! which must have none; another gives it something that breaks the rule, which it must find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};
use stoplog_model::Reason;

/// Longest README, in lines: it is read before anything is believed.
const README_LINES: usize = 130;

/// What each page of a reason says, in this order.
const HEADINGS: [&str; 3] = ["## What happened", "## What the host did", "## What to do"];

/// Who may import whom within the workspace, in the order of ARCHITECTURE.md: a crate names only
/// crates above it, and only those that it needs.
const IMPORTS: &[(&str, &[&str])] = &[
    // No code: one set of features for what wasmtime is built from.
    ("stoplog-feature-union", &[]),
    // For tests. It knows SQLite, and nothing of ours.
    ("stoplog-vfs", &[]),
    ("stoplog-model", &[]),
    ("stoplog-admission", &["stoplog-model"]),
    ("stoplog-policy", &["stoplog-model"]),
    ("stoplog-journal", &["stoplog-model", "stoplog-policy"]),
    ("stoplog-egress", &["stoplog-model", "stoplog-journal"]),
    ("stoplog-telemetry", &["stoplog-model", "stoplog-journal"]),
    (
        "stoplog-sandbox",
        &[
            "stoplog-feature-union",
            "stoplog-model",
            "stoplog-admission",
        ],
    ),
    ("stoplog-llm", &["stoplog-model", "stoplog-egress"]),
    (
        "stoplog-store",
        &["stoplog-model", "stoplog-journal", "stoplog-telemetry"],
    ),
    (
        "stoplog-dispatch",
        &[
            "stoplog-model",
            "stoplog-admission",
            "stoplog-policy",
            "stoplog-journal",
            "stoplog-egress",
        ],
    ),
    (
        "stoplog-query",
        &["stoplog-model", "stoplog-journal", "stoplog-telemetry"],
    ),
    (
        "stoplog-agent",
        &[
            "stoplog-model",
            // What an answer may say.
            "stoplog-policy",
            "stoplog-journal",
            "stoplog-dispatch",
            "stoplog-llm",
        ],
    ),
    // The host behind the doors is a seam: this crate knows words, and wire formats.
    ("stoplog-serve", &["stoplog-model", "stoplog-admission"]),
    ("stoplog-guest-build", &[]),
    // It knows nothing of the host: templates in, components out.
    ("stoplog-http-template", &["stoplog-guest-build"]),
    (
        "stoplog",
        &[
            "stoplog-http-template",
            "stoplog-model",
            "stoplog-admission",
            "stoplog-policy",
            "stoplog-journal",
            "stoplog-egress",
            "stoplog-telemetry",
            "stoplog-sandbox",
            "stoplog-llm",
            "stoplog-store",
            "stoplog-dispatch",
            "stoplog-query",
            "stoplog-agent",
            "stoplog-serve",
        ],
    ),
    // Without the sandbox: the simulation builds without wasmtime.
    (
        "stoplog-sim",
        &[
            "stoplog-model",
            "stoplog-admission",
            "stoplog-policy",
            "stoplog-journal",
            "stoplog-egress",
            "stoplog-telemetry",
            "stoplog-llm",
            "stoplog-store",
            "stoplog-dispatch",
            "stoplog-agent",
            "stoplog-vfs",
        ],
    ),
    // Whatever reads bytes of others.
    (
        "stoplog-targets",
        &[
            "stoplog-model",
            "stoplog-journal",
            "stoplog-egress",
            "stoplog-sandbox",
            "stoplog-dispatch",
            "stoplog",
        ],
    ),
    ("stoplog-sdk-macros", &[]),
    ("stoplog-sdk", &["stoplog-sdk-macros"]),
    ("stoplog-guest-build", &[]),
    (
        "nimbus-pay",
        &["stoplog-model", "stoplog", "stoplog-guest-build"],
    ),
    ("embedding", &["stoplog"]),
    (
        "stoplog-tests",
        &[
            "stoplog-vfs",
            "stoplog-model",
            "stoplog-journal",
            "stoplog-telemetry",
            "stoplog-store",
            "stoplog",
            "stoplog-guest-build",
            "nimbus-pay",
        ],
    ),
    (
        "stoplog-bench",
        &[
            "stoplog-model",
            "stoplog-admission",
            "stoplog-policy",
            "stoplog-journal",
            "stoplog-egress",
            "stoplog-telemetry",
            "stoplog-query",
            "stoplog-sandbox",
            "stoplog-llm",
            "stoplog-store",
            "stoplog-dispatch",
            "stoplog-agent",
            "stoplog-guest-build",
        ],
    ),
];

/// Who may depend on what is heavy, or on what would let a rule be broken.
const OWNERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["stoplog-sandbox", "stoplog", "stoplog-bench"]),
    ("wasmtime-wasi", &["stoplog-sandbox", "stoplog"]),
    ("wasmtime-wasi-http", &["stoplog-sandbox", "stoplog"]),
    (
        "rusqlite",
        // The benchmark's floor is plain SQLite, plain HTTP and bare wasmtime.
        &[
            "stoplog-store",
            "nimbus-pay",
            "stoplog-tests",
            "stoplog-bench",
        ],
    ),
    ("libsqlite3-sys", &["stoplog-vfs"]),
    ("reqwest", &["stoplog-egress", "stoplog-bench"]),
    ("rustls", &["stoplog-egress", "stoplog-bench"]),
    (
        "clap",
        &["stoplog", "nimbus-pay", "stoplog-tests", "stoplog-bench"],
    ),
    // One form of an answer.
    ("csv", &["stoplog-query"]),
    // Configuration, templates, and tables of prices.
    (
        "toml",
        &[
            "stoplog",
            "stoplog-http-template",
            "stoplog-llm",
            "nimbus-pay",
        ],
    ),
    ("cel", &["stoplog-policy"]),
    ("jsonschema", &["stoplog-dispatch"]),
    // In the product it is the far side of `tool test`, on loopback.
    (
        "axum",
        &[
            "nimbus-pay",
            "stoplog",
            "stoplog-tests",
            "stoplog-bench",
            "stoplog-serve",
        ],
    ),
    // The messages of OTLP: made in one crate, read by the tests' collector.
    (
        "opentelemetry-proto",
        &["stoplog-telemetry", "stoplog-tests"],
    ),
    ("prost", &["stoplog-telemetry", "stoplog-tests"]),
    ("tonic", &["stoplog-tests"]),
    ("prometheus", &["stoplog-telemetry"]),
    ("hyper", &["stoplog-serve"]),
    ("tower-http", &["stoplog-serve"]),
    ("rmcp", &["stoplog-serve"]),
    // A host of `tool test` kills itself: without unsafe code.
    ("rustix", &["stoplog"]),
    ("wit-bindgen", &["stoplog-sdk"]),
    ("schemars", &["stoplog-sdk"]),
    // Libraries have errors that one can branch on; the union of features has no code.
    (
        "anyhow",
        &[
            "stoplog",
            "nimbus-pay",
            "embedding",
            "stoplog-tests",
            "stoplog-bench",
            "stoplog-feature-union",
        ],
    ),
];

/// Ways to the network. The rest of `std::net` is only text about addresses.
const NETWORK: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "tokio::net",
    "reqwest",
    "hyper",
];

/// The played far side of `tool test` listens on loopback. It sends nothing.
const FAR_SIDE: &str = "host/stoplog/src/tooltest/far/server.rs";

/// Connections that are accepted: this file gets its listener, and opens none.
const ACCEPTED: &str = "host/serve/src/listen.rs";

/// Where the listener of the service is opened. It sends nothing.
const LISTENS: &str = "host/stoplog/src/commands/serve.rs";

/// What of `std::net` is a plain value.
const PLAIN_NET: &[&str] = &[
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
];

/// A crate of the workspace, with what it needs to be built. Development is another matter.
struct Crate {
    name: String,
    needs: Vec<String>,
}

/// A file: its path from the root, and its text.
type File = (PathBuf, String);

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn crates() -> Vec<Crate> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let to_crate = |package: &cargo_metadata::Package| Crate {
        name: package.name.to_string(),
        needs: package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
            .map(|d| d.name.clone())
            .collect(),
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(to_crate)
        .collect()
}

/// Rust files in the `src` folders of the packages in `folder`, for instance of `host`.
fn sources(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    for package in children(&root().join(folder)) {
        // Templates and the catalogue beside the packages are sources of nobody here.
        if package.join("src").is_dir() {
            collect(&package.join("src"), &mut found);
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort();
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.expect("entry").path()).collect()
}

fn collect(folder: &Path, found: &mut Vec<File>) {
    for path in children(folder) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let from_root = path.strip_prefix(root()).expect("below the root");
            found.push((from_root.to_owned(), read(&path)));
        }
    }
}

/// `tests.rs`, or a file in a folder `tests`: modules that are compiled for tests alone.
fn is_test(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part == "tests.rs" || part == "testkit.rs")
}

/// The text without the lines that are comments.
fn code_of(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn file(path: &str, text: &str) -> File {
    (path.into(), text.into())
}

#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The rule finds exactly one thing wrong, and names it.
#[track_caller]
fn assert_finds(complaints: &[String], named: &str) {
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains(named), "{complaints:?}");
}

// Every reason has its page, and every page its reason.

fn page_problems(codes: &[&str], pages: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    for code in codes {
        match pages.get(*code) {
            None => problems.push(format!("docs/reasons/{code}.md is missing")),
            Some(text) => {
                let headings: Vec<&str> = text.lines().filter(|l| l.starts_with("## ")).collect();
                if headings != HEADINGS {
                    problems.push(format!("docs/reasons/{code}.md has {headings:?}"));
                }
                let title = format!("# `{code}`");
                if text.lines().next() != Some(title.as_str()) {
                    problems.push(format!(
                        "docs/reasons/{code}.md does not open with `{title}`"
                    ));
                }
            }
        }
    }
    for page in pages.keys().filter(|page| !codes.contains(&page.as_str())) {
        problems.push(format!("docs/reasons/{page}.md is about no reason"));
    }
    problems
}

fn index_problems(codes: &[&str], index: &str) -> Vec<String> {
    let missing = |code: &&&str| !index.contains(&format!("[`{code}`]({code}.md)"));
    let complain = |code: &&str| format!("docs/reasons/README.md does not list {code}");
    codes.iter().filter(missing).map(complain).collect()
}

#[test]
fn every_reason_has_its_page() {
    let codes: Vec<&str> = Reason::ALL.iter().map(|r| r.code()).collect();
    let folder = root().join("docs/reasons");
    let mut pages = BTreeMap::new();
    for path in children(&folder) {
        let stem = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        pages.insert(stem, read(&path));
    }
    let index = pages.remove("README").expect("docs/reasons/README.md");
    assert_none(&page_problems(&codes, &pages));
    assert_none(&index_problems(&codes, &index));
}

#[test]
fn a_missing_page_a_stray_one_and_a_missing_heading_are_found() {
    let good = format!("# `a`\n\n{}\n", HEADINGS.join("\n\nText.\n\n"));
    let pages = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    assert_none(&page_problems(&["a"], &pages("a", &good)));
    assert_finds(&page_problems(&["a"], &BTreeMap::new()), "a.md is missing");
    assert_finds(&page_problems(&[], &pages("b", &good)), "b.md is about no");
    let short = good.replace("## What to do", "What to do");
    assert_finds(&page_problems(&["a"], &pages("a", &short)), "a.md has");
    let other = good.replace("# `a`", "# `b`");
    assert_finds(&page_problems(&["a"], &pages("a", &other)), "does not open");
    assert_none(&index_problems(&["a"], "| [`a`](a.md) |"));
    assert_finds(&index_problems(&["a"], "| `a` |"), "does not list a");
}

// Imports go down.

fn import_problems(crates: &[Crate], table: &[(&str, &[&str])]) -> Vec<String> {
    let mut problems = Vec::new();
    for krate in crates {
        let Some((_, allowed)) = table.iter().find(|(name, _)| *name == krate.name) else {
            problems.push(format!("{} is not in the table of imports", krate.name));
            continue;
        };
        for need in &krate.needs {
            let is_ours = crates.iter().any(|c| c.name == *need);
            if is_ours && !allowed.contains(&need.as_str()) {
                problems.push(format!("{} may not import {need}", krate.name));
            }
        }
    }
    for (name, _) in table {
        if !crates.iter().any(|c| c.name == *name) {
            problems.push(format!("{name} is in the table, and not in the workspace"));
        }
    }
    problems
}

/// The table itself goes down: a line names only lines above it.
fn table_problems(table: &[(&str, &[&str])]) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, (name, allowed)) in table.iter().enumerate() {
        for import in *allowed {
            if !table[..i].iter().any(|(above, _)| above == import) {
                problems.push(format!("{name} stands above {import}, which it imports"));
            }
        }
    }
    problems
}

#[test]
fn imports_go_down_only() {
    assert_none(&table_problems(IMPORTS));
    assert_none(&import_problems(&crates(), IMPORTS));
}

#[test]
fn an_import_that_goes_up_is_found() {
    let of = |name: &str, needs: &[&str]| Crate {
        name: name.into(),
        needs: needs.iter().map(|n| (*n).into()).collect(),
    };
    let table: &[(&str, &[&str])] = &[("low", &[]), ("high", &["low"])];
    let good = [of("low", &["serde"]), of("high", &["low"])];
    assert_none(&import_problems(&good, table));
    let up = [of("low", &["high"]), of("high", &[])];
    assert_finds(&import_problems(&up, table), "low may not import high");
    let new = [of("low", &[]), of("high", &[]), of("new", &[])];
    assert_finds(&import_problems(&new, table), "new is not in the table");
    assert_finds(&import_problems(&good[..1], table), "high is in the table");
    let turned: &[(&str, &[&str])] = &[("high", &["low"]), ("low", &[])];
    assert_finds(&table_problems(turned), "high stands above low");
}

// Each heavy dependency has its owner.

fn owner_problems(crates: &[Crate], owners: &[(&str, &[&str])]) -> Vec<String> {
    let mut problems = Vec::new();
    for krate in crates {
        for (heavy, allowed) in owners {
            let has_it = krate.needs.iter().any(|need| need == heavy);
            if has_it && !allowed.contains(&krate.name.as_str()) {
                let whose = allowed.join(", ");
                problems.push(format!(
                    "{} depends on {heavy}, which is for {whose}",
                    krate.name
                ));
            }
        }
    }
    problems
}

#[test]
fn each_heavy_dependency_has_its_owner() {
    let crates = crates();
    assert_none(&owner_problems(&crates, OWNERS));
    // A dependency that nobody has any more is a line that checks nothing.
    for (heavy, _) in OWNERS {
        let is_used = crates.iter().any(|c| c.needs.iter().any(|n| n == heavy));
        assert!(is_used, "nobody depends on {heavy}");
    }
}

#[test]
fn a_heavy_dependency_elsewhere_is_found() {
    let of = |name: &str| Crate {
        name: name.into(),
        needs: vec!["wasmtime".into()],
    };
    assert_none(&owner_problems(&[of("stoplog-sandbox")], OWNERS));
    let found = owner_problems(&[of("stoplog-dispatch")], OWNERS);
    assert_finds(&found, "stoplog-dispatch depends on wasmtime");
}

// The README is short, and names both commands.

fn readme_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines >= README_LINES {
        problems.push(format!(
            "README.md has {lines} lines; {README_LINES} are too many"
        ));
    }
    for command in ["cargo demo", "cargo test --workspace"] {
        if !text.lines().any(|line| line == command) {
            problems.push(format!("README.md has no line `{command}`"));
        }
    }
    problems
}

#[test]
fn the_readme_is_short_and_names_both_commands() {
    assert_none(&readme_problems(&read(&root().join("README.md"))));
}

#[test]
fn a_long_readme_and_a_missing_command_are_found() {
    let good = "cargo demo\ncargo test --workspace\n";
    assert_none(&readme_problems(good));
    assert_finds(&readme_problems("cargo test --workspace"), "cargo demo");
    assert_finds(&readme_problems("cargo demo"), "cargo test");
    let long = good.to_owned() + &"\n".repeat(README_LINES);
    assert_finds(&readme_problems(&long), "too many");
}

// A file opens with its truth.

fn opening_problems(files: &[File]) -> Vec<String> {
    let is_silent = |(path, text): &&File| !is_test(path) && !text.starts_with("//! ");
    let complain = |(path, _): &File| format!("{} does not open with `//!`", path.display());
    files.iter().filter(is_silent).map(complain).collect()
}

#[test]
fn every_file_opens_with_its_truth() {
    assert_none(&opening_problems(&sources("host")));
    assert_none(&opening_problems(&sources("tools")));
}

#[test]
fn a_file_without_its_truth_is_found() {
    let good = file("host/a/src/lib.rs", "//! What it is.\n");
    let bad = file("host/a/src/b.rs", "use std::fs;\n");
    let test = file("host/a/src/b/tests.rs", "use super::*;\n");
    assert_finds(&opening_problems(&[good, bad, test]), "b.rs");
}

// Only egress reaches the network.

fn network_problems(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in files {
        let listens = [FAR_SIDE, ACCEPTED, LISTENS].map(Path::new);
        if is_test(path) || path.starts_with("host/egress") || listens.contains(&path.as_path()) {
            continue;
        }
        let code = code_of(text);
        let named = NETWORK.iter().filter(|word| code.contains(**word));
        let mut found: Vec<String> = named.map(|word| (*word).to_owned()).collect();
        found.extend(std_net(&code));
        for what in found {
            problems.push(format!("{} has {what}: go through egress", path.display()));
        }
    }
    problems
}

/// What of `std::net` is more than a plain value.
fn std_net(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("std::net").skip(1) {
        let names = match rest.strip_prefix("::{") {
            Some(list) => list.split('}').next().unwrap_or(list),
            None => {
                let name = rest.strip_prefix("::").unwrap_or("");
                let end = name.find(|c: char| !c.is_alphanumeric());
                &name[..end.unwrap_or(name.len())]
            }
        };
        let names = names.split(',').map(str::trim);
        let all_plain = names
            .clone()
            .all(|n| n.is_empty() || PLAIN_NET.contains(&n));
        if !all_plain || names.clone().all(str::is_empty) {
            found.push(format!(
                "std::net::{}",
                names.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    found
}

#[test]
fn only_egress_reaches_the_network() {
    assert_none(&network_problems(&sources("host")));
}

#[test]
fn a_way_around_egress_is_found() {
    let check = |text: &str| network_problems(&[file("host/a/src/lib.rs", text)]);
    assert_none(&check("use std::net::SocketAddr;\n"));
    assert_none(&check("use std::net::{IpAddr, SocketAddr};\n"));
    assert_none(&check("    //! No TcpStream, no reqwest.\n"));
    assert_finds(&check("use std::net;\n"), "std::net");
    assert_finds(&check("use std::net::ToSocketAddrs;\n"), "ToSocketAddrs");
    assert_finds(
        &check("use std::net::{\n    IpAddr,\n    lookup,\n};\n"),
        "lookup",
    );
    assert_finds(&check("let c = reqwest::Client::new();\n"), "reqwest");
    assert_finds(&check("use tokio::net::lookup_host;\n"), "tokio::net");
    let own = file("host/egress/src/send.rs", "reqwest::Client\n");
    assert_none(&network_problems(&[own]));
}

// One place decides what a guest can import.

fn linker_problems(files: &[File]) -> Vec<String> {
    const HOME: &str = "host/sandbox/src/linker.rs";
    let mut problems = Vec::new();
    let makes_one = |(_, text): &&File| code_of(text).contains("Linker::new");
    let makers: Vec<&File> = files.iter().filter(makes_one).collect();
    for (path, _) in &makers {
        if path != Path::new(HOME) {
            problems.push(format!(
                "{} makes a linker: that is for {HOME}",
                path.display()
            ));
        }
    }
    if makers.is_empty() {
        problems.push(format!(
            "{HOME} makes no linker: this rule looks for the wrong words"
        ));
    }
    for (path, text) in files {
        if code_of(text).contains("define_unknown_imports_as") {
            problems.push(format!("{} links what it does not know", path.display()));
        }
    }
    problems
}

#[test]
fn one_file_makes_linkers() {
    assert_none(&linker_problems(&sources("host")));
}

#[test]
fn a_second_linker_is_found() {
    let home = || file("host/sandbox/src/linker.rs", "Linker::new(engine)\n");
    assert_none(&linker_problems(&[home()]));
    assert_finds(&linker_problems(&[]), "makes no linker");
    let second = file("host/sandbox/src/run.rs", "Linker::new(engine)\n");
    assert_finds(&linker_problems(&[home(), second]), "run.rs makes a linker");
    let trap = "linker.define_unknown_imports_as_traps(&component)\n";
    let lax = file("host/sandbox/src/loader.rs", trap);
    assert_finds(&linker_problems(&[home(), lax]), "loader.rs links");
}
