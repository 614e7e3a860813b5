//! Components that nobody wrote, through everything that `tool check` does: an answer, no panic.

use stoplog_sandbox::{Sandbox, Settings};

/// Changes of one byte that a tool's component gets, spread over all of it.
const CHANGES: usize = 400;

/// What `wasm-smith` made, see `build.rs`.
fn components() -> Vec<&'static [u8]> {
    let mut rest: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/components.bin"));
    let mut found = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (component, next) = behind.split_at(u32::from_le_bytes(*length) as usize);
        found.push(component);
        rest = next;
    }
    found
}

const EXPORTS: &str = "(instance $i) (export \"stoplog:tool/about@0.1.0\" (instance $i))
    (export \"stoplog:tool/read-tool@0.1.0\" (instance $i))";

/// A tool by its names, with this component inside it: so it comes as far as the compiler.
fn within_a_tool(component: &[u8]) -> Vec<u8> {
    const PREAMBLE: usize = 8;
    const COMPONENT_SECTION: u8 = 4;
    let mut bytes = wat::parse_str(format!("(component {EXPORTS})")).expect("wat");
    let mut section = vec![COMPONENT_SECTION];
    let mut length = component.len();
    while length >= 0x80 {
        section.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    section.push(length as u8);
    section.extend_from_slice(component);
    bytes.splice(PREAMBLE..PREAMBLE, section);
    bytes
}

#[tokio::test]
async fn components_of_chance_are_answered() {
    let sandbox = Sandbox::new(Settings::default()).expect("the engine starts");
    let components = components();
    assert!(
        components.len() >= 100,
        "only {} were made",
        components.len()
    );
    let mut compiled = 0;
    for (number, component) in components.iter().enumerate() {
        let error = sandbox.describe(component).await.expect_err("no tool");
        assert!(!error.message.is_empty(), "{number}");
        let error = sandbox.describe(&within_a_tool(component)).await;
        let error = error.expect_err("no functions");
        // It was validated and compiled, and only then found to have no functions.
        compiled += usize::from(error.message.contains("no function"));
    }
    println!(
        "{compiled} of {} came as far as the compiler",
        components.len()
    );
    assert!(compiled >= 100, "only {compiled}");
}

/// A component that is nearly a tool: one byte of it is another, anywhere.
#[tokio::test]
async fn a_tool_with_a_damaged_byte_is_answered() {
    let sandbox = Sandbox::new(Settings::default()).expect("the engine starts");
    let text = format!(
        "(component (import \"wasi:cli/exit@0.2.6\" (instance (export \"exit\" (func (param \"s\" (result))))))
           (core module $m (memory (export \"m\") 1) (func (export \"f\") (result i32) (i32.const 1))
             (table 2 funcref) (data (i32.const 0) \"data\"))
           (core instance $c (instantiate $m))
           (func $f (result u32) (canon lift (core func $c \"f\")))
           (export \"stray\" (func $f)) {EXPORTS})"
    );
    let whole = wat::parse_str(&text).expect("wat");
    let step = (whole.len() * 255 / CHANGES).max(1);
    for change in (0..whole.len() * 255).step_by(step) {
        let mut damaged = whole.clone();
        damaged[change / 255] = damaged[change / 255].wrapping_add((change % 255) as u8 + 1);
        if let Err(error) = sandbox.describe(&damaged).await {
            assert!(!error.message.is_empty(), "change {change}");
        }
    }
}
