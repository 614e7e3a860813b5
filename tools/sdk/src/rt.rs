//! What the macros expand to. Not for authors, and not stable.

#![allow(missing_docs)]

use crate::bindings::types as wit;
use crate::effect::{Finding, Permit};
use crate::error::{Aftermath, ToolError};
use crate::schema::{FieldType, Input, KeyPart, Output, output_schema_text, schema_text};

pub use crate::bindings::types::{Contract, Finding as WitFinding, KeyRule, KeyScope};
pub use crate::bindings::{about, external, irreversible, pure, read, reversible};
pub use crate::schema::choice_schema;
pub use {schemars, serde};

/// A contract before its schemas are made.
#[derive(Debug)]
pub struct Spec {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub key: Option<(&'static str, KeyScope)>,
    pub keeps_keys: bool,
    pub settles_within_ms: u32,
    pub timeout_ms: u32,
    pub egress: &'static [&'static str],
    pub secrets: &'static [&'static str],
    pub claims: &'static [&'static str],
}

pub fn contract<I: Input, O: Output>(spec: Spec) -> Contract {
    let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    Contract {
        name: spec.name.to_owned(),
        version: spec.version.to_owned(),
        description: spec.description.to_owned(),
        input_schema: schema_text::<I>(),
        output_schema: output_schema_text::<O>(spec.claims),
        key: spec.key.map(|(template, scope)| wit::KeyRule {
            template: template.to_owned(),
            scope,
        }),
        keeps_keys: spec.keeps_keys,
        settles_within_ms: spec.settles_within_ms,
        timeout_ms: spec.timeout_ms,
        egress: owned(spec.egress),
        secrets: owned(spec.secrets),
    }
}

/// The host validates inputs, so a failure here means that schema and type disagree.
fn read_input<I: Input>(input: &str) -> Result<I, ToolError> {
    serde_json::from_str(input).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the input does not fit (line {line}, column {column})");
        ToolError::invalid_input(message)
    })
}

fn write_output<O: Output>(output: &O, aftermath: Aftermath) -> Result<String, ToolError> {
    serde_json::to_string(output).map_err(|error| {
        ToolError::internal(format!("the output is not JSON: {error}")).aftermath(aftermath)
    })
}

pub fn call<I: Input, O: Output>(
    input: &str,
    tool: fn(I) -> Result<O, ToolError>,
) -> Result<String, ToolError> {
    let output = tool(read_input(input)?)?;
    write_output(&output, Aftermath::Untouched)
}

pub fn call_write<I: Input, O: Output>(
    input: &str,
    permit: Permit,
    tool: fn(I, Permit) -> Result<O, ToolError>,
) -> Result<String, ToolError> {
    let output = tool(read_input(input)?, permit)?;
    write_output(&output, Aftermath::Unknown)
}

pub fn preview<I: Input>(
    input: &str,
    preview: fn(I) -> Result<String, ToolError>,
) -> Result<String, ToolError> {
    preview(read_input(input)?)
}

pub fn probe<I: Input, O: Output>(
    input: &str,
    key: &str,
    probe: fn(I, &str) -> Result<Finding<O>, ToolError>,
) -> Result<WitFinding, ToolError> {
    Ok(match probe(read_input(input)?, key)? {
        Finding::Absent => WitFinding::Absent,
        Finding::Once(output) => WitFinding::Once(write_output(&output, Aftermath::Untouched)?),
        Finding::Several(times) => WitFinding::Several(times),
        Finding::Unknown => WitFinding::Unknown,
    })
}

pub fn undo<I: Input, O: Output>(
    input: &str,
    output: &str,
    permit: Permit,
    undo: fn(I, Option<O>, Permit) -> Result<String, ToolError>,
) -> Result<String, ToolError> {
    let input = read_input(input)?;
    let output = read_known_output(output)?;
    undo(input, output, permit)
}

/// The empty string means that nobody knows the output.
fn read_known_output<O: Output>(output: &str) -> Result<Option<O>, ToolError> {
    if output.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(output).map(Some).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the output to undo does not fit (line {line}, column {column})");
        ToolError::internal(message)
    })
}

/// Checks that a type may stand in a field.
pub fn field_type<T: FieldType>() {}

/// Checks that a field may stand in a key.
pub fn key_part<T: KeyPart>(_: &T) {}
