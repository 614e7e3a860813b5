//! What the macros make, seen from an author's side.

use crate::prelude::*;
use crate::{FieldType, Input, schema::schema_text};
use serde_json::{Value, json};

/// A customer's parcel.
#[input]
struct ParcelInput {
    /// Six-digit order number.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    #[audit]
    weight_grams: u64,
    #[audit]
    speed: Option<Speed>,
    #[personal]
    to: Address,
    #[audit]
    items: Vec<Item>,
    #[secret]
    door_code: Option<String>,
}

/// How fast.
#[choice]
enum Speed {
    /// Within a week.
    Standard,
    NextDay,
}

#[part]
struct Address {
    #[personal]
    street: String,
    #[audit]
    country: String,
}

#[part]
struct Item {
    /// Article number.
    #[audit]
    #[identifier("sku")]
    sku: String,
    #[personal]
    engraving: Option<String>,
}

#[output]
struct ParcelOutput {
    #[audit]
    parcel_id: String,
}

/// Sends a parcel.
///
/// Use it when the order is paid.
#[tool(
    class = reversible,
    key = "parcel_{order_id}_{weight_grams}",
    scope = tenant,
    settles_within_ms = 500,
    egress = ["https://parcels.example/v1/"],
    secrets = ["PARCEL_TOKEN"],
    probe = probe,
    undo = undo
)]
fn send_parcel(input: ParcelInput, permit: Permit) -> Result<ParcelOutput, ToolError> {
    let request = Request::post("https://parcels.example/v1/parcels").json(&input);
    permit.perform(request)?.success()?.json()
}

fn probe(_: ParcelInput, key: &str) -> Result<Finding<ParcelOutput>, ToolError> {
    Ok(match key {
        "none" => Finding::Absent,
        "two" => Finding::Several(2),
        "mute" => Finding::Unknown,
        key => Finding::Once(ParcelOutput {
            parcel_id: key.to_owned(),
        }),
    })
}

fn undo(_: ParcelInput, _: Option<ParcelOutput>, _: Permit) -> Result<String, ToolError> {
    Ok("recalled".to_owned())
}

fn schema<T: Input>() -> Value {
    serde_json::from_str(&schema_text::<T>()).expect("a schema is JSON")
}

/// Walks every object schema and hands over each property with its path.
fn properties(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    if let Some(map) = schema.get("properties").and_then(Value::as_object) {
        assert_eq!(schema["additionalProperties"], json!(false), "{path}");
        for (name, property) in map {
            let path = format!("{path}/{name}");
            found.push((path.clone(), property.clone()));
            properties(property, &path, found);
        }
    }
    if let Some(items) = schema.get("items") {
        properties(items, path, found);
    }
}

#[test]
fn every_property_carries_its_disclosure() {
    let schema = schema::<ParcelInput>();
    let mut found = Vec::new();
    properties(&schema, "", &mut found);
    let found: Vec<_> = found
        .iter()
        .map(|(path, p)| {
            (
                path.as_str(),
                p["x-disclosure"].as_str(),
                p["x-identifier"].as_str(),
            )
        })
        .collect();
    let expected = [
        ("/order_id", Some("audit"), Some("order_id")),
        ("/weight_grams", Some("audit"), None),
        ("/speed", Some("audit"), None),
        ("/to", Some("personal"), None),
        ("/to/street", Some("personal"), None),
        ("/to/country", Some("audit"), None),
        ("/items", Some("audit"), None),
        ("/items/sku", Some("audit"), Some("sku")),
        ("/items/engraving", Some("personal"), None),
        ("/door_code", Some("secret"), None),
    ];
    assert_eq!(found, expected);
    assert!(!schema.to_string().contains("$ref"), "{schema}");
}

#[test]
fn required_are_all_but_options() {
    let schema = schema::<ParcelInput>();
    assert_eq!(
        schema["required"],
        json!(["order_id", "weight_grams", "to", "items"])
    );
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["description"], "A customer's parcel.");
    assert_eq!(
        schema["properties"]["order_id"]["description"],
        "Six-digit order number."
    );
    assert_eq!(schema["properties"]["order_id"]["type"], "string");
    assert_eq!(
        schema["properties"]["items"]["items"]["required"],
        json!(["sku"])
    );
}

#[test]
fn a_choice_is_a_string_of_a_closed_list() {
    let schema = schema::<ParcelInput>();
    let expected = json!({
        "type": ["string", "null"],
        "enum": ["standard", "next_day", null],
        "description": "How fast.\n`standard`: Within a week.",
        "x-disclosure": "audit",
    });
    assert_eq!(schema["properties"]["speed"], expected);
    assert_eq!(Speed::NextDay.to_string(), "next_day");
    assert_eq!(
        serde_json::to_value(Speed::NextDay).ok(),
        Some(json!("next_day"))
    );
}

#[test]
fn unknown_fields_are_refused_and_options_may_be_absent() {
    let mut input = json!({
        "order_id": "4711", "weight_grams": 5,
        "to": { "street": "Elm St 1", "country": "IN" },
        "items": [{ "sku": "A1" }],
    });
    let parsed: ParcelInput = serde_json::from_value(input.clone()).expect("fits");
    assert_eq!(parsed.speed, None);
    input["to"]["email"] = json!("a@b.c");
    assert!(serde_json::from_value::<ParcelInput>(input).is_err());
}

#[test]
fn debug_shows_audit_fields_only() {
    let address = Address {
        street: "Elm St 1".to_owned(),
        country: "IN".to_owned(),
    };
    assert_eq!(
        format!("{address:?}"),
        "Address { street: [personal], country: \"IN\" }"
    );
}

#[test]
fn nested_types_are_fields() {
    fn is_field<T: FieldType>() {}
    is_field::<Option<Vec<Address>>>();
    is_field::<Vec<Option<Speed>>>();
}

/// The tool as the macro made it, without a host: `describe` and the runtime's functions.
#[test]
fn a_probe_writes_its_finding_as_json() {
    use crate::__rt::{WitFinding, probe as run};
    let input = r#"{"order_id":"1","weight_grams":1,"to":{"street":"s","country":"c"},"items":[]}"#;
    let finding = |key| run::<ParcelInput, ParcelOutput>(input, key, probe).expect("fits");
    assert!(matches!(finding("none"), WitFinding::Absent));
    assert!(matches!(finding("two"), WitFinding::Several(2)));
    assert!(matches!(finding("mute"), WitFinding::Unknown));
    assert!(matches!(finding("k"), WitFinding::Once(text) if text == r#"{"parcel_id":"k"}"#));
    let error = run::<ParcelInput, ParcelOutput>("{}", "k", probe).expect_err("does not fit");
    assert_eq!(error.code, ErrorCode::InvalidInput);
}
