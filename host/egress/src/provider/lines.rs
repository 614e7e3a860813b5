//! Bytes into lines, wherever the network cuts them: at a line feed, a carriage return, or both.
//!
//! Invariant: each byte is looked at once, so a body that comes byte by byte costs no more.

use std::collections::VecDeque;

/// Lines of a body that is still coming.
#[derive(Debug, Default)]
pub(super) struct Lines {
    whole: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
    /// The last byte was a carriage return: a line feed behind it ends nothing more.
    after_return: bool,
}

impl Lines {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let after_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if after_return => {}
                b'\n' => self.end(),
                b'\r' => {
                    self.after_return = true;
                    self.end();
                }
                other => self.begun.push(*other),
            }
        }
    }

    fn end(&mut self) {
        self.whole.push_back(std::mem::take(&mut self.begun));
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }

    /// What stands behind the last line end, if anything.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.begun);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_they_are_cut() {
        let text = b"a\r\nb\n\rc\r\r\n\nlast";
        let expected: [&[u8]; 7] = [b"a", b"b", b"", b"c", b"", b"", b"last"];
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece);
                while let Some(line) = lines.next() {
                    found.push(line);
                }
            }
            found.extend(lines.rest());
            assert_eq!(found, expected, "cut every {size} bytes");
        }
    }
}
