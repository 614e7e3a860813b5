//! A value in a text, whichever way each of its characters is written.
//!
//! At each place of the text a set of ends is kept: where the characters so far may have ended. A
//! `%25` may be the character `%` and may be three of them; both are followed, so nothing has to be
//! guessed, and the work for a place is the value's length at most.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// A value to look for.
pub(crate) struct Written {
    chars: Vec<Arc<Char>>,
    /// Which bytes it may begin with, whichever way it is written.
    starts: [bool; 256],
}

/// The characters that nearly every value is made of, with their forms: a request looks for some
/// hundred of them.
static ASCII: LazyLock<Vec<Arc<Char>>> =
    LazyLock::new(|| (0..128u8).map(|b| Arc::new(Char::new(b.into()))).collect());

/// A character, and how it may be written.
struct Char {
    forms: Vec<Vec<u8>>,
}

impl Written {
    /// The value is not empty.
    pub(crate) fn new(value: &str) -> Written {
        let chars: Vec<Arc<Char>> = value.chars().map(Char::known).collect();
        let mut starts = [false; 256];
        for form in chars.iter().take(1).flat_map(|first| &first.forms) {
            starts[usize::from(form[0])] = true;
        }
        Written { chars, starts }
    }

    /// The first place at or behind `from` where it stands.
    pub(crate) fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        (from..text.len())
            .filter(|at| self.starts[usize::from(text[*at])])
            .find_map(|start| Some(start..self.end(text, start)?))
    }

    /// Where it ends, if it begins here: the furthest of several.
    fn end(&self, text: &[u8], start: usize) -> Option<usize> {
        let mut ends = vec![start];
        for char in &self.chars {
            let mut next = Vec::new();
            for at in ends {
                for form in &char.forms {
                    let end = at + form.len();
                    let is_there = text
                        .get(at..end)
                        .is_some_and(|found| found.eq_ignore_ascii_case(form))
                        && char.is_exact(&text[at..end], form);
                    if is_there && !next.contains(&end) {
                        next.push(end);
                    }
                }
            }
            if next.is_empty() {
                return None;
            }
            ends = next;
        }
        ends.into_iter().max()
    }
}

impl Char {
    fn known(c: char) -> Arc<Char> {
        match ASCII.get(c as usize) {
            Some(known) => known.clone(),
            None => Arc::new(Char::new(c)),
        }
    }

    fn new(c: char) -> Char {
        let mut bytes = [0; 4];
        let plain = c.encode_utf8(&mut bytes).as_bytes().to_vec();
        let code = c as u32;
        let mut units = [0; 2];
        let mut texts = vec![
            plain.iter().map(|b| format!("%{b:02x}")).collect(),
            plain.iter().map(|b| format!("\\x{b:02x}")).collect(),
            c.encode_utf16(&mut units)
                .iter()
                .map(|u| format!("\\u{u:04x}"))
                .collect(),
            format!("\\u{{{code:x}}}"),
            format!("&#{code};"),
            format!("&#x{code:x};"),
            format!("&#{code:03};"),
            format!("&#x{code:04x};"),
        ];
        if c.is_ascii_punctuation() {
            texts.push(format!("\\{c}"));
        }
        let named = match c {
            ' ' => Some("+"),
            '"' => Some("&quot;"),
            '\'' => Some("&apos;"),
            '&' => Some("&amp;"),
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            _ => None,
        };
        texts.extend(named.map(str::to_owned));
        let mut forms = vec![plain];
        forms.extend(texts.into_iter().map(String::into_bytes));
        Char { forms }
    }

    /// Case counts in the character itself, and not in the digits of an escape.
    fn is_exact(&self, found: &[u8], form: &[u8]) -> bool {
        form != self.forms[0].as_slice() || found == form
    }
}
