//! What a tool says about itself, checked, and the key rule in it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::class::Class;
use crate::digest::Digest;
use crate::disclosure;
use crate::id::ToolName;
use crate::key::KeyScope;
use crate::reason::Reason;
use crate::schema_size;
use crate::tool_span;

/// Longest description for the model, in characters: it is paid for in every turn.
pub const MAX_DESCRIPTION_CHARS: usize = 4096;
/// Longest filled act key, in bytes: Stripe and others cut idempotency keys at 255, and a label
/// of up to 41 bytes and a scope mark of 13 may follow.
pub const MAX_ACT_KEY_BYTES: usize = 200;
/// Longest time a call may ask for, in milliseconds: ten minutes. A tool that waits longer than
/// that should start something and be asked about it.
pub const MAX_TIMEOUT_MS: u32 = 600_000;
/// Longest settling time, in milliseconds: an hour. Recovery waits for it.
pub const MAX_SETTLES_WITHIN_MS: u32 = 3_600_000;

/// Origins, and secrets, that a tool may ask for: a person reads them all before they accept it.
pub const MAX_WISHES: usize = 64;
/// Longest origin or name of a secret, in bytes.
pub const MAX_WISH_BYTES: usize = 512;

/// How the host names what a call does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRule {
    /// Such as `refund_{order_id}_{reason}`.
    pub template: String,
    /// Where the key is unique.
    pub scope: KeyScope,
}

/// The contract of a tool, checked. Made by [`Contract::check`] alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// What the model calls it by.
    pub name: ToolName,
    /// Semantic version.
    pub version: String,
    /// For the model.
    pub description: String,
    /// JSON Schema 2020-12 of the input.
    pub input_schema: Value,
    /// JSON Schema 2020-12 of the output.
    pub output_schema: Value,
    /// Required from class 2 up.
    pub key: Option<KeyRule>,
    /// The far side remembers idempotency keys.
    pub keeps_keys: bool,
    /// After so long, `absent` from `probe` is believed. Milliseconds.
    pub settles_within_ms: u32,
    /// A call's time, milliseconds.
    pub timeout_ms: u32,
    /// Origins that it wants to reach.
    pub egress: Vec<String>,
    /// Secrets that it wants put in, by name.
    pub secrets: Vec<String>,
}

/// The contract as the guest described it: nothing checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "field for field the record `contract` of wit/tool.wit"
)]
pub struct Described {
    pub name: String,
    pub version: String,
    pub description: String,
    pub input_schema: String,
    pub output_schema: String,
    pub key: Option<KeyRule>,
    pub keeps_keys: bool,
    pub settles_within_ms: u32,
    pub timeout_ms: u32,
    pub egress: Vec<String>,
    pub secrets: Vec<String>,
}

/// What is wrong with a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ContractError {
    /// [`Reason::ToolContractInvalid`] or [`Reason::ToolFieldUndecided`].
    pub reason: Reason,
    /// Which field of the contract.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

fn wrong(field: &str, problem: impl Into<String>) -> ContractError {
    ContractError {
        reason: Reason::ToolContractInvalid,
        field: field.to_owned(),
        problem: problem.into(),
    }
}

impl Contract {
    /// Checks what a component of this class described. All or nothing: there is no contract
    /// with a broken part.
    pub fn check(described: Described, class: Class) -> Result<Contract, ContractError> {
        let name = ToolName::new(described.name).map_err(|e| wrong("name", e.to_string()))?;
        if !is_version(&described.version) {
            let problem = format!("`{}` is not MAJOR.MINOR.PATCH", described.version);
            return Err(wrong("version", problem));
        }
        let chars = described.description.trim().chars().count();
        if chars == 0 || chars > MAX_DESCRIPTION_CHARS {
            let problem = format!("{chars} characters; it needs 1 to {MAX_DESCRIPTION_CHARS}");
            return Err(wrong("description", problem));
        }
        if described.timeout_ms == 0 || described.timeout_ms > MAX_TIMEOUT_MS {
            let problem = format!("{}; it must be 1 to {MAX_TIMEOUT_MS}", described.timeout_ms);
            return Err(wrong("timeout-ms", problem));
        }
        if described.settles_within_ms > MAX_SETTLES_WITHIN_MS {
            let problem = format!("at most {MAX_SETTLES_WITHIN_MS}");
            return Err(wrong("settles-within-ms", problem));
        }
        for (field, wishes) in [
            ("egress", &described.egress),
            ("secrets", &described.secrets),
        ] {
            check_wishes(field, wishes)?;
        }
        let input_schema = object_schema("input-schema", &described.input_schema)?;
        let output_schema = object_schema("output-schema", &described.output_schema)?;
        tool_span::check(&output_schema)
            .map_err(|(keyword, why)| wrong(&format!("output-schema, {keyword}"), why))?;
        match (&described.key, class.writes()) {
            (None, true) => {
                let problem =
                    format!("class {class} needs a key rule, such as `refund_{{order_id}}`");
                return Err(wrong("key", problem));
            }
            (Some(_), false) => {
                return Err(wrong(
                    "key",
                    format!("class {class} has no effects to name"),
                ));
            }
            (Some(rule), true) => check_template(&rule.template, &input_schema)?,
            (None, false) => {}
        }
        if class == Class::Pure && !(described.egress.is_empty() && described.secrets.is_empty()) {
            return Err(wrong(
                "egress",
                "class pure reaches nothing: ask for no origin, no secret",
            ));
        }
        Ok(Contract {
            name,
            version: described.version,
            description: described.description,
            input_schema,
            output_schema,
            key: described.key,
            keeps_keys: described.keeps_keys,
            settles_within_ms: described.settles_within_ms,
            timeout_ms: described.timeout_ms,
            egress: described.egress,
            secrets: described.secrets,
        })
    }

    /// The digest that the lock file keeps: a contract that says something else is another one.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&serde_json::to_value(self).unwrap_or(Value::Null))
    }

    /// Fills the key template from an input, or says which field is missing or unfit.
    pub fn fill_key(&self, input: &Value) -> Result<Option<String>, String> {
        let Some(rule) = &self.key else {
            return Ok(None);
        };
        let mut key = String::new();
        for part in parse_template(&rule.template)? {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Field(field) => match input.get(field) {
                    Some(Value::String(text)) => push_plain(&mut key, text),
                    Some(Value::Number(n)) if n.is_i64() || n.is_u64() => {
                        key.push_str(&n.to_string());
                    }
                    Some(Value::Bool(b)) => key.push_str(if *b { "true" } else { "false" }),
                    _ => {
                        return Err(format!(
                            "the key `{}` needs `{field}` as a text, an integer or a boolean",
                            rule.template
                        ));
                    }
                },
            }
        }
        if key.len() > MAX_ACT_KEY_BYTES {
            return Err(format!(
                "the key is {} bytes long; at most {MAX_ACT_KEY_BYTES} fit",
                key.len()
            ));
        }
        Ok(Some(key))
    }
}

/// A key is a header value and a file of record: everything but unreserved characters
/// (RFC 3986, section 2.3) is percent-encoded. So are `~`, which marks a scope, and `.`, which
/// marks the label of an effect: no text of a model's can take another effect's key.
fn push_plain(key: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// A list that a person can read, of texts that hide nothing.
fn check_wishes(field: &str, wishes: &[String]) -> Result<(), ContractError> {
    if wishes.len() > MAX_WISHES {
        let problem = format!("{} of them; at most {MAX_WISHES}", wishes.len());
        return Err(wrong(field, problem));
    }
    let readable = |w: &&String| {
        (1..=MAX_WISH_BYTES).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_graphic())
    };
    match wishes.iter().find(|w| !readable(w)) {
        None => Ok(()),
        Some(_) => {
            let problem =
                format!("each has 1 to {MAX_WISH_BYTES} characters of ASCII, and no white space");
            Err(wrong(field, problem))
        }
    }
}

fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or("");
    let parts: Vec<&str> = core.split('.').collect();
    text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
        && parts.len() == 3
        && parts
            .iter()
            .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn object_schema(field: &str, text: &str) -> Result<Value, ContractError> {
    let schema: Value =
        serde_json::from_str(text).map_err(|e| wrong(field, format!("not JSON: {e}")))?;
    if schema.get("type") != Some(&Value::from("object")) {
        return Err(wrong(field, "the schema must have \"type\": \"object\""));
    }
    schema_size::check(&schema).map_err(|e| wrong(field, e))?;
    disclosure::check(&schema).map_err(|undecided| ContractError {
        reason: Reason::ToolFieldUndecided,
        field: format!("{field}, {}", undecided.path),
        problem: undecided.problem,
    })?;
    Ok(schema)
}

enum Part<'a> {
    Text(&'a str),
    Field(&'a str),
}

fn parse_template(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find(['{', '}']) {
        if rest.as_bytes()[open] == b'}' {
            return Err(format!("`{template}` closes a brace that it did not open"));
        }
        let close = rest[open..]
            .find('}')
            .ok_or_else(|| format!("`{template}` leaves a brace open"))?;
        let field = &rest[open + 1..open + close];
        if field.is_empty() || field.contains('{') {
            return Err(format!("`{template}` has a brace without a field name"));
        }
        parts.push(Part::Text(&rest[..open]));
        parts.push(Part::Field(field));
        rest = &rest[open + close + 1..];
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn check_template(template: &str, schema: &Value) -> Result<(), ContractError> {
    let parts = parse_template(template).map_err(|e| wrong("key", e))?;
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let mut fields = 0;
    for part in parts {
        match part {
            Part::Text(text) if plain(text) => {}
            Part::Text(text) => {
                let problem = format!("`{text}`: only letters, digits, `-`, `_` outside braces");
                return Err(wrong("key", problem));
            }
            Part::Field(field) => {
                fields += 1;
                check_key_field(field, schema)?;
            }
        }
    }
    if fields == 0 {
        return Err(wrong(
            "key",
            "it names no field: every call would be the same act",
        ));
    }
    Ok(())
}

fn check_key_field(field: &str, schema: &Value) -> Result<(), ContractError> {
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().any(|n| n.as_str() == Some(field)));
    let Some(property) = schema.get("properties").and_then(|p| p.get(field)) else {
        return Err(wrong("key", format!("the input has no field `{field}`")));
    };
    if !required {
        return Err(wrong(
            "key",
            format!("`{field}` must be a required field of the input"),
        ));
    }
    // The key is a header at the far side and a column here: nothing personal may be in it.
    let shown = disclosure::Disclosure::of(property)
        .or_else(|| disclosure::Disclosure::of(disclosure::resolve(property, schema)));
    if shown != Some(disclosure::Disclosure::Audit) {
        return Err(wrong(
            "key",
            format!("`{field}` is not for audit, and a key is seen everywhere"),
        ));
    }
    let property = disclosure::resolve(property, schema);
    let fits = match property.get("type").and_then(Value::as_str) {
        Some(kind) => matches!(kind, "string" | "integer" | "boolean"),
        // An enum or oneOf of texts carries no single type; filling checks the value.
        None => true,
    };
    if fits {
        Ok(())
    } else {
        Err(wrong(
            "key",
            format!("`{field}` must be a string, an integer or a boolean"),
        ))
    }
}

#[cfg(test)]
mod tests;
