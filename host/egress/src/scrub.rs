//! Takes values of secrets out of what comes back.
//!
//! Only the secrets of the request itself are looked for: were all of them, a guest could guess
//! at the secrets of others and see whether its guess is blotted out.
//!
//! What may go wrong: a far side that echoes a value in pieces, reversed or compressed is not
//! seen through. Requests with secrets therefore ask for an answer that is not compressed.

use crate::secret::{Secrets, find, percent_encode};

/// What to look for, and what to put there.
pub(crate) struct Scrubber {
    marks: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Scrubber {
    /// For the secrets that a request names: each plain, as in a URL, and as in JSON.
    pub(crate) fn new<'a>(secrets: &Secrets, names: impl IntoIterator<Item = &'a str>) -> Scrubber {
        let mut marks = Vec::new();
        for name in names {
            let Some(value) = secrets.value(name) else {
                continue;
            };
            let mark = format!("[secret:{name}]").into_bytes();
            for form in forms(value) {
                marks.push((form.into_bytes(), mark.clone()));
            }
        }
        // A value that is part of another would leave the rest of it standing.
        marks.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        marks.dedup();
        Scrubber { marks }
    }

    /// For one value outside [`Secrets`].
    pub(crate) fn of_value(name: &str, value: &str) -> Scrubber {
        let mark = format!("[secret:{name}]").into_bytes();
        let marks = forms(value)
            .into_iter()
            .filter(|form| !form.is_empty())
            .map(|form| (form.into_bytes(), mark.clone()))
            .collect();
        Scrubber { marks }
    }

    /// The same bytes without values.
    pub(crate) fn bytes(&self, mut text: Vec<u8>) -> Vec<u8> {
        for (form, mark) in &self.marks {
            if find(&text, form).is_none() {
                continue;
            }
            let mut out = Vec::with_capacity(text.len());
            let mut rest = text.as_slice();
            while let Some(at) = find(rest, form) {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(mark);
                rest = &rest[at + form.len()..];
            }
            out.extend_from_slice(rest);
            text = out;
        }
        text
    }

    /// The same text without values.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes().to_vec())).into_owned()
    }
}

fn forms(value: &str) -> Vec<String> {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    let slashes = escaped.replace('/', "\\/");
    let url = percent_encode(value);
    let url_lower = lower_escapes(&url);
    let mut forms = vec![value.to_owned()];
    for form in [escaped, slashes, url, url_lower] {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// `%2F` as `%2f`, the rest as it is.
fn lower_escapes(url: &str) -> String {
    let mut parts = url.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(2));
        out.push('%');
        out.push_str(&digits.to_ascii_lowercase());
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_is_taken_out_longest_first() {
        let mut secrets = Secrets::new();
        secrets.bind("A", "pa/ss\"word").expect("bind");
        secrets.bind("B", "pa/ss").expect("bind");
        let scrubber = Scrubber::new(&secrets, ["A", "B", "UNBOUND"]);
        for (given, expected) in [
            ("x pa/ss\"word y", "x [secret:A] y"),
            ("{\"a\":\"pa/ss\\\"word\"}", "{\"a\":\"[secret:A]\"}"),
            ("{\"a\":\"pa\\/ss\\\"word\"}", "{\"a\":\"[secret:A]\"}"),
            ("?k=pa%2Fss%22word", "?k=[secret:A]"),
            ("?k=pa%2fss%22word", "?k=[secret:A]"),
            ("pa/sspa/ss", "[secret:B][secret:B]"),
            ("pass", "pass"),
        ] {
            assert_eq!(scrubber.text(given), expected);
        }
    }
}
