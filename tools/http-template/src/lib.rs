//! Tools without code: a template, and a generic component, make a tool of any HTTP API's action.
//!
//! There is one generic component for each class that speaks HTTP; the class is what it exports,
//! as with any other tool. Each has a place of 32 KiB for a template, and
//! [`component`] writes the template over it. So what comes out is a component of its own: its
//! digest pins generic code and template together, and everything that is done with a component
//! (check, lock, test) is done with it alike.
//!
//! Invariants:
//! * a template that is wrong makes no component: every name in braces is a field of the input, the
//!   key, or part of an answer;
//! * origins and secrets of the contract are those that stand in the template, no others;
//! * the same template makes the same bytes.

mod catalog;
#[path = "../guest/engine/src/format.rs"]
#[allow(missing_docs, unreachable_pub)]
mod format;
mod names;
mod schema;
mod slot;
mod template;

pub use catalog::{CATALOG, Entry};
pub use template::Class;

/// Why a template makes no tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not TOML, or not of this form.
    #[error("{0}")]
    Form(String),
    /// A part of it is wrong.
    #[error("{place}: {problem}")]
    Wrong {
        /// Which part.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// It is longer than its place.
    #[error(
        "the template has {0} bytes, and there is room for {1}: shorten descriptions and bodies"
    )]
    TooLong(usize, usize),
    /// The generic component has no place for it. Not the template's fault.
    #[error("the generic component has no place for a template")]
    NoSlot,
}

/// A tool that was made of a template.
#[derive(Debug, Clone)]
pub struct Made {
    /// What the model calls it by.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// The component.
    pub component: Vec<u8>,
}

/// Makes a tool of a template. `name` stands in for the template's own.
///
/// # Errors
/// [`TemplateError`]. What the contract itself demands (lengths, disclosure, key fields) is checked
/// when the component is looked at, as with any other.
pub fn component(template: &str, name: Option<&str>) -> Result<Made, TemplateError> {
    let (class, mut wire) = template::parse(template)?;
    if let Some(name) = name {
        wire.name = name.to_owned();
    }
    Ok(Made {
        name: wire.name.clone(),
        class,
        component: slot::filled(class, &wire)?,
    })
}
