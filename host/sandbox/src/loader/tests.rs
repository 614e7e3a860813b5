//! What is read off a component's bytes, as tables: exports and imports in, class or refusal out.

use super::*;
use crate::tests::guests::component_of_names;

fn check(imports: &[&str], exports: &[&str]) -> Result<Inspection, LoadError> {
    inspect(&component_of_names(imports, exports))
}

fn refused(result: Result<Inspection, LoadError>, reason: Reason, says: &[&str]) {
    let error = result.expect_err("it must be refused");
    assert_eq!(error.reason, reason, "{error}");
    for word in says {
        assert!(
            error.message.contains(word),
            "`{word}` is not in: {}",
            error.message
        );
    }
}

const ABOUT: &str = "stoplog:tool/about@0.1.0";

fn export_of(class: Class) -> String {
    format!("stoplog:tool/{}@0.1.0", class.interface())
}

#[test]
fn the_class_is_the_export() {
    for class in Class::ALL {
        let inspection = check(&[], &[ABOUT, &export_of(class)]).expect("it loads");
        assert_eq!(inspection.class, class);
        assert_eq!(inspection.floor, Class::Pure);
    }
}

#[test]
fn power_by_class() {
    let http = "wasi:http/outgoing-handler@0.2.12";
    let effects = "stoplog:tool/effects@0.1.0";
    let state = "wasi:keyvalue/store@0.2.0-draft";
    for class in Class::ALL {
        let exports = [ABOUT, &export_of(class)];
        let with_http = check(&[http], &exports);
        let with_effects = check(&[effects], &exports);
        if class.reaches_out() {
            assert_eq!(with_http.expect("it loads").floor, Class::ReadOnly);
        } else {
            refused(with_http, Reason::ToolImportRefused, &[http, "class pure"]);
        }
        let with_state = check(&[state], &exports);
        match class {
            Class::Pure => refused(
                with_state,
                Reason::ToolImportRefused,
                &[state, "class pure", "depend on another"],
            ),
            _ => assert_eq!(with_state.expect("it loads").floor, Class::ReadOnly),
        }
        if class.writes() {
            assert_eq!(with_effects.expect("it loads").floor, Class::Reversible);
        } else {
            refused(
                with_effects,
                Reason::ToolImportRefused,
                &[effects, &class.to_string()],
            );
        }
    }
}

#[test]
fn imports_are_classified_in_their_order() {
    let inspection = check(
        &[
            "stoplog:tool/context@0.1.0",
            "wasi:cli/environment@0.2.6",
            "wasi:http/types@0.2.12",
            "wasi:keyvalue/store@0.2.0-draft",
        ],
        &[ABOUT, &export_of(Class::ReadOnly)],
    )
    .expect("it loads");
    let kinds: Vec<ImportKind> = inspection.imports.iter().map(|i| i.kind).collect();
    assert_eq!(
        kinds,
        [
            ImportKind::Contract,
            ImportKind::Inert,
            ImportKind::Power,
            ImportKind::State
        ]
    );
    assert!(inspection.keeps_state());
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    for unknown in [
        "wasi:keyvalue/store@0.2.0",
        "wasi:keyvalue/store@0.2.0-draft2",
        "wasi:keyvalue/atomics@0.2.0-draft",
        "wasi:keyvalue/batch@0.2.0-draft",
        "acme:secret/door@1.0.0",
        "wasi:http/incoming-handler@0.2.12",
        "wasi:cli/run@0.2.12",
        "stoplog:tool/back-door@0.1.0",
        "wasi:random/random@0.3.0",
        "just-a-name",
    ] {
        let result = check(&[unknown], &[ABOUT, &export_of(Class::Irreversible)]);
        refused(result, Reason::ToolImportRefused, &[unknown]);
    }
}

#[test]
fn another_version_of_the_contract_is_named_with_both() {
    let says = ["0.2.0", "0.1.0"];
    let exports = ["stoplog:tool/about@0.2.0", "stoplog:tool/pure-tool@0.2.0"];
    refused(check(&[], &exports), Reason::ToolClassUnclear, &says);
    let exports = [ABOUT, &export_of(Class::Pure)];
    let imports = ["stoplog:tool/context@0.2.0"];
    refused(check(&imports, &exports), Reason::ToolImportRefused, &says);
}

#[test]
fn exactly_one_tool_interface_and_about() {
    let pure = export_of(Class::Pure);
    let read = export_of(Class::ReadOnly);
    refused(
        check(&[], &[ABOUT]),
        Reason::ToolClassUnclear,
        &["no tool interface", "pure-tool"],
    );
    let both = check(&[], &[ABOUT, &pure, &read]);
    refused(
        both,
        Reason::ToolClassUnclear,
        &["2 tool interfaces", "pure-tool", "read-tool"],
    );
    refused(check(&[], &[&pure]), Reason::ToolClassUnclear, &["about"]);
    let more = check(&[], &[ABOUT, &pure, "acme:extra/thing"]).expect("it loads");
    assert_eq!(more.other_exports, ["acme:extra/thing"]);
}

#[test]
fn what_is_no_component_says_what_it_is() {
    let wat = wat::parse_str("(module)").expect("wat");
    for (bytes, says) in [
        (&b""[..], "empty"),
        (&wat, "core WebAssembly module"),
        (b"package stoplog:tool@0.1.0;\n", "a text"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "first eight bytes"),
        (b"\0asm", "first eight bytes"),
        (b"\0asm\x0d\0\x01\0\x63\0", "no section 99"),
        (b"\0asm\x0d\0\x01\0\x0a\xff\xff\xff\xff\x0f", "section 10"),
        (
            b"\0asm\x0d\0\x01\0\x0a\x05\xff\xff\xff\xff\x0f",
            "too early",
        ),
    ] {
        refused(inspect(bytes), Reason::ToolNotComponent, &[says]);
    }
    let huge = vec![0; limits::COMPONENT_BYTES + 1];
    refused(inspect(&huge), Reason::ToolNotComponent, &["at most"]);
}

/// Cut anywhere, changed anywhere: an answer, never a panic.
#[test]
fn damage_is_an_error_or_harmless() {
    let imports = ["stoplog:tool/context@0.1.0", "wasi:cli/exit@0.2.6"];
    let whole = component_of_names(&imports, &[ABOUT, &export_of(Class::Pure)]);
    inspect(&whole).expect("it loads");
    for end in 0..whole.len() {
        if let Err(error) = inspect(&whole[..end]) {
            assert!(!error.message.is_empty());
        }
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            let _ = inspect(&damaged);
        }
    }
}
