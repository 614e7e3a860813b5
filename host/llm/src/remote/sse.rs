//! Server-sent events, from lines (WHATWG HTML, section 9.2.6). Pure.
//!
//! Invariant: an event is given out when its blank line has come, or at the end of a stream that
//! ends behind a line; comments and fields that nobody knows are passed over.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its name; empty when none was given.
    pub(crate) name: String,
    /// Its data, lines joined by line feeds.
    pub(crate) data: String,
}

/// Makes events of lines.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    name: String,
    data: Option<String>,
}

impl Decoder {
    /// Takes a line without its end; gives the event that it completes.
    pub(crate) fn line(&mut self, line: &str) -> Option<Event> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            return self.rest();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment (no name), `id`, `retry`, and what is yet to be invented.
            _ => {}
        }
        None
    }

    /// The event that was begun, if it has data.
    pub(crate) fn rest(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take()?;
        Some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &str) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        let mut found: Vec<Event> = lines.split('\n').filter_map(|l| decoder.line(l)).collect();
        found.extend(decoder.rest());
        found.into_iter().map(|e| (e.name, e.data)).collect()
    }

    #[test]
    fn events_are_what_the_specification_says() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = pairs.iter().map(|(n, d)| ((*n).into(), (*d).into()));
            owned.collect()
        };
        for (lines, expected) in [
            ("data: a\n\n", own(&[("", "a")])),
            (
                "event: x\ndata:a\ndata:  b\n\ndata: c",
                own(&[("x", "a\n b"), ("", "c")]),
            ),
            (": ping\n\n: pong\nid: 7\nretry: 1\n\n", own(&[])),
            ("event: lonely\n\ndata: next\n\n", own(&[("", "next")])),
            ("data\n\n", own(&[("", "")])),
            (
                "garbage without a colon\ndata: {\"a\": 1}\n\n",
                own(&[("", "{\"a\": 1}")]),
            ),
            (
                "\u{feff}data: behind a mark\n\n",
                own(&[("", "behind a mark")]),
            ),
        ] {
            assert_eq!(events(lines), expected, "{lines:?}");
        }
    }
}
