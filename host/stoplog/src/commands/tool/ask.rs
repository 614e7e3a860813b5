//! Questions to whoever sits at the terminal. Where nobody does, nothing is asked, and nothing is
//! granted that no flag grants.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::lock::{Granted, covered};

/// Somebody who can be asked.
pub(super) trait Ask {
    /// Yes or no. No answer is no.
    fn yes(&mut self, question: &str) -> bool;
}

/// The terminal.
pub(super) struct Terminal;

impl Terminal {
    /// The terminal, if both ends of a talk are one.
    pub(super) fn open() -> Option<Terminal> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Terminal)
    }
}

impl Ask for Terminal {
    fn yes(&mut self, question: &str) -> bool {
        let _ = write!(io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

/// What will be granted: what is already, what the flags say, and what is agreed to here.
pub(super) fn grants(
    asked: &[String],
    already: &[Granted],
    flags: &[Granted],
    all_asked: bool,
    ask: Option<&mut dyn Ask>,
) -> Result<Vec<Granted>, String> {
    let mut granted = already.to_vec();
    for flag in flags {
        granted.retain(|g| !g.is_at(flag));
        granted.push(flag.clone());
    }
    let open: Vec<&String> = asked.iter().filter(|a| !covered(a, &granted)).collect();
    if all_asked {
        for wish in open {
            granted.push(wish.parse()?);
        }
    } else if let (Some(ask), true) = (ask, flags.is_empty()) {
        for wish in open {
            if ask.yes(&format!("let it reach {wish}?")) {
                granted.push(wish.parse()?);
            }
        }
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says yes to what holds a word, and keeps what it was asked.
    struct Person(&'static str, Vec<String>);

    impl Ask for Person {
        fn yes(&mut self, question: &str) -> bool {
            self.1.push(question.to_owned());
            question.contains(self.0)
        }
    }

    fn grant(text: &str) -> Granted {
        text.parse().expect("a grant")
    }

    #[test]
    fn nothing_is_granted_that_nobody_said() {
        let asked = [
            "https://a.example/".to_owned(),
            "https://b.example/v1/".to_owned(),
        ];
        let given = |already: &[Granted], flags: &[Granted], all, ask: Option<&mut dyn Ask>| {
            let granted = grants(&asked, already, flags, all, ask).expect("grants");
            granted.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(given(&[], &[], false, None).is_empty());
        assert_eq!(given(&[], &[], true, None), asked);
        let narrow = [grant("https://b.example/v1/x=POST")];
        assert_eq!(
            given(&[], &narrow, false, None),
            ["https://b.example/v1/x (POST)"]
        );
        // What is granted already is no wish any more, and is kept.
        assert_eq!(
            given(&narrow, &[], true, None),
            ["https://b.example/v1/x (POST)", "https://a.example/"]
        );
        // The same place again takes the place of the old line.
        let wider = [grant("https://b.example/v1/x")];
        assert_eq!(
            given(&narrow, &wider, false, None),
            ["https://b.example/v1/x"]
        );

        let mut person = Person("b.example", Vec::new());
        assert_eq!(
            given(&[], &[], false, Some(&mut person)),
            ["https://b.example/v1/"]
        );
        assert_eq!(person.1.len(), 2);
        let mut person = Person("", Vec::new());
        given(&[], &narrow, false, Some(&mut person));
        assert!(person.1.is_empty(), "flags say it: {:?}", person.1);
    }
}
