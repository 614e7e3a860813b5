use super::*;
use crate::project::{MANIFEST, Project};

const CLASSES: [&str; 5] = ["pure", "read", "reversible", "external", "irreversible"];

fn files(lang: &str, class: &str) -> Files {
    let name = ToolName::new("some_tool").expect("a name");
    project(&name, lang, class).expect("a template")
}

#[test]
fn every_template_is_a_project_with_a_case_and_a_page() {
    for class in CLASSES {
        assert!(languages(class).any(|lang| lang == "rust"), "{class}");
        for lang in languages(class) {
            let files = files(lang, class);
            let dir = tempfile::tempdir().expect("a folder");
            let manifest = &files[Path::new(MANIFEST)];
            std::fs::write(dir.path().join(MANIFEST), manifest).expect("written");
            let project = Project::load(dir.path()).expect("a manifest");
            assert_eq!(
                (&*project.name, &*project.lang, &*project.class),
                ("some_tool", lang, class)
            );
            assert!(files.contains_key(Path::new("README.md")), "{lang} {class}");
            assert!(files.contains_key(Path::new(".stoplog/wit/tool.wit")));
            let case = |p: &PathBuf| p.starts_with("cases") && p.extension().is_some();
            assert!(files.keys().any(case), "{lang} {class} has no case");
            let own = files.iter().filter(|(path, _)| !path.starts_with(OURS));
            for (path, bytes) in own {
                let text = String::from_utf8_lossy(bytes);
                let left = text.contains("{{name}}") || text.contains("{{class}}");
                assert!(!left, "{lang} {class}: {}", path.display());
            }
        }
    }
}

#[test]
fn the_sdk_goes_along_with_its_versions_and_without_its_tests() {
    let files = files("rust", "pure");
    let text = |path: &str| String::from_utf8_lossy(&files[Path::new(path)]).into_owned();
    let workspace: Table = text(".stoplog/Cargo.toml").parse().expect("toml");
    let dependencies = workspace["workspace"]["dependencies"]
        .as_table()
        .expect("a table");
    assert!(dependencies.contains_key("wit-bindgen"));
    assert!(!dependencies.contains_key("wasmtime"), "{dependencies:?}");
    assert!(!text(".stoplog/tools/sdk/Cargo.toml").contains("trybuild"));
    assert!(files.contains_key(Path::new(".stoplog/tools/sdk/src/http/send.rs")));
}

#[test]
fn a_template_that_is_not_there_is_named_with_those_that_are() {
    let name = ToolName::new("t").expect("a name");
    let error = project(&name, "cobol", "read").expect_err("no such language");
    assert_eq!(error.reason, Some(Reason::TemplateMissing));
    assert!(error.message.contains("`cobol`") && error.message.contains("rust"));
}
