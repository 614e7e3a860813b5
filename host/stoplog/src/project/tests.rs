use super::*;

const GOOD: &str = r#"
name = "hello"
lang = "rust"
class = "read"
component = "target/hello.wasm"

[build]
requires = ["cargo"]
steps = ["cargo build --release"]
"#;

#[test]
fn a_manifest_is_found_from_below_and_read_relative_to_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let deep = dir.path().join("src/deep");
    std::fs::create_dir_all(&deep).expect("folders");
    assert_eq!(Project::find(&deep), Ok(None));
    std::fs::write(dir.path().join(MANIFEST), GOOD).expect("written");
    for from in [dir.path(), &deep] {
        let project = Project::find(from).expect("read").expect("found");
        assert_eq!(project.name, "hello");
        assert_eq!(project.component, dir.path().join("target/hello.wasm"));
        assert_eq!(project.cases, dir.path().join("cases"));
        assert!(project.build.setup.is_empty());
    }
}

#[test]
fn every_mistake_names_the_file_and_the_cure() {
    for (from, to, expected) in [
        ("lang =", "lnag =", "lnag"),
        ("steps =", "setps =", "setps"),
        ("\"hello\"", "\"Hello!\"", "name"),
        ("[\"cargo build --release\"]", "[]", "steps is empty"),
    ] {
        let error = Project::parse(Path::new("dir"), &GOOD.replace(from, to)).expect_err(to);
        assert_eq!(error.reason, Some(Reason::ConfigInvalid));
        assert!(error.message.contains("stoplog-tool.toml"), "{error:?}");
        assert!(error.message.contains(expected), "{error:?}");
    }
}
