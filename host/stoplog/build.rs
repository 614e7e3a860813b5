//! Says what is embedded in the command, so that a new template is in it too.

/// The folders of `src/templates.rs`.
const EMBEDDED: [&str; 4] = [
    "../../tools/templates",
    "../../tools/sdk/src",
    "../../tools/sdk-macros/src",
    "../../wit",
];

fn main() {
    for folder in EMBEDDED {
        println!("cargo::rerun-if-changed={folder}");
    }
}
