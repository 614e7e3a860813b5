//! Sentences, and whether one states what it says as a fact.
//!
//! The rule, for English: a question states nothing; nor do words behind `not`, `never`, `without`
//! and the like, behind a condition (`if`, `unless`, `until`, `once`, `whether`), or behind what has
//! not happened yet (`will be`, `can be`, `would have`, `to be`). Such a word reaches to the end of
//! its part of the sentence (`,` `;` `:` `-` or `but`), and a negation over a list as well: `I have
//! not refunded, cancelled or changed anything` says nothing was cancelled.

use std::ops::Range;

/// Words that deny what stands behind them, also over a list.
const DENIALS: [&str; 9] = [
    "not", "never", "nor", "neither", "without", "cannot", "unable", "none", "nothing",
];

/// Words that deny or condition what stands behind them in the same part of the sentence.
const CONDITIONS: [&str; 6] = ["no", "if", "unless", "until", "once", "whether"];

/// Words that speak of what is not so yet, when one of [`FOLLOWS_MODAL`] comes behind them.
const MODALS: [&str; 10] = [
    "will", "would", "can", "could", "should", "shall", "may", "might", "must", "to",
];

const FOLLOWS_MODAL: [&str; 3] = ["be", "have", "get"];

/// Words that begin another part of the sentence.
const TURNS: [&str; 5] = ["but", "however", "though", "although", "instead"];

/// Words that join the things of a list.
const JOINTS: [&str; 3] = ["and", "or", "nor"];

/// The sentences of a text. A point inside a number ends none.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (sentence, tail) = rest.split_at(end_of_sentence(rest));
        rest = tail;
        Some(sentence)
    })
}

fn end_of_sentence(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '\n' => true,
            '.' | '!' | '?' => {
                next.is_none_or(|n| n.is_whitespace() || matches!(n, '"' | '\'' | ')' | '*'))
            }
            _ => false,
        };
        if ends {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// One word, or a mark that ends a part of the sentence.
enum Token {
    Word(String),
    Mark,
}

/// Whether a sentence states these words as a fact.
pub(super) fn states(sentence: &str, words: Range<usize>) -> bool {
    if sentence.trim_end().ends_with('?') {
        return false;
    }
    // A denial inside of a phrase, such as `refund .* issued` over `refund was not issued`.
    let inside = tokens(&sentence[words.clone()]);
    if hedged(&inside, inside.len()) {
        return false;
    }
    let mut all = tokens(&sentence[..words.start]);
    let before = all.len();
    // The first word of the phrase itself may be what follows a modal: `will be refunded`.
    all.extend(inside);
    !hedged(&all, before)
}

/// Whether a word before this place takes what stands there back.
fn hedged(tokens: &[Token], place: usize) -> bool {
    let mut since_mark = 0;
    let mut only_denials = false;
    for at in (0..place).rev() {
        match &tokens[at] {
            // A list: what stands between two marks is no part of a sentence of its own.
            Token::Mark if since_mark <= 1 => {
                only_denials = true;
                since_mark = 0;
            }
            Token::Mark => return false,
            Token::Word(word) => {
                let word = word.as_str();
                if TURNS.contains(&word) {
                    return false;
                }
                if DENIALS.contains(&word) || word.ends_with("n't") {
                    return true;
                }
                if !only_denials && (CONDITIONS.contains(&word) || is_modal(tokens, at)) {
                    return true;
                }
                since_mark += u32::from(!JOINTS.contains(&word));
            }
        }
    }
    false
}

fn is_modal(tokens: &[Token], at: usize) -> bool {
    let word = |i: usize| match tokens.get(i) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let behind = [word(at + 1), word(at + 2)];
    MODALS.contains(&word(at)) && behind.iter().any(|w| FOLLOWS_MODAL.contains(w))
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().chain([' ']).peekable();
    while let Some(c) = chars.next() {
        let number_goes_on = chars.peek().is_some_and(char::is_ascii_digit)
            && word.ends_with(|w: char| w.is_ascii_digit());
        match c {
            ',' | '.' if number_goes_on => word.push(c),
            '\'' | '\u{2019}' if !word.is_empty() => word.push('\''),
            c if c.is_alphanumeric() => word.extend(c.to_lowercase()),
            // A hyphen inside of a word belongs to it; a dash between spaces is a mark.
            '-' if !word.is_empty() => word.push('-'),
            c => {
                if !word.is_empty() {
                    tokens.push(Token::Word(std::mem::take(&mut word)));
                }
                if matches!(
                    c,
                    ',' | ';' | ':' | '-' | '\u{2013}' | '\u{2014}' | '(' | ')'
                ) {
                    tokens.push(Token::Mark);
                }
            }
        }
    }
    tokens
}
