//! A template as it stands in a component: JSON, checked before it was put there. The host writes
//! it and the guest reads it; both have this file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What goes before the template in its place: so the place can be found in a binary.
pub const MARK: &[u8; 32] = b"stoplog/http-template/slot/v1\0\x7f\x01";
/// Bytes of the place: mark, length (four bytes, little-endian), template.
pub const SLOT_BYTES: usize = 32 * 1024;
/// Longest template.
pub const MAX_TEMPLATE_BYTES: usize = SLOT_BYTES - MARK.len() - 4;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wire {
    pub name: String,
    pub version: String,
    pub description: String,
    pub input_schema: Value,
    pub output_schema: Value,
    pub key: Option<Key>,
    pub keeps_keys: bool,
    pub settles_within_ms: u32,
    pub timeout_ms: u32,
    pub egress: Vec<String>,
    pub secrets: Vec<String>,
    pub request: Request,
    /// Fields of the output, and where each comes from.
    pub output: BTreeMap<String, Value>,
    pub probe: Option<Probe>,
    pub undo: Option<Request>,
    pub preview: Option<String>,
}

/// The key rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub template: String,
    /// `tenant`, or `session`.
    #[serde(default)]
    pub scope: Scope,
}

/// Where a key is unique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Tenant,
    Session,
}

/// A request, with names in braces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub method: String,
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON.
    pub body: Option<Value>,
    /// `application/x-www-form-urlencoded`, in the order of names.
    pub form: Option<BTreeMap<String, Value>>,
    pub text: Option<String>,
}

/// How to find out whether it was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Where in the answer it stands, or a list of such; the whole if left out.
    #[serde(default)]
    pub found: String,
    /// Fields of what is found, and the text that they must be; `*` at either end for anything.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub fits: BTreeMap<String, String>,
    /// A list as long as this may not be whole: then nothing in it that fits says nothing.
    #[serde(default)]
    pub page: Option<usize>,
    /// Statuses that say that there is none.
    #[serde(default = "not_found")]
    pub absent: Vec<u16>,
}

fn not_found() -> Vec<u16> {
    vec![404]
}
