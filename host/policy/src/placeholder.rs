//! Secrets are put in where the tool's author wrote `{{secret:NAME}}`, and nowhere else.
//!
//! The host fills placeholders in when a request leaves, wherever they stand in it. A model that wrote
//! one into its input would have the tool publish its own secret, as the text of a comment. So the
//! input of a tool that may use secrets has none.
//!
//! What may go wrong: a tool that puts a placeholder together out of several fields. Its author is at
//! fault, and nothing here sees it.

use serde_json::Value;

/// How a placeholder begins, in lower case.
const OPENING: &str = "{{secret:";

/// How its characters may be written in a URL, in lower case.
const ENCODED: [(&str, &str); 2] = [("%7b", "{"), ("%3a", ":")];

/// Where an input names a secret, as a JSON pointer; none if it does not.
pub fn named_in(input: &Value) -> Option<String> {
    match input {
        Value::String(text) => is_named(text).then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, item)| Some(format!("/{i}{}", named_in(item)?))),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let below = named_in(value).or_else(|| is_named(name).then(String::new))?;
            Some(format!("/{name}{below}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// As a URL's parser sees it too: that leaves out tabs and line breaks, and encodes a brace or not
/// as the part of the URL is.
fn is_named(text: &str) -> bool {
    let mut plain = text.to_ascii_lowercase();
    plain.retain(|c| !matches!(c, '\t' | '\n' | '\r'));
    for (encoded, character) in ENCODED {
        plain = plain.replace(encoded, character);
    }
    plain.contains(OPENING)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_placeholder_is_found_wherever_it_stands() {
        let found = |value: Value| named_in(&value);
        assert_eq!(
            found(json!({"a": [1, {"b": "x {{secret:TOKEN}}"}]})),
            Some("/a/1/b".to_owned())
        );
        assert_eq!(
            found(json!({"path": "%7B%7bSecret:TOKEN%7D%7D"})),
            Some("/path".to_owned())
        );
        for mixed in [
            "%7B{secret:T}}",
            "{%7bSECRET:T%7D}",
            "a{{sec\nret:T",
            "{{secret%3AT}}",
        ] {
            assert!(found(json!({ "path": mixed })).is_some(), "{mixed}");
        }
        assert!(found(json!({"{{secret:T}}": 1})).is_some());
        assert_eq!(
            found(json!({"a": "{{order}} secret: none", "b": null})),
            None
        );
    }
}
