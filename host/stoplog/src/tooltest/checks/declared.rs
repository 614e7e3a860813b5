//! What the schemas declare is there: every field of the output that is seen has a disclosure, and
//! every identifier that is declared is seen in some case. Over all cases of a tool.
//!
//! That every declared field has a disclosure is checked when the component is loaded.

use std::collections::BTreeSet;

use serde_json::Value;
use stoplog_model::Contract;
use stoplog_model::disclosure::{MAX_SCHEMA_DEPTH, resolve};

use crate::tooltest::report::{Check, Failure};

/// The keyword of identifiers.
const IDENTIFIER: &str = "x-identifier";

/// The section's name.
pub(in crate::tooltest) const CASE: &str = "tool";

/// `outputs` are those of all cases that ended with one.
pub(in crate::tooltest) fn check(contract: &Contract, outputs: &[Value]) -> Vec<Check> {
    let schema = &contract.output_schema;
    let mut declared = BTreeSet::new();
    fields(schema, schema, "", 0, &mut declared);
    let mut seen = BTreeSet::new();
    for output in outputs {
        paths(output, "", &mut seen);
    }
    let names: BTreeSet<&str> = declared.iter().map(|f| f.path.as_str()).collect();
    let stray = seen.iter().find(|path| !names.contains(path.as_str()));
    let undeclared = Check::new(
        CASE,
        "disclosure",
        "every field of an output is declared, with who may see it",
    )
    .judged(stray.map(|path| {
        Failure::new(
            format!("`{path}` in the output schema, with x-disclosure"),
            "it is in an output, and the schema does not know it: it is hidden everywhere",
            "declare the field, or leave it out of the output",
        )
    }));
    let missing: Vec<&str> = declared
        .iter()
        .filter(|f| f.is_identifier && !seen.contains(&f.path))
        .map(|f| f.path.as_str())
        .collect();
    let what = "every identifier that the output declares is seen in a case";
    let identifiers = Check::new(CASE, "identifiers", what);
    let unseen: Vec<&str> = declared
        .iter()
        .filter(|f| !f.is_identifier && !seen.contains(&f.path))
        .map(|f| f.path.as_str())
        .collect();
    let identifiers = match (outputs.is_empty(), missing.as_slice(), unseen.as_slice()) {
        (true, _, _) => identifiers.failed(Failure::new(
            "a case that ends with an output",
            "every case ends with an error",
            "write one: what the output declares was never seen",
        )),
        (_, [], []) => identifiers,
        (_, [], unseen) => identifiers.with_note(format!("never seen: {}", unseen.join(", "))),
        (_, missing, _) => identifiers.failed(Failure::new(
            format!("{} in some output", missing.join(", ")),
            "no case has it",
            "write a case that shows it, or take the identifier out of the schema",
        )),
    };
    vec![undeclared, identifiers]
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Field {
    /// With `*` for the elements of a list.
    path: String,
    is_identifier: bool,
}

/// All fields that a schema declares.
fn fields(node: &Value, root: &Value, path: &str, depth: usize, found: &mut BTreeSet<Field>) {
    if depth > MAX_SCHEMA_DEPTH {
        return;
    }
    let node = resolve(node, root);
    let properties = node.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let path = format!("{path}/{name}");
        let keyword = |node: &Value| node.get(IDENTIFIER).is_some();
        found.insert(Field {
            is_identifier: keyword(property) || keyword(resolve(property, root)),
            path: path.clone(),
        });
        fields(property, root, &path, depth + 1, found);
    }
    if let Some(items) = node.get("items") {
        fields(items, root, &format!("{path}/*"), depth + 1, found);
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let alternatives = node.get(keyword).and_then(Value::as_array);
        for alternative in alternatives.into_iter().flatten() {
            fields(alternative, root, path, depth + 1, found);
        }
    }
}

/// All fields that a value has; null is none.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(_, f)| !f.is_null()) {
                let path = format!("{path}/{name}");
                found.insert(path.clone());
                paths(field, &path, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(item, &format!("{path}/*"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failed(schema: Value, outputs: &[Value]) -> Vec<String> {
        let contract: Contract = serde_json::from_value(json!({
            "name": "t", "version": "1.0.0", "description": "d", "input_schema": {},
            "output_schema": schema, "key": null, "keeps_keys": false, "settles_within_ms": 0,
            "timeout_ms": 1, "egress": [], "secrets": [],
        }))
        .expect("contract");
        let checks = check(&contract, outputs);
        let failed = checks.into_iter().filter(|c| c.failure.is_some());
        failed.map(|c| c.id).collect()
    }

    #[test]
    fn an_unseen_identifier_and_an_undeclared_field_are_found() {
        let schema = json!({"properties": {
            "id": {"x-identifier": "act_id"},
            "lines": {"items": {"$ref": "#/$defs/Line"}},
        }, "$defs": {"Line": {"properties": {"sku": {"x-identifier": "sku"}}}}});
        let whole = json!({"id": "1", "lines": [{"sku": "a"}]});
        assert!(failed(schema.clone(), &[whole]).is_empty());
        let none = json!({"id": "1", "lines": []});
        assert_eq!(failed(schema.clone(), &[none]), ["tool/identifiers"]);
        let stray = json!({"id": "1", "lines": [{"sku": "a", "price": 2}]});
        assert_eq!(failed(schema, &[stray]), ["tool/disclosure"]);
    }
}
