use super::*;
use crate::testkit::*;

fn made(spans: &[Span]) -> BTreeMap<String, Vec<u8>> {
    let facts = Facts {
        trace: "00000000000000000000000000000002",
        spans,
        journal: None,
        config: Some(Digest::of(b"c")),
        lock: None,
        exported_at_ms: 7,
        version: "0.1.0",
    };
    let files = files(&facts, |ms| format!("[{ms}]"), str::to_owned).expect("files");
    assert_eq!(files.last().map(|f| f.0), Some(MANIFEST));
    files
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect()
}

#[test]
fn a_folder_is_sound_until_a_byte_of_it_changes() {
    let files = made(&killed("s"));
    let found = check(&files).expect("sound");
    assert_eq!(
        (found.session.as_str(), found.tenant.as_str(), found.files),
        ("s", "acme", 3)
    );
    for name in files.keys().filter(|n| *n != MANIFEST) {
        let mut changed = files.clone();
        changed.get_mut(name).expect("file")[0] ^= 1;
        let error = check(&changed).expect_err(name);
        assert!(error.starts_with(name.as_str()), "{error}");
        let mut fewer = files.clone();
        fewer.remove(name);
        assert_eq!(check(&fewer), Err(format!("{name} is missing")));
    }
    let mut more = files.clone();
    more.insert("note.txt".into(), b"x".to_vec());
    assert!(check(&more).expect_err("stray").starts_with("note.txt"));
    let mut none = files;
    none.remove(MANIFEST);
    assert!(check(&none).expect_err("none").contains(MANIFEST));
}

#[test]
fn the_postmortem_is_filled_in() {
    let files = made(&killed("s"));
    let text = String::from_utf8(files["postmortem.md"].clone()).expect("text");
    for said in [
        "# Postmortem of trace 00000000000000000000000000000002",
        "3 runs, 3 steps",
        // What was done outside, also what was in doubt.
        "| 2 | refund | 4 | in_doubt | error |",
        "| 2 | refund | 4 | probed | success |",
        // What the model saw and chose.
        "| 1 | the task (100 tokens; prompt abc) | not known: the journal has the session no more | orders \
         {\"order_id\":\"448200\"} |",
        "| 2 | the task; orders success (100 tokens; prompt abc)",
        "| tool_calls | `tool_use` | 3 |",
        "| model m | m-1 | prompt `abc` |",
        "_To be filled in by a person._",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    // Each row of a table is one line.
    let rows = text
        .lines()
        .filter(|l| l.starts_with("| ") && l.contains("refund"));
    assert!(
        rows.clone().count() >= 4 && rows.into_iter().all(|l| l.ends_with('|')),
        "{text}"
    );
}

/// What a tool or a model wrote is text in the folder, and no markup.
#[test]
fn nothing_steers_who_reads_it() {
    let mut spans = clean("s");
    for span in &mut spans {
        if let stoplog_telemetry::Detail::ToolCall(call) = &mut span.detail {
            call.result_summary =
                "x | y\n# Approved\n<script>alert(1)</script> [here](http://evil)".into();
        }
    }
    let files = made(&spans);
    let text = String::from_utf8(files["postmortem.md"].clone()).expect("text");
    assert!(
        !text.contains("<script>")
            && !text.contains("\n# Approved")
            && !text.contains("[here](http"),
        "{text}"
    );
}
