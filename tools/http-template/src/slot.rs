//! Writing a template into a generic component.
//!
//! The place is plain data of the component: a mark, four bytes of length, and room. It is written
//! over without changing any length, so the binary stays a component.

use crate::TemplateError;
use crate::format::{MARK, MAX_TEMPLATE_BYTES, Wire};
use crate::template::Class;

const READ: &[u8] = include_bytes!(concat!(env!("STOPLOG_GUESTS_DIR"), "/http_read.wasm"));
const REVERSIBLE: &[u8] =
    include_bytes!(concat!(env!("STOPLOG_GUESTS_DIR"), "/http_reversible.wasm"));
const EXTERNAL: &[u8] = include_bytes!(concat!(env!("STOPLOG_GUESTS_DIR"), "/http_external.wasm"));
const IRREVERSIBLE: &[u8] = include_bytes!(concat!(
    env!("STOPLOG_GUESTS_DIR"),
    "/http_irreversible.wasm"
));

fn generic(class: Class) -> &'static [u8] {
    match class {
        Class::Read => READ,
        Class::Reversible => REVERSIBLE,
        Class::External => EXTERNAL,
        Class::Irreversible => IRREVERSIBLE,
    }
}

/// The generic component of a class with this template in its place.
pub(crate) fn filled(class: Class, wire: &Wire) -> Result<Vec<u8>, TemplateError> {
    let text = serde_json::to_vec(wire).map_err(|e| TemplateError::Form(e.to_string()))?;
    if text.len() > MAX_TEMPLATE_BYTES {
        return Err(TemplateError::TooLong(text.len(), MAX_TEMPLATE_BYTES));
    }
    let mut component = generic(class).to_vec();
    let places = component.windows(MARK.len()).enumerate();
    let mut marked = places.filter(|(_, bytes)| *bytes == MARK);
    let (Some((at, _)), None) = (marked.next(), marked.next()) else {
        return Err(TemplateError::NoSlot);
    };
    let length = u32::try_from(text.len()).map_err(|_| TemplateError::NoSlot)?;
    let start = at + MARK.len();
    let end = start + 4 + text.len();
    let room = component.get_mut(start..end).ok_or(TemplateError::NoSlot)?;
    room[..4].copy_from_slice(&length.to_le_bytes());
    room[4..].copy_from_slice(&text);
    Ok(component)
}
