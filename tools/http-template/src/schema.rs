//! Fields in short form to a JSON Schema.
//!
//! ```toml
//! [input]
//! title = { type = "string", show = "personal", about = "One line." }
//! labels = { type = "array", items = { type = "string" }, show = "audit", optional = true }
//! ```

use serde_json::{Map, Value, json};

use crate::TemplateError;

/// Words of the short form; all others are JSON Schema.
const ABOUT: &str = "about";
const SHOW: &str = "show";
const IDENTIFIER: &str = "identifier";
const OPTIONAL: &str = "optional";
const FROM: &str = "from";

/// Fields by name.
pub(crate) type Fields = Map<String, Value>;

/// The schema of an object with these fields. `place` is for messages.
pub(crate) fn object(place: &str, fields: &Fields) -> Result<Value, TemplateError> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, field) in fields {
        let place = format!("{place}.{name}");
        let field = field.as_object().ok_or_else(|| TemplateError::Wrong {
            place: place.clone(),
            problem: "write it like { type = \"string\", show = \"audit\" }".into(),
        })?;
        if !is_true(field, OPTIONAL) {
            required.push(Value::from(name.as_str()));
        }
        properties.insert(name.clone(), property(&place, field)?);
    }
    Ok(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

/// Where a field of the output comes from.
pub(crate) fn from(name: &str, field: &Value) -> Value {
    let given = field.get(FROM).cloned();
    given.unwrap_or_else(|| Value::from(format!("{{response.{name}}}")))
}

fn is_true(field: &Fields, word: &str) -> bool {
    field.get(word) == Some(&Value::Bool(true))
}

fn property(place: &str, field: &Fields) -> Result<Value, TemplateError> {
    let wrong = |problem: String| TemplateError::Wrong {
        place: place.to_owned(),
        problem,
    };
    if field.get("type").is_none() && field.get("enum").is_none() {
        return Err(wrong("it has no `type`, such as \"string\"".into()));
    }
    let mut schema = Map::new();
    for (word, value) in field {
        let word = match word.as_str() {
            ABOUT => "description",
            SHOW => "x-disclosure",
            IDENTIFIER => "x-identifier",
            OPTIONAL | FROM => continue,
            word => word,
        };
        schema.insert(word.to_owned(), value.clone());
    }
    match schema.get("x-disclosure").and_then(Value::as_str) {
        Some("audit" | "personal" | "secret") => Ok(Value::Object(schema)),
        _ => Err(wrong(
            "say who may see it: show = \"audit\", \"personal\" or \"secret\"".into(),
        )),
    }
}
