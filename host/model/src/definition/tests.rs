use super::*;
use crate::contract::{Described, KeyRule};
use crate::key::KeyScope;

fn contract(class: Class) -> Contract {
    let input = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["order_id"],
        "properties": {
            "order_id": {"type": "string", "description": "Six digits.",
                         "x-disclosure": "audit", "x-identifier": "order_id"},
            "x-ray": {"type": "boolean", "x-disclosure": "personal",
                      "default": {"x-disclosure": "data"}},
            "lines": {"type": "array", "x-disclosure": "audit", "items": {
                "type": "object", "additionalProperties": false,
                "properties": {"sku": {"type": "string", "x-disclosure": "audit"}}}},
        },
        "anyOf": [{"required": ["order_id"]}, {"required": ["x-ray"]}],
        "additionalProperties": false,
    });
    let output = json!({"type": "object", "properties": {
        "refund_id": {"type": "string", "x-disclosure": "audit"}}});
    let key = class.writes().then(|| KeyRule {
        template: "refund_{order_id}".into(),
        scope: KeyScope::Tenant,
    });
    let reaches = class
        .reaches_out()
        .then(|| "https://api.example.com".into());
    let described = Described {
        name: "issue_refund".into(),
        version: "1.2.3".into(),
        description: "Pays money back.".into(),
        input_schema: input.to_string(),
        output_schema: output.to_string(),
        key,
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: reaches.into_iter().collect(),
        secrets: Vec::new(),
    };
    Contract::check(described, class).expect("a contract")
}

/// The fields of the input, as all three tell them.
fn fields() -> Value {
    json!({
        "order_id": {"type": "string", "description": "Six digits."},
        "x-ray": {"type": "boolean", "default": {"x-disclosure": "data"}},
        "lines": {"type": "array", "items": {
            "type": "object", "additionalProperties": false,
            "properties": {"sku": {"type": "string"}}}},
    })
}

#[test]
fn providers_get_an_object_without_keywords_of_ours() {
    let contract = contract(Class::Irreversible);
    let schema = json!({
        "type": "object", "required": ["order_id"], "properties": fields(),
        "additionalProperties": false,
    });
    assert_eq!(
        openai(&contract),
        json!({"type": "function", "function": {
            "name": "issue_refund", "description": "Pays money back.", "parameters": schema}})
    );
    assert_eq!(
        anthropic(&contract),
        json!({"name": "issue_refund", "description": "Pays money back.", "input_schema": schema})
    );
}

#[test]
fn mcp_gets_both_schemas_the_hints_and_what_is_ours_apart() {
    let expected = json!({
        "name": "issue_refund",
        "description": "Pays money back.",
        "inputSchema": {
            "type": "object", "required": ["order_id"], "properties": fields(),
            "anyOf": [{"required": ["order_id"]}, {"required": ["x-ray"]}],
            "additionalProperties": false,
        },
        "outputSchema": {"type": "object", "properties": {"refund_id": {"type": "string"}}},
        "annotations": {"readOnlyHint": false, "destructiveHint": true,
                        "idempotentHint": true, "openWorldHint": true},
        "_meta": {
            "dev.stoplog/class": "irreversible",
            "dev.stoplog/version": "1.2.3",
            "dev.stoplog/disclosure": {
                "input": {"lines": "audit", "lines[].sku": "audit",
                          "order_id": "audit", "x-ray": "personal"},
                "output": {"refund_id": "audit"},
            },
        },
    });
    assert_eq!(
        mcp(&contract(Class::Irreversible), Class::Irreversible),
        expected
    );
}

#[test]
fn hints_are_the_class() {
    let hints = |class: Class| {
        let a = annotations(&contract(class), class);
        [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ]
        .map(|hint| a[hint].as_bool().expect("told"))
    };
    for (class, expected) in [
        (Class::Pure, [true, false, true, false]),
        (Class::ReadOnly, [true, false, true, true]),
        (Class::Reversible, [false, false, true, false]),
        (Class::External, [false, false, true, true]),
        (Class::Irreversible, [false, true, true, true]),
    ] {
        assert_eq!(hints(class), expected, "{class}");
    }
}
