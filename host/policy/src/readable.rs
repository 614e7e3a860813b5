//! Text for the eyes of a person who approves: nothing in it may hide or pretend.
//!
//! An approver who reads `pay аlice` must see that the `а` is Cyrillic; one who reads a text with
//! a right-to-left override must see the override, and not its effect.

use unicode_security::confusable_detection::skeleton;

/// The text with every character that is invisible, that changes direction, or that looks like
/// an ASCII character without being one, followed or replaced by its code in brackets.
pub fn make_readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == ' ' || c.is_ascii_graphic() {
            out.push(c);
        } else if is_invisible(c) {
            out.push_str(&code(c));
        } else if looks_ascii(c) {
            out.push(c);
            out.push_str(&code(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn code(c: char) -> String {
    format!("[U+{:04X}]", c as u32)
}

/// Controls, format characters, fillers, variation selectors, odd spaces, private use and
/// combining marks: what a font shows as nothing, or as a change to its neighbour.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c as u32,
            0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
            | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x2800 | 0x3164
            | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x0300..=0x036F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F
            | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF | 0xE000..=0xF8FF | 0xF0000..=0x10FFFF)
}

fn looks_ascii(c: char) -> bool {
    let mut buffer = [0; 4];
    let mut seen = skeleton(c.encode_utf8(&mut buffer));
    let first = seen.next();
    !c.is_ascii() && first.is_some_and(|s| s.is_ascii()) && seen.all(|s| s.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_pretends_is_shown() {
        let check = |given: &str, expected: &str| assert_eq!(make_readable(given), expected);
        check(
            "Refund Rs 72,000\nfor 448200",
            "Refund Rs 72,000\nfor 448200",
        );
        check("\u{430}lice", "\u{430}[U+0430]lice");
        check("a\u{200b}b", "a[U+200B]b");
        check("pay \u{202e}001", "pay [U+202E]001");
        check("x\u{1b}[2Jy", "x[U+001B][2Jy");
        check("tab\there", "tab[U+0009]here");
        check("\u{ff11}00", "\u{ff11}[U+FF11]00");
        check("\u{e0041}", "[U+E0041]");
        check(
            "\u{20b9}500, 日本, \u{e9}t\u{e9}",
            "\u{20b9}500, 日本, \u{e9}t\u{e9}",
        );
    }
}
