//! An input that fits a schema, for a command that a person can copy.
//!
//! It is a beginning and no more: required fields alone, and plain values. Where a schema says
//! more than types (patterns, combinations), the host's check of the input has the last word.

use serde_json::{Map, Value, json};
use stoplog_model::disclosure;

/// Deepest nesting that is written out.
const MAX_DEPTH: usize = 8;

/// An input for a schema.
pub(crate) fn input(schema: &Value) -> Value {
    value(schema, schema, 0)
}

fn value(node: &Value, root: &Value, depth: usize) -> Value {
    let node = disclosure::resolve(node, root);
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let given = |keyword: &str| node.get(keyword).cloned();
    let first = |keyword: &str| node.get(keyword)?.as_array()?.first().cloned();
    if let Some(known) = given("const")
        .or_else(|| given("default"))
        .or_else(|| first("examples"))
        .or_else(|| first("enum"))
    {
        return known;
    }
    for keyword in ["anyOf", "oneOf"] {
        let kinds = node.get(keyword).and_then(Value::as_array);
        if let (Some(kind), None) = (kinds.and_then(|k| k.first()), node.get("type")) {
            return value(kind, root, depth + 1);
        }
    }
    match kind(node) {
        "object" => object(node, root, depth),
        "array" => {
            let items = node.get("items").unwrap_or(&Value::Null);
            json!([value(items, root, depth + 1)])
        }
        "integer" => json!(
            node.get("minimum")
                .and_then(Value::as_i64)
                .unwrap_or(1)
                .max(1)
        ),
        "number" => json!(1.0),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!("text"),
    }
}

fn kind(node: &Value) -> &str {
    match node.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or(""),
        _ => "",
    }
}

fn object(node: &Value, root: &Value, depth: usize) -> Value {
    let required = node.get("required").and_then(Value::as_array);
    let fields = required.into_iter().flatten().filter_map(Value::as_str);
    let of = |name: &str| Some(value(node.get("properties")?.get(name)?, root, depth + 1));
    let map: Map<String, Value> = fields
        .filter_map(|name| Some((name.to_owned(), of(name)?)))
        .collect();
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_fields_are_filled_and_no_others() {
        let schema = json!({
            "type": "object", "required": ["id", "n", "kind", "lines", "to"],
            "properties": {
                "id": {"type": "string"}, "n": {"type": "integer", "minimum": 7},
                "kind": {"enum": ["a", "b"]}, "note": {"type": "string"},
                "lines": {"type": "array", "items": {"type": "boolean"}},
                "to": {"$ref": "#/$defs/To"},
            },
            "$defs": {"To": {"type": "object", "required": ["x"],
                             "properties": {"x": {"type": ["number", "null"]}}}},
        });
        let expected = json!({
            "id": "text", "n": 7, "kind": "a", "lines": [true], "to": {"x": 1.0}
        });
        assert_eq!(input(&schema), expected);
        assert_eq!(input(&json!({"type": "object"})), json!({}));
    }
}
