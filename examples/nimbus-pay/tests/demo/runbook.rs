//! The runbook, docs/operate, run as it stands: each page in the situation that it is about, its commands
//! in their order, by a shell.
//!
//! A block of `sh` is run command by command: a line, or more where a quoted text goes on. In front of it may stand `<!-- exit: N -->`, how its lines end if
//! not with 0, and `<!-- says: TEXT -->`, what must be among what they say together.

use std::fs;
use std::path::Path;

use crate::desk::Desk;
use crate::scene;

/// One block of a page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    commands: Vec<String>,
    exit: i32,
    says: Option<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut next = Block::default();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let comment = line
            .strip_prefix("<!-- ")
            .and_then(|l| l.strip_suffix(" -->"));
        if let Some(exit) = comment.and_then(|c| c.strip_prefix("exit: ")) {
            next.exit = exit.parse().expect("a number");
        } else if let Some(says) = comment.and_then(|c| c.strip_prefix("says: ")) {
            next.says = Some(says.to_owned());
        } else if line == "```sh" {
            for line in lines.by_ref().take_while(|l| *l != "```") {
                match next.commands.last_mut() {
                    Some(last) if is_open(last) => last.push_str(&format!("\n{line}")),
                    _ => next.commands.push(line.to_owned()),
                }
            }
            blocks.push(std::mem::take(&mut next));
        }
    }
    assert_eq!(next, Block::default(), "what stands in front of no block");
    blocks
}

/// A text that goes on in the next line.
fn is_open(command: &str) -> bool {
    command.matches('"').count() % 2 == 1
}

/// The situation of a page. A page without one is an error: nobody has run it.
fn situation(page: &str) -> Desk {
    match page {
        "../questions.md"
        | "../design-notes.md"
        | "README.md"
        | "refunds-are-slow.md"
        | "bad-model.md"
        | "cost-jumped.md"
        | "disk-full.md"
        | "alerts.md"
        | "what-did-the-agent-do.md" => Desk::new(),
        "host-died.md" => scene::died(),
        "collector-away.md" => scene::without_collector(),
        "parked-effects.md" => scene::parked(),
        "provider-down.md" => scene::without_model(),
        "journal-damaged.md" => scene::damaged(),
        other => panic!("{other} has no situation in which its commands are run"),
    }
}

fn run(page: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate");
    let text = fs::read_to_string(folder.join(page)).expect("the page");
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{page} has no command");
    let desk = situation(page);
    for block in &blocks {
        let mut all = String::new();
        for command in &block.commands {
            let said = desk.shell(command);
            assert_eq!(said.code, Some(block.exit), "{page}: {command}: {said:?}");
            all.push_str(&said.out);
            all.push_str(&said.err);
        }
        if let Some(says) = &block.says {
            assert!(all.contains(says), "{page}: `{says}` is not in\n{all}");
        }
    }
}

/// Every page is run, each by a test of its own.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                run($page);
            }
        )*
    };
}

pages! {
    the_first_look: "README.md",
    refunds_are_slow: "refunds-are-slow.md",
    parked_effects: "parked-effects.md",
    provider_down: "provider-down.md",
    disk_full: "disk-full.md",
    alerts: "alerts.md",
    bad_model: "bad-model.md",
    cost_jumped: "cost-jumped.md",
    host_died: "host-died.md",
    collector_away: "collector-away.md",
    what_did_the_agent_do: "what-did-the-agent-do.md",
    journal_damaged: "journal-damaged.md",
}

/// What else is said of questions holds as well.
#[test]
fn questions_and_design_notes() {
    run("../questions.md");
    run("../design-notes.md");
}

/// A page that is there is run, and the index names it.
#[test]
fn no_page_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate");
    let index = fs::read_to_string(folder.join("README.md")).expect("the index");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        found.push(name.into_string().expect("text"));
    }
    for name in &found {
        assert!(PAGES.contains(&name.as_str()), "{name} is not run");
        let link = format!("({name})");
        assert!(
            name == "README.md" || index.contains(&link),
            "{name} is not in the index"
        );
    }
    assert_eq!(found.len(), PAGES.len());
}

#[test]
fn blocks_are_read_with_what_stands_before_them() {
    let page = "text\n```toml\nno = 1\n```\n<!-- exit: 5 -->\n<!-- says: x -->\n```sh\na b\nc\n```\n\
                more\n```sh\nd \"e\nf\"\n```\n";
    let expected = [
        Block {
            commands: vec!["a b".into(), "c".into()],
            exit: 5,
            says: Some("x".into()),
        },
        Block {
            commands: vec!["d \"e\nf\"".into()],
            ..Block::default()
        },
    ];
    assert_eq!(blocks(page), expected);
}
