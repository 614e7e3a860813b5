//! Attribute macros of stoplog-sdk. Authors take them from there; the crate docs of stoplog-sdk
//! show them at work.
//!
//! Every rule is checked here if the macro can see it, and by a trait with a message of its own
//! (`FieldType`, `KeyPart`, `Input`, `Output`) if only the type checker can. After an error the
//! macros still emit the item, so that one mistake gives one message.

use proc_macro::TokenStream;

mod args;
mod choice;
mod docs;
mod key;
mod schema;
mod signature;
mod tool;

use schema::Role;

/// Marks a struct as the input of a tool.
///
/// Each field carries one of `#[audit]` (kept everywhere), `#[personal]` (hidden in traces) and
/// `#[secret]` (kept nowhere), and `#[identifier("kind")]` where it names a thing. Doc comments
/// become descriptions in the schema. An `Option` is not required; everything else is.
///
/// The macro derives `Clone`, `PartialEq`, serde's two traits and the schema, and writes a
/// `Debug` that shows audit fields only.
#[proc_macro_attribute]
pub fn input(args: TokenStream, item: TokenStream) -> TokenStream {
    schema::expand(Role::Input, args.into(), item.into()).into()
}

/// Marks a struct as the output of a tool. The rules are those of [`macro@input`].
#[proc_macro_attribute]
pub fn output(args: TokenStream, item: TokenStream) -> TokenStream {
    schema::expand(Role::Output, args.into(), item.into()).into()
}

/// Marks a struct that is a field, or an element of a list, within an input or an output. The
/// rules are those of [`macro@input`].
#[proc_macro_attribute]
pub fn part(args: TokenStream, item: TokenStream) -> TokenStream {
    schema::expand(Role::Part, args.into(), item.into()).into()
}

/// Marks an enum as a choice of words: `Delay` is written `"delay"`, `OutOfStock`
/// `"out_of_stock"`.
///
/// The macro derives `Clone`, `Copy`, `Debug`, `PartialEq`, `Eq`, serde's two traits and the
/// schema, and adds `as_str` and `Display` with the word.
#[proc_macro_attribute]
pub fn choice(args: TokenStream, item: TokenStream) -> TokenStream {
    choice::expand(args.into(), item.into()).into()
}

/// Marks a struct or an enum that only goes over the wire between the tool and a far side: serde's
/// two traits, `Clone` and `Debug`, no schema and no disclosure. Fields that the far side sends
/// and the type lacks are ignored. `#[serde(..)]` attributes work.
#[proc_macro_attribute]
pub fn wire(args: TokenStream, item: TokenStream) -> TokenStream {
    schema::expand_wire(args.into(), item.into()).into()
}

/// Makes a function the tool of this component.
///
/// | argument | for | default |
/// |---|---|---|
/// | `class = pure`, `read`, `reversible`, `external`, `irreversible` | all | required |
/// | `key = "refund_{order_id}"` | write classes | required |
/// | `scope = session`, `tenant` | write classes | `session` |
/// | `keeps_keys = true` | write classes | `false` |
/// | `settles_within_ms = 500` | write classes | `0` |
/// | `probe = function` | write classes | required |
/// | `undo = function` | reversible | required |
/// | `preview = function` | irreversible | required |
/// | `timeout_ms = 10_000` | all | `10_000` |
/// | `egress = ["https://api.example.com"]` | all but pure | `[]` |
/// | `secrets = ["API_TOKEN"]` | all but pure | `[]` |
/// | `claims = ["refunded"]`, what an answer may say once the tool has succeeded | all | `[]` |
///
/// The name of the function is the name of the tool, its doc comment the description that the
/// model reads, and the version of the package the version of the tool.
#[proc_macro_attribute]
pub fn tool(args: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(args.into(), item.into()).into()
}
