//! Which types may stand in an input or an output, and what their schema looks like.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The input of a tool: a struct with `#[input]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the input of a tool",
    label = "not marked with #[input]",
    note = "put #[input] on the struct, and a disclosure on each of its fields"
)]
pub trait Input: Serialize + DeserializeOwned + JsonSchema {}

/// The output of a tool: a struct with `#[output]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the output of a tool",
    label = "not marked with #[output]",
    note = "put #[output] on the struct, and a disclosure on each of its fields"
)]
pub trait Output: Serialize + DeserializeOwned + JsonSchema {}

/// A type that may stand in a field: text, numbers, `bool`, `#[part]`, `#[choice]`, and `Option`
/// and `Vec` of those. Types that hide their fields from the schema, such as maps, may not: a
/// disclosure could not be said for each field.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of an input or an output",
    label = "not a type of a schema",
    note = "use String, a number, bool, Option or Vec; or mark the struct with #[part], the enum with #[choice]"
)]
pub trait FieldType {}

/// A type that may stand in a key: `String`, integers, `bool` and `#[choice]`. Not `Option`: a
/// key must be the same text whenever the act is the same.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` cannot stand in a key",
    label = "this key names a field that cannot stand in a key",
    note = "a key field is required, and a String, an integer, a bool or a #[choice]"
)]
pub trait KeyPart {}

macro_rules! mark {
    ($mark:ident: $($ty:ty),*) => { $(impl $mark for $ty {})* };
}

mark!(FieldType: String, bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
mark!(KeyPart: String, bool, u8, u16, u32, u64, i8, i16, i32, i64);

impl<T: FieldType> FieldType for Option<T> {}
impl<T: FieldType> FieldType for Vec<T> {}

/// The schema of a type as JSON text (JSON Schema 2020-12). Parts are written where they are
/// used, so that each property carries its own keywords; only a part that contains itself is
/// referred to.
pub(crate) fn schema_text<T: JsonSchema>() -> String {
    schema::<T>().as_value().to_string()
}

/// The same of an output, with what an answer may say once the tool has succeeded (`x-claims`).
pub(crate) fn output_schema_text<T: JsonSchema>(claims: &[&str]) -> String {
    let mut schema = schema::<T>();
    if !claims.is_empty() {
        schema.insert("x-claims".to_owned(), json!(claims));
    }
    schema.as_value().to_string()
}

fn schema<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>()
}

/// The schema of a `#[choice]`: a string of a closed list.
pub fn choice_schema(words: &[&str], description: &str) -> Schema {
    let mut schema = Schema::default();
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(words));
    if !description.is_empty() {
        let description = Value::String(description.to_owned());
        schema.insert("description".to_owned(), description);
    }
    schema
}
