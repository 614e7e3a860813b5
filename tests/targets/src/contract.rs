//! What a guest says about itself: name, version, description, key template, schema and a value,
//! each on a line of its own.

use serde_json::Value;
use stoplog_model::contract::{Described, KeyRule, MAX_ACT_KEY_BYTES};
use stoplog_model::event::Pin;
use stoplog_model::key::KeyScope;
use stoplog_model::{Class, Contract, Digest, disclosure};

struct Lines {
    described: Described,
    value: String,
}

/// The six lines; missing ones are empty.
fn lines(bytes: &[u8]) -> Lines {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines = text.splitn(6, '\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let (name, version, description) = (next(), next(), next());
    let key = Some(KeyRule {
        template: next(),
        scope: KeyScope::Tenant,
    });
    let schema = next();
    Lines {
        described: Described {
            name,
            version,
            description,
            input_schema: schema.clone(),
            output_schema: schema,
            key,
            keeps_keys: true,
            settles_within_ms: 0,
            timeout_ms: 1_000,
            egress: vec![],
            secrets: vec![],
        },
        value: next(),
    }
}

/// A contract whose name, version and words are in order, so that the rest is looked at.
fn in_order(described: Described) -> Option<Contract> {
    let in_order = Described {
        name: "tool".to_owned(),
        version: "1.0.0".to_owned(),
        description: "It does something.".to_owned(),
        ..described
    };
    Contract::check(in_order, Class::External).ok()
}

/// The whole contract, for each class: refused with a field and a problem, or kept as it is.
pub fn contract(bytes: &[u8]) {
    let Lines { described, .. } = lines(bytes);
    for class in Class::ALL {
        let key = described.key.clone().filter(|_| class.writes());
        let given = Described {
            key,
            ..described.clone()
        };
        match Contract::check(given, class) {
            Err(error) => assert!(!error.field.is_empty() && !error.problem.is_empty()),
            Ok(contract) => {
                let text = serde_json::to_string(&contract).expect("a contract is JSON");
                let again: Contract = serde_json::from_str(&text).expect("and read again");
                assert_eq!(again.digest(), contract.digest());
            }
        }
    }
}

/// The schema, as the host redacts and validates by it. Whatever was accepted ends, and hides what
/// it does not know.
pub fn schema(bytes: &[u8]) {
    let Lines { described, value } = lines(bytes);
    let key = None;
    let pure = Described {
        name: "tool".to_owned(),
        version: "1.0.0".to_owned(),
        description: "It does something.".to_owned(),
        key,
        ..described
    };
    let Ok(contract) = Contract::check(pure, Class::Pure) else {
        return;
    };
    let schema = contract.output_schema.clone();
    if let Ok(value) = serde_json::from_str::<Value>(&value) {
        let shown = disclosure::redact(&value, &schema);
        assert_eq!(
            disclosure::redact(&value, &schema),
            shown,
            "redaction is a function"
        );
        let hidden = disclosure::redact(&serde_json::json!({"nobody knows": "me"}), &schema);
        let known = schema.to_string().contains("nobody knows")
            || schema.to_string().contains("additionalProperties");
        assert!(
            known || !hidden.to_string().contains("me\""),
            "{schema}: {hidden}"
        );
    }
    let pin = Pin {
        component: Digest::of(bytes),
        class: Class::Pure,
        contract,
    };
    let _ = stoplog_dispatch::output_problem(&pin, &value);
}

/// The key of an act: a header of plain characters, short enough, and never another's.
pub fn key_template(bytes: &[u8]) {
    let Lines { described, value } = lines(bytes);
    let (Some(contract), Ok(value)) = (in_order(described), serde_json::from_str(&value)) else {
        return;
    };
    let Ok(Some(key)) = contract.fill_key(&value) else {
        return;
    };
    assert!(key.len() <= MAX_ACT_KEY_BYTES, "{key}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'%');
    // `.` marks the label of an effect, and `~` a scope: no value brings one.
    assert!(key.bytes().all(plain), "{key:?}");
}
