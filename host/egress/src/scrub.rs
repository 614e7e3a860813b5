//! Takes values of secrets out of what comes back.
//!
//! A value is found however it is written: as it is, percent-encoded, escaped as in JSON, in a
//! string of a program, or in HTML, one character this way and the next another; and in base64 of
//! either alphabet, whatever stands before and behind it, and in hex.
//!
//! Looked for are the secrets that the tool may use, whether this request names them or not: a far
//! side may give back later what it got before. Those of other tools are not: a guest could guess
//! at them and see whether its guess is blotted out.
//!
//! Placeholders in an answer lose their braces: what a far side writes must not become a secret in
//! the tool's next request.
//!
//! What may go wrong: a far side that gives a value back in pieces, reversed, compressed or
//! encrypted is not seen through. Requests of tools with secrets therefore ask for an answer that
//! is not compressed.

mod written;

use crate::secret::{Secrets, percent_encode};
use written::Written;

/// Characters of base64 that are looked for at least: fewer would be found by chance.
const MIN_BASE64_CHARS: usize = 6;

/// How a placeholder begins, and what stands there instead.
const OPEN: &str = "{{secret:";
const MARK: &[u8] = b"[secret:";

/// What to look for, and what to put there.
pub(crate) struct Scrubber {
    marks: Vec<(Written, Vec<u8>)>,
}

impl Scrubber {
    /// For these secrets, as far as they are bound.
    pub(crate) fn new<'a>(secrets: &Secrets, names: impl IntoIterator<Item = &'a str>) -> Scrubber {
        let known = names
            .into_iter()
            .filter_map(|name| Some((name, secrets.value(name)?)));
        let mut scrubber = Scrubber::of(known);
        if !scrubber.marks.is_empty() {
            // A far side that writes a placeholder must not have it filled in by the next request of
            // a tool that passes its text on.
            let placeholder = (Written::new(OPEN), MARK.to_vec());
            scrubber.marks.push(placeholder);
        }
        scrubber
    }

    /// For one value outside [`Secrets`].
    pub(crate) fn of_value(name: &str, value: &str) -> Scrubber {
        Scrubber::of([(name, value)].into_iter().filter(|(_, v)| !v.is_empty()))
    }

    fn of<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Scrubber {
        let mut forms: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, value) in values {
            let mark = format!("[secret:{name}]").into_bytes();
            forms.extend(forms_of(value).into_iter().map(|form| (form, mark.clone())));
        }
        // A value that is part of another would leave the rest of it standing.
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        forms.dedup();
        let marks = forms
            .into_iter()
            .map(|(form, mark)| (Written::new(&form), mark))
            .collect();
        Scrubber { marks }
    }

    /// The same bytes without values.
    pub(crate) fn bytes(&self, mut text: Vec<u8>) -> Vec<u8> {
        for (form, mark) in &self.marks {
            let Some(mut found) = form.find(&text, 0) else {
                continue;
            };
            let mut out = Vec::with_capacity(text.len());
            let mut from = 0;
            loop {
                out.extend_from_slice(&text[from..found.start]);
                out.extend_from_slice(mark);
                from = found.end;
                match form.find(&text, from) {
                    Some(next) => found = next,
                    None => break,
                }
            }
            out.extend_from_slice(&text[from..]);
            text = out;
        }
        text
    }

    /// The same text without values.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes().to_vec())).into_owned()
    }
}

/// The value, and what it becomes in encodings that do not go character by character. A far side
/// may encode what it got, and that was the value percent-encoded if it stood in the URL, or escaped
/// if it stood in JSON.
fn forms_of(value: &str) -> Vec<String> {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    let mut forms = Vec::new();
    for sent in [value.to_owned(), percent_encode(value), escaped] {
        if forms.contains(&sent) {
            continue;
        }
        for shift in 0..3 {
            for alphabet in [STANDARD, URL_SAFE] {
                let core = base64_core(sent.as_bytes(), shift, alphabet);
                if core.len() >= MIN_BASE64_CHARS {
                    forms.push(core);
                }
            }
        }
        let hex: String = sent.bytes().map(|b| format!("{b:02x}")).collect();
        forms.extend([hex.to_ascii_uppercase(), hex, sent]);
    }
    forms
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters of base64 that hang on the value alone, when so many bytes stand before it in
/// its group of three, and any number behind it.
fn base64_core(value: &[u8], shift: usize, alphabet: &[u8; 64]) -> String {
    let bit = |at: usize| (value[at / 8] >> (7 - at % 8)) & 1;
    // The first sextet that begins within the value.
    let first = (6 - (shift * 8) % 6) % 6;
    let sextets = (value.len() * 8).saturating_sub(first) / 6;
    (0..sextets)
        .map(|i| {
            let sextet = (0..6).fold(0, |all, b| all << 1 | bit(first + i * 6 + b));
            char::from(alphabet[usize::from(sextet)])
        })
        .collect()
}

#[cfg(test)]
mod tests;
