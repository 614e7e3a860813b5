//! What a tool says about its own call, beside its result: annotations, and spans of its own.
//!
//! Who may see it is said in the output schema, at its root, by names: `"x-annotations": ["region"]`
//! and `"x-spans": ["lookup"]`. A name that is not there is hidden, and what it names too: a tool's
//! text may be anybody's. So redaction is chosen here as it is for fields, and never accidental.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Keyword with the names of annotations that may be seen, on spans of the tool's own too.
pub const ANNOTATIONS_KEYWORD: &str = "x-annotations";
/// Keyword with the names of the tool's own spans that may be seen.
pub const SPANS_KEYWORD: &str = "x-spans";

/// Names in a list at most: as many as a call may have annotations.
const MAX_NAMES: usize = 32;
/// Characters of a name at most: it is an attribute's.
const MAX_NAME_CHARS: usize = 64;

/// A part of a call, as the tool marked it. The host's clock timed it; the tool saw none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpan {
    /// The tool's name for it.
    pub name: String,
    /// The span that it lies in, by its place in the list; the call itself if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Milliseconds from the start of the run of the tool.
    pub from_ms: u64,
    /// How long it took, milliseconds.
    pub latency_ms: u64,
    /// What the tool put on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(String, String)>,
}

/// Whether an output schema lists a name under a keyword.
pub fn is_listed(schema: &Value, keyword: &str, name: &str) -> bool {
    let names = schema.get(keyword).and_then(Value::as_array);
    names.is_some_and(|names| names.iter().any(|n| n == name))
}

/// What is wrong with the two lists of an output schema, if anything: the keyword, and the problem.
pub fn check(schema: &Value) -> Result<(), (&'static str, String)> {
    for keyword in [ANNOTATIONS_KEYWORD, SPANS_KEYWORD] {
        let Some(value) = schema.get(keyword) else {
            continue;
        };
        let names = value.as_array().map(|names| {
            let texts = names.iter().map(Value::as_str);
            texts.collect::<Option<Vec<&str>>>()
        });
        let Some(Some(names)) = names else {
            return Err((keyword, "it must be a list of names".to_owned()));
        };
        if names.len() > MAX_NAMES {
            let problem = format!("{} names; at most {MAX_NAMES}", names.len());
            return Err((keyword, problem));
        }
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            let problem = format!(
                "`{}`: a name is 1 to {MAX_NAME_CHARS} of letters, digits, `_`, `-` and `.`",
                bad.escape_debug()
            );
            return Err((keyword, problem));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_lists_of_plain_names_are_taken() {
        let check_of = |value: Value| check(&json!({ "x-annotations": value }));
        assert_eq!(check(&json!({})), Ok(()));
        assert_eq!(check_of(json!(["region", "http.status"])), Ok(()));
        for bad in [
            json!("region"),
            json!([1]),
            json!([""]),
            json!(["priya@example.com"]),
            json!(["x".repeat(65)]),
            json!(vec!["a"; 33]),
        ] {
            assert!(check_of(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(
            check(&json!({"x-spans": {}})).expect_err("bad").0,
            "x-spans"
        );
    }

    #[test]
    fn a_name_is_listed_under_its_keyword_alone() {
        let schema = json!({"x-annotations": ["a"], "x-spans": ["b"]});
        assert!(is_listed(&schema, ANNOTATIONS_KEYWORD, "a"));
        assert!(!is_listed(&schema, ANNOTATIONS_KEYWORD, "b"));
        assert!(!is_listed(&json!({}), SPANS_KEYWORD, "a"));
    }
}
