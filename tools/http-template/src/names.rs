//! The names in a template's braces, and the secrets and origins in its requests.

use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in the texts of a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Names in single braces, whole: `response.id`.
    pub(crate) names: BTreeSet<String>,
    /// Names of secrets.
    pub(crate) secrets: BTreeSet<String>,
    /// Double braces that are no secret.
    pub(crate) strange: Option<String>,
}

impl Found {
    /// Looks through a value.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().for_each(|v| self.value(v)),
            Value::Object(fields) => fields.values().for_each(|v| self.value(v)),
            _ => {}
        }
    }

    /// Looks through a text.
    pub(crate) fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            rest = &rest[open..];
            let double = rest.starts_with("{{");
            let (skip, closing) = if double { (2, "}}") } else { (1, "}") };
            let Some(end) = rest.find(closing) else {
                self.strange = Some(rest.to_owned());
                return;
            };
            let inner = &rest[skip..end];
            match (double, inner.strip_prefix("secret:")) {
                (true, Some(secret)) => {
                    self.secrets.insert(secret.to_owned());
                }
                (true, None) => self.strange = Some(rest[..end + 2].to_owned()),
                (false, _) => {
                    self.names.insert(inner.to_owned());
                }
            }
            rest = &rest[end + closing.len()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_secrets_are_found_wherever_they_stand() {
        let mut found = Found::default();
        found.value(&json!({"a": ["{x}", "Bearer {{secret:TOKEN}}"], "b": "{y.z}/{x}"}));
        let names: Vec<&str> = found.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["x", "y.z"]);
        assert!(found.secrets.contains("TOKEN") && found.strange.is_none());
        found.text("{{other}}");
        assert_eq!(found.strange.as_deref(), Some("{{other}}"));
    }
}
