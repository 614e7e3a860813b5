//! Filling names in braces.
//!
//! A text that is nothing but `{x}` becomes the value itself; where it has none, the field that it
//! stands in is left out. Within a longer text the value is written as text. What stands in double
//! braces is for the host (`{{secret:NAME}}`), and stays as it is.

use serde_json::{Map, Value};

/// How a value is written into a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As it is.
    Plain,
    /// Percent-encoded, for a URL.
    Encoded,
}

/// A field behind dots; the empty path is the whole.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        value => value.get(part),
    })
}

/// A value as text.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The value of a name; null is none.
fn lookup<'a>(name: &str, known: &'a Map<String, Value>) -> Option<&'a Value> {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    at(known.get(first)?, rest).filter(|v| !v.is_null())
}

/// The name, if a text is nothing but one.
fn whole_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

/// None: it is a name without a value.
pub fn value(template: &Value, known: &Map<String, Value>) -> Option<Value> {
    Some(match template {
        Value::String(text) => match whole_name(text) {
            Some(name) => lookup(name, known)?.clone(),
            None => Value::String(self::text(text, known, Written::Plain)),
        },
        Value::Array(items) => items.iter().filter_map(|v| value(v, known)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let filled = fields.filter_map(|(n, v)| Some((n.clone(), value(v, known)?)));
            Value::Object(filled.collect())
        }
        plain => plain.clone(),
    })
}

/// A text with its names filled; one without a value becomes nothing.
pub fn text(template: &str, known: &Map<String, Value>, written: Written) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let (opening, closing) = if rest.starts_with("{{") {
            ("{{", "}}")
        } else {
            ("{", "}")
        };
        let Some(end) = rest.find(closing) else {
            break;
        };
        if opening == "{{" {
            out.push_str(&rest[..end + 2]);
        } else if let Some(value) = lookup(&rest[1..end], known) {
            let plain = text_of(value);
            match written {
                Written::Plain => out.push_str(&plain),
                Written::Encoded => out.push_str(&stoplog_sdk::http::encode(&plain)),
            }
        }
        rest = &rest[end + closing.len()..];
    }
    out.push_str(rest);
    out
}
