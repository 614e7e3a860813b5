//! Which fields of a tool's input and output may be seen where (`x-disclosure`), and redaction.
//!
//! Redaction is chosen, never accidental (requirement 40): a schema that leaves a field
//! undecided is refused at load, and a value that its schema does not know is hidden.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The schema keyword that decides.
pub const KEYWORD: &str = "x-disclosure";

/// Deepest nesting of a schema that is walked: a schema that refers to itself must end somewhere.
pub const MAX_SCHEMA_DEPTH: usize = 32;

/// Where a field may be seen. Ordered by how much is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disclosure {
    /// Everywhere: ids and amounts that the people on call need.
    Audit,
    /// In the journal and by the model; hidden in spans, lists and exports.
    Personal,
    /// As `personal`; it names what must not even be shown to an approver.
    Secret,
}

impl Disclosure {
    /// The disclosure of a schema node, if it decides.
    pub fn of(schema: &Value) -> Option<Disclosure> {
        match schema.get(KEYWORD)?.as_str()? {
            "audit" => Some(Disclosure::Audit),
            "personal" => Some(Disclosure::Personal),
            "secret" => Some(Disclosure::Secret),
            _ => None,
        }
    }

    /// The word in a schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Disclosure::Audit => "audit",
            Disclosure::Personal => "personal",
            Disclosure::Secret => "secret",
        }
    }

    fn mask(self) -> &'static str {
        match self {
            Disclosure::Audit => "",
            Disclosure::Personal => "[personal]",
            Disclosure::Secret => "[secret]",
        }
    }
}

/// A field that its schema leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// JSON pointer of the schema node.
    pub path: String,
    /// What is missing or wrong there.
    pub problem: String,
}

/// Checks that every field of a schema decides on its disclosure.
pub fn check(schema: &Value) -> Result<(), Undecided> {
    walk(schema, schema, "", 0)
}

/// The schema node behind a local `$ref`, else the node itself.
pub fn resolve<'a>(node: &'a Value, root: &'a Value) -> &'a Value {
    node.get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(node)
}

fn walk(node: &Value, root: &Value, path: &str, depth: usize) -> Result<(), Undecided> {
    let undecided = |path: &str, problem: String| {
        Err(Undecided {
            path: path.to_owned(),
            problem,
        })
    };
    if depth > MAX_SCHEMA_DEPTH {
        return undecided(path, format!("nested deeper than {MAX_SCHEMA_DEPTH}"));
    }
    let node = resolve(node, root);
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            let path = format!("{path}/properties/{name}");
            decided(property, root, &path)?;
            walk(property, root, &path, depth + 1)?;
        }
    }
    for keyword in ["patternProperties", "dependentSchemas"] {
        if let Some(children) = node.get(keyword).and_then(Value::as_object) {
            for (name, child) in children {
                let path = format!("{path}/{keyword}/{name}");
                decided(child, root, &path)?;
                walk(child, root, &path, depth + 1)?;
            }
        }
    }
    for keyword in [
        "items",
        "additionalProperties",
        "not",
        "if",
        "then",
        "else",
        "contains",
    ] {
        if let Some(child) = node.get(keyword).filter(|c| c.is_object()) {
            let path = format!("{path}/{keyword}");
            if keyword == "additionalProperties" {
                decided(child, root, &path)?;
            }
            walk(child, root, &path, depth + 1)?;
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(children) = node.get(keyword).and_then(Value::as_array) {
            for (i, child) in children.iter().enumerate() {
                walk(child, root, &format!("{path}/{keyword}/{i}"), depth + 1)?;
            }
        }
    }
    Ok(())
}

/// What a schema decides, field by field: `lines[].sku`. Where alternatives disagree, the stricter
/// one counts.
pub fn decisions(schema: &Value) -> BTreeMap<String, Disclosure> {
    let mut found = BTreeMap::new();
    collect(schema, schema, "", 0, &mut found);
    found
}

fn collect(
    node: &Value,
    root: &Value,
    path: &str,
    depth: usize,
    found: &mut BTreeMap<String, Disclosure>,
) {
    if depth > MAX_SCHEMA_DEPTH {
        return;
    }
    let node = resolve(node, root);
    let mut field = |child: &Value, name: &str| {
        let path = match path {
            "" => name.to_owned(),
            above => format!("{above}.{name}"),
        };
        let own = Disclosure::of(child).or_else(|| Disclosure::of(resolve(child, root)));
        if let Some(own) = own {
            let known = found.entry(path.clone()).or_insert(own);
            *known = own.max(*known);
        }
        collect(child, root, &path, depth + 1, found);
    };
    for keyword in ["properties", "patternProperties"] {
        for (name, child) in node
            .get(keyword)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            match keyword {
                "properties" => field(child, name),
                _ => field(child, &format!("/{name}/")),
            }
        }
    }
    if let Some(child) = node.get("additionalProperties").filter(|c| c.is_object()) {
        field(child, "*");
    }
    let items = [
        ("items", "[]"),
        ("contains", "[]"),
        ("if", ""),
        ("then", ""),
        ("else", ""),
    ];
    for (keyword, mark) in items {
        if let Some(child) = node.get(keyword).filter(|c| c.is_object()) {
            collect(child, root, &format!("{path}{mark}"), depth + 1, found);
        }
    }
    for (keyword, mark) in [
        ("anyOf", ""),
        ("oneOf", ""),
        ("allOf", ""),
        ("prefixItems", "[]"),
    ] {
        for child in node
            .get(keyword)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            collect(child, root, &format!("{path}{mark}"), depth + 1, found);
        }
    }
    if let Some(children) = node.get("dependentSchemas").and_then(Value::as_object) {
        for child in children.values() {
            collect(child, root, path, depth + 1, found);
        }
    }
}

fn decided(node: &Value, root: &Value, path: &str) -> Result<(), Undecided> {
    if Disclosure::of(node)
        .or_else(|| Disclosure::of(resolve(node, root)))
        .is_some()
    {
        return Ok(());
    }
    let problem = match node.get(KEYWORD) {
        None => format!("no `{KEYWORD}`; give it \"audit\", \"personal\" or \"secret\""),
        Some(given) => {
            format!("`{KEYWORD}` is {given}; it must be \"audit\", \"personal\" or \"secret\"")
        }
    };
    Err(Undecided {
        path: path.to_owned(),
        problem,
    })
}

/// The value with every field that is not for audit masked, as its schema says. What the schema
/// does not know is masked too.
pub fn redact(value: &Value, schema: &Value) -> Value {
    redact_node(
        value,
        schema,
        schema,
        Some(Disclosure::Audit),
        Disclosure::Personal,
        0,
    )
}

/// The value as a person who approves may see it: personal fields are what they decide about;
/// secret fields are masked, and what the schema does not know too.
pub fn for_approver(value: &Value, schema: &Value) -> Value {
    redact_node(
        value,
        schema,
        schema,
        Some(Disclosure::Audit),
        Disclosure::Secret,
        0,
    )
}

fn redact_node(
    value: &Value,
    node: &Value,
    root: &Value,
    inherited: Option<Disclosure>,
    hidden_from: Disclosure,
    depth: usize,
) -> Value {
    let own = Disclosure::of(node).or_else(|| Disclosure::of(resolve(node, root)));
    let node = resolve(node, root);
    let decision = match own.or(inherited) {
        Some(shown) if shown < hidden_from => shown,
        Some(hidden) => return Value::from(hidden.mask()),
        None => return Value::from("[undecided]"),
    };
    if depth > MAX_SCHEMA_DEPTH {
        return Value::from("[undecided]");
    }
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (place, (name, field)) in fields.iter().enumerate() {
                let shown = match strictest(node, root, name) {
                    Some(child) => redact_node(field, child, root, None, hidden_from, depth + 1),
                    None => Value::from("[undecided]"),
                };
                let name = match shows_name(node, root, name, hidden_from) {
                    true => name.clone(),
                    false => format!("[name {place}]"),
                };
                out.insert(name, shown);
            }
            Value::Object(out)
        }
        Value::Array(items) => match plain_items(node) {
            Some(item) => items
                .iter()
                .map(|v| redact_node(v, item, root, Some(decision), hidden_from, depth + 1))
                .collect(),
            None => Value::from("[undecided]"),
        },
        plain => plain.clone(),
    }
}

/// Whether the name of a field may be seen: one that the schema has says nothing new. Any other is
/// part of the value, as in a map from an address to a count, and is shown if `propertyNames` decides
/// so. Who approves sees it, as they see what is personal.
fn shows_name(node: &Value, root: &Value, name: &str, hidden_from: Disclosure) -> bool {
    let names = node.get("propertyNames").map(|n| resolve(n, root));
    hidden_from > Disclosure::Personal
        || is_named(node, root, name)
        || names.and_then(Disclosure::of) == Some(Disclosure::Audit)
}

/// Whether the schema, or an alternative of it, has a field of this name.
fn is_named(node: &Value, root: &Value, name: &str) -> bool {
    let own = |node: &Value| {
        node.get("properties")
            .is_some_and(|p| p.get(name).is_some())
    };
    own(node)
        || ["anyOf", "oneOf", "allOf"].iter().any(|keyword| {
            let alternatives = node.get(keyword).and_then(Value::as_array);
            alternatives
                .into_iter()
                .flatten()
                .any(|alternative| own(resolve(alternative, root)))
        })
}

/// The schema of every element of an array, if there is one for all.
fn plain_items(node: &Value) -> Option<&Value> {
    node.get("items")
        .filter(|i| i.is_object() && node.get("prefixItems").is_none())
}

/// The schemas that may decide about a field: the node's own, and those of its alternatives. None
/// when a pattern might decide, which is not looked at here: then the field is masked.
fn schemas_of<'a>(node: &'a Value, root: &'a Value, name: &str) -> Vec<&'a Value> {
    let own = |node: &'a Value| node.get("properties").and_then(|p| p.get(name));
    let mut found: Vec<&Value> = own(node).into_iter().collect();
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let alternatives = node.get(keyword).and_then(Value::as_array);
        for alternative in alternatives.into_iter().flatten() {
            found.extend(own(resolve(alternative, root)));
        }
    }
    if found.is_empty() && node.get("patternProperties").is_none() {
        found.extend(node.get("additionalProperties").filter(|a| a.is_object()));
    }
    found
}

/// The schema that hides most, of those that may decide.
fn strictest<'a>(node: &'a Value, root: &'a Value, name: &str) -> Option<&'a Value> {
    schemas_of(node, root, name)
        .into_iter()
        .max_by_key(|schema| {
            let own = Disclosure::of(schema).or_else(|| Disclosure::of(resolve(schema, root)));
            own.map_or(u8::MAX, |d| d as u8)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_for_audit_is_masked_and_what_nobody_knows_too() {
        let schema = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string", "x-disclosure": "audit"},
                "email": {"type": "string", "x-disclosure": "personal"},
                "token": {"type": "string", "x-disclosure": "secret"},
                "lines": {"type": "array", "x-disclosure": "audit", "items": {
                    "type": "object", "properties": {
                        "sku": {"x-disclosure": "audit"}, "name": {"x-disclosure": "personal"}}}},
                "tags": {"type": "array", "x-disclosure": "audit", "items": {"type": "string"}},
                "ref": {"$ref": "#/$defs/Person", "x-disclosure": "audit"},
            },
            "$defs": {"Person": {"type": "object", "properties": {
                "name": {"x-disclosure": "personal"}, "no": {"x-disclosure": "audit"}}}}
        });
        assert_eq!(check(&schema), Ok(()));
        let value = json!({
            "id": "448100", "email": "p@x", "token": "t", "extra": 1,
            "lines": [{"sku": "a", "name": "b"}], "tags": ["x"], "ref": {"name": "P", "no": 1}
        });
        assert_eq!(
            decisions(&schema),
            [
                ("email", Disclosure::Personal),
                ("id", Disclosure::Audit),
                ("lines", Disclosure::Audit),
                ("lines[].name", Disclosure::Personal),
                ("lines[].sku", Disclosure::Audit),
                ("ref", Disclosure::Audit),
                ("ref.name", Disclosure::Personal),
                ("ref.no", Disclosure::Audit),
                ("tags", Disclosure::Audit),
                ("token", Disclosure::Secret),
            ]
            .map(|(path, d)| (path.to_owned(), d))
            .into()
        );
        assert_eq!(
            redact(&value, &schema),
            json!({
                "id": "448100", "email": "[personal]", "token": "[secret]", "[name 3]": "[undecided]",
                "lines": [{"sku": "a", "name": "[personal]"}], "tags": ["x"],
                "ref": {"name": "[personal]", "no": 1}
            })
        );
    }

    #[test]
    fn where_schemas_disagree_the_stricter_one_counts() {
        let schema = json!({
            "type": "object",
            "oneOf": [
                {"properties": {"value": {"x-disclosure": "audit"}}},
                {"properties": {"value": {"x-disclosure": "secret"}}},
            ],
            "patternProperties": {"^pii_": {"x-disclosure": "secret"}},
            "additionalProperties": {"x-disclosure": "audit"},
        });
        assert_eq!(
            redact(&json!({"value": 1, "pii_a": 2}), &schema),
            json!({"value": "[secret]", "[name 1]": "[undecided]"})
        );
    }

    #[test]
    fn names_that_are_part_of_the_value_are_shown_only_where_somebody_decided_so() {
        let map = |names: Value| {
            json!({"type": "object", "properties": {"by_mail": {
                "x-disclosure": "audit", "type": "object", "propertyNames": names,
                "additionalProperties": {"type": "integer", "x-disclosure": "audit"}}}})
        };
        let value = json!({"by_mail": {"priya@example.com": 2, "suresh@example.com": 3}});
        let hidden = json!({"by_mail": {"[name 0]": 2, "[name 1]": 3}});
        assert_eq!(redact(&value, &map(json!({}))), hidden);
        assert_eq!(
            redact(&value, &map(json!({"x-disclosure": "personal"}))),
            hidden
        );
        assert_eq!(
            redact(&value, &map(json!({"x-disclosure": "audit"}))),
            value
        );
        assert_eq!(for_approver(&value, &map(json!({}))), value);
    }

    #[test]
    fn an_undecided_field_deep_inside_is_found() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"x-disclosure": "audit", "type": "array",
                "items": {"type": "object", "properties": {"b": {"type": "string"}}}}}
        });
        assert_eq!(
            check(&schema).expect_err("b").path,
            "/properties/a/items/properties/b"
        );
    }
}
