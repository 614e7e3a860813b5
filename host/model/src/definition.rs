//! A tool as others are told of it: definitions for model providers, and for MCP.
//!
//! Invariants:
//! * What is told is the contract, and the annotations are the class: nobody writes them by hand.
//! * Schemas are told without keywords of ours. Validators in strict mode refuse what they do not
//!   know (Ajv does so by default, and providers that compile a schema into a grammar). What an MCP
//!   client may want of it is in `_meta`.
//! * Nothing rests on a client keeping to what it is told: the host checks every input.

use serde_json::{Map, Value, json};

use crate::class::Class;
use crate::contract::Contract;
use crate::disclosure;

/// Keywords whose children are named by the author: what looks like a keyword there is a field.
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
];
/// Keywords whose value is data, and no schema.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// What providers refuse at the top of a schema.
const NOT_ON_TOP: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// One of the `tools` of OpenAI's chat completions. Not `strict`: that would take the optional
/// fields away.
pub fn openai(contract: &Contract) -> Value {
    json!({"type": "function", "function": {
        "name": contract.name,
        "description": contract.description,
        "parameters": for_provider(&contract.input_schema),
    }})
}

/// One of the `tools` of Anthropic's messages.
pub fn anthropic(contract: &Contract) -> Value {
    json!({
        "name": contract.name,
        "description": contract.description,
        "input_schema": for_provider(&contract.input_schema),
    })
}

/// One of the `tools` of MCP's `tools/list`.
pub fn mcp(contract: &Contract, class: Class) -> Value {
    json!({
        "name": contract.name,
        "description": contract.description,
        "inputSchema": plain(&contract.input_schema),
        "outputSchema": plain(&contract.output_schema),
        "annotations": annotations(contract, class),
        "_meta": {
            "dev.stoplog/class": class,
            "dev.stoplog/version": contract.version,
            "dev.stoplog/disclosure": {
                "input": words(&contract.input_schema),
                "output": words(&contract.output_schema),
            },
        },
    })
}

/// MCP's hints, all four of them: what is left out counts as destructive and open.
pub fn annotations(contract: &Contract, class: Class) -> Value {
    let writes = class.writes();
    let open = match class {
        Class::Pure | Class::Reversible => false,
        Class::ReadOnly => !contract.egress.is_empty(),
        Class::External | Class::Irreversible => true,
    };
    json!({
        "readOnlyHint": !writes,
        "destructiveHint": class == Class::Irreversible,
        // One key, one act: asked for again, it is answered with what was done.
        "idempotentHint": !writes || contract.key.is_some(),
        "openWorldHint": open,
    })
}

/// A schema without keywords of ours, and without `$schema`, which names the draft to nobody here.
pub fn plain(schema: &Value) -> Value {
    let Value::Object(keywords) = schema else {
        return match schema {
            Value::Array(schemas) => schemas.iter().map(plain).collect(),
            other => other.clone(),
        };
    };
    let mut out = Map::new();
    for (keyword, value) in keywords {
        let keyword = keyword.as_str();
        if keyword.starts_with("x-") || keyword == "$schema" {
            continue;
        }
        let told = match value {
            data if DATA.contains(&keyword) => data.clone(),
            Value::Object(children) if NAMED.contains(&keyword) => children
                .iter()
                .map(|(name, child)| (name.clone(), plain(child)))
                .collect(),
            schema => plain(schema),
        };
        out.insert(keyword.to_owned(), told);
    }
    Value::Object(out)
}

/// The same for a model's provider, which wants an object and no choice at the top. That allows more
/// than the schema does; the host does not.
pub fn for_provider(schema: &Value) -> Value {
    let mut told = plain(schema);
    if let Value::Object(keywords) = &mut told {
        for keyword in NOT_ON_TOP {
            keywords.shift_remove(keyword);
        }
        let fields = keywords.entry("properties");
        fields.or_insert_with(|| json!({}));
    }
    told
}

fn words(schema: &Value) -> Map<String, Value> {
    disclosure::decisions(schema)
        .into_iter()
        .map(|(path, decision)| (path, json!(decision.as_str())))
        .collect()
}

#[cfg(test)]
mod tests;
