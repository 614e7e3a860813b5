//! How large a schema is once its references are followed.
//!
//! A schema is an author's text, and the host walks and validates by it outside of the sandbox. Thirty
//! definitions of which each names the next one twice are a kilobyte, and a billion nodes; one that
//! names itself never ends. Both are refused here, before anything else reads the schema.
//!
//! Invariant: whatever passes is a finite tree of at most [`MAX_NODES`] nodes, nested at most
//! [`MAX_DEPTH`] deep, in which every reference points into the schema itself.

use serde_json::Value;

/// Nodes of a schema with its references followed. A large tool has a few hundred. Validating looks
/// at each of them for each part of a value.
pub const MAX_NODES: usize = 4_000;
/// Deepest nesting, objects and lists of the schema's text included.
pub const MAX_DEPTH: usize = 100;

/// What is data in a schema, and never a schema.
const DATA: [&str; 5] = ["const", "default", "enum", "examples", "required"];
/// References that other texts, or the place of evaluation, give their meaning.
const UNKNOWN: [&str; 5] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveRef",
    "$id",
];

/// Checks that a schema is finite, and small enough.
///
/// # Errors
/// What is wrong with it, for its author.
pub fn check(schema: &Value) -> Result<(), String> {
    let mut nodes = 0;
    walk(schema, schema, 0, &mut nodes)
}

fn walk(node: &Value, root: &Value, depth: usize, nodes: &mut usize) -> Result<(), String> {
    *nodes += 1;
    if *nodes > MAX_NODES {
        return Err(format!(
            "more than {MAX_NODES} nodes once its references are followed"
        ));
    }
    if depth > MAX_DEPTH {
        return Err(format!(
            "nested deeper than {MAX_DEPTH}: does it refer to itself?"
        ));
    }
    match node {
        Value::Object(fields) => {
            for (name, child) in fields {
                let word = name.as_str();
                // A property may have any name: only what has the shape of a keyword is one.
                if UNKNOWN.contains(&word) && child.is_string() {
                    return Err(format!(
                        "`{word}` is not known here: use `$ref` and `$defs`"
                    ));
                }
                if word == "$ref"
                    && let Some(reference) = child.as_str()
                {
                    walk(target(reference, root)?, root, depth + 1, nodes)?;
                } else if child.is_object() || !DATA.contains(&word) {
                    walk(child, root, depth + 1, nodes)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| walk(item, root, depth + 1, nodes)),
        _ => {
            // A word or a number costs nothing by itself.
            *nodes -= 1;
            Ok(())
        }
    }
}

fn target<'a>(reference: &str, root: &'a Value) -> Result<&'a Value, String> {
    reference
        .strip_prefix('#')
        .and_then(|pointer| root.pointer(pointer))
        .ok_or_else(|| {
            format!("`$ref` to {reference:?}: only `#/...` within the schema is followed")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Definitions of which each names the next one so often, in this keyword.
    fn tower(levels: usize, keyword: &str) -> Value {
        let mut defs = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            let node = match keyword {
                "properties" => json!({"properties": {"a": next.clone(), "b": next}}),
                "propertyNames" => json!({"propertyNames": {"allOf": [next.clone(), next]}}),
                list => json!({list: [next.clone(), next]}),
            };
            defs.insert(format!("d{level}"), node);
        }
        defs.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"type": "object", "$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn a_small_text_may_be_a_large_schema() {
        for keyword in ["properties", "allOf", "anyOf", "propertyNames"] {
            assert_eq!(check(&tower(4, keyword)), Ok(()), "{keyword}");
            let why = check(&tower(30, keyword)).expect_err(keyword);
            assert!(why.contains("nodes") || why.contains("deeper"), "{why}");
        }
    }

    #[test]
    fn what_refers_to_itself_is_refused() {
        for schema in [
            json!({"type": "object", "$ref": "#"}),
            json!({"type": "object", "allOf": [{"$ref": "#"}]}),
            json!({"type": "object", "propertyNames": {"$ref": "#"}}),
            json!({"type": "object", "unevaluatedProperties": {"not": {"$ref": "#"}}}),
            json!({"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"},
                "b": {"$ref": "#/$defs/a"}}, "if": {"$ref": "#/$defs/a"}}),
        ] {
            let why = check(&schema).expect_err("endless");
            assert!(why.contains("itself"), "{schema}: {why}");
        }
    }

    #[test]
    fn references_out_of_the_schema_are_refused() {
        for reference in [
            "https://example.com/s",
            "file:///etc/passwd",
            "#nobody",
            "#/$defs/x",
        ] {
            let schema = json!({"type": "object", "not": {"$ref": reference}});
            let why = check(&schema).expect_err(reference);
            assert!(why.contains(reference), "{why}");
        }
        let dynamic = json!({"type": "object", "not": {"$dynamicRef": "#x"}});
        assert!(check(&dynamic).is_err());
    }

    #[test]
    fn what_only_looks_like_a_keyword_is_data() {
        let schema = json!({
            "type": "object",
            "required": ["$ref", "enum"],
            "properties": {
                "$ref": {"type": "string"},
                "enum": {"type": "string", "enum": ["$ref", {"$ref": "nowhere"}]},
                "$id": {"const": [{"$ref": "nowhere"}], "default": ["x"]},
            },
        });
        assert_eq!(check(&schema), Ok(()));
    }
}
