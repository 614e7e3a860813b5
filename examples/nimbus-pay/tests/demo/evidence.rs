//! Candidates for evaluation (requirements 49 to 51), and folders of evidence (requirement 134).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::desk::Desk;

/// Texts of the customers, which nobody has declared to be shown.
const PERSONAL: [&str; 5] = [
    "@example.com",
    "I want my money back",
    "came five days late",
    "Headphones",
    "a mail with the details",
];

fn export(desk: &Desk, more: &[&str]) -> Vec<Value> {
    let out = desk.file("eval_candidates.jsonl");
    let path = out.to_str().expect("text");
    desk.ask(&[&["eval", "export", "--out", path], more].concat());
    let text = fs::read_to_string(out).expect("the file");
    let lines = text.lines().map(|l| serde_json::from_str(l).expect("JSON"));
    lines.collect()
}

fn sessions(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .filter_map(|r| r["session_id"].as_str())
        .collect()
}

#[test]
fn each_session_that_ended_is_a_row() {
    let desk = Desk::new();
    let rows = export(&desk, &[]);
    let all = ["sess_88", "sess_farhan", "sess_suresh_clean", "sess_suresh"];
    assert_eq!(sessions(&rows), all);
    let priya = &rows[0];
    assert_eq!(priya["outcome"], "success");
    assert_eq!(priya["input"]["tenant_id"], "acme");
    assert_eq!(priya["input"]["message"], "[personal]");
    assert_eq!(priya["final_output"], "[personal]");
    assert_eq!(
        priya["user_feedback"],
        Value::Null,
        "nobody has said anything"
    );
    assert_eq!(priya["hitl_override"]["fired"], false);
    let mut tools: Vec<&str> = calls(priya)
        .iter()
        .filter_map(|c| c["tool_name"].as_str())
        .collect();
    // The two reads of a turn begin at once, and either may be first.
    tools[1..3].sort_unstable();
    let in_order = [
        "find_customer_by_email",
        "list_orders",
        "retrieve_policy",
        "issue_refund",
        "send_customer_email",
    ];
    assert_eq!(tools, in_order);
    assert_eq!(calls(priya)[3]["result"]["refund_id"], "rf_77");
    // A failure is a row, and an answer that nobody was told is no output.
    assert_eq!(rows[1]["outcome"], "error");
    assert_eq!(rows[1]["reason"], "unsupported_claim");
    assert_eq!(rows[1]["final_output"], Value::Null);
    // What the person did is there by itself; a call that was killed is there once.
    let suresh = &rows[3];
    let decision = &suresh["hitl_override"]["decisions"][0];
    assert_eq!(decision["decision"], "approved");
    assert_eq!(decision["decided_by"], "Meera, finance lead");
    let refunds = calls(suresh)
        .iter()
        .filter(|c| c["tool_name"] == "issue_refund");
    assert_eq!(refunds.count(), 1);
    assert_eq!(suresh["trace_ids"].as_array().map(Vec::len), Some(3));
    let text = json!(rows).to_string();
    for personal in PERSONAL {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
    assert_eq!(
        sessions(&export(&desk, &["--outcome", "error"])),
        ["sess_farhan"]
    );
    assert_eq!(sessions(&export(&desk, &["--tenant", "acme"])), ["sess_88"]);
    assert_eq!(
        sessions(&export(&desk, &["--until", "2020-01-01"])),
        [""; 0]
    );
}

fn calls(row: &Value) -> &Vec<Value> {
    row["tool_calls"].as_array().expect("calls")
}

/// By an explicit word, from the journal.
#[test]
fn raw_rows_have_what_was_said() {
    let desk = Desk::new();
    let rows = export(&desk, &["--raw"]);
    let priya = &rows[0];
    let message = priya["input"]["message"].as_str().expect("a message");
    assert!(message.contains("priya@example.com"), "{message}");
    assert!(
        priya["final_output"]
            .as_str()
            .is_some_and(|s| s.contains("rf_77"))
    );
    assert_eq!(calls(priya)[0]["arguments"]["email"], "priya@example.com");
    assert_eq!(rows[1]["final_output"], Value::Null, "nobody was told it");
    let text = json!(rows).to_string();
    for personal in PERSONAL {
        assert!(
            text.contains(personal),
            "{personal} is what must not be seen elsewhere"
        );
    }
    let said = desk.run(&["eval", "export", "--raw", "--out", "raw.jsonl"]);
    assert!(said.err.contains("raw personal data"), "{said:?}");
}

/// What a person says later is kept, whatever becomes of the traces.
#[test]
fn labels_survive_a_rebuild() {
    let desk = Desk::new();
    let label = |feedback: &str, note: &str| {
        let args = ["--feedback", feedback, "--by", "Asha", "--note", note];
        desk.ask(&[&["eval", "label", "sess_farhan"], &args[..]].concat());
    };
    label("thumbs_up", "");
    label("thumbs_down", "it took one order for another");
    desk.ask(&["traces", "rebuild"]);
    let rows = export(&desk, &["--labelled"]);
    assert_eq!(sessions(&rows), ["sess_farhan"]);
    let feedback = &rows[0]["user_feedback"];
    assert_eq!(
        (&feedback["feedback"], &feedback["by"]),
        (&json!("thumbs_down"), &json!("Asha"))
    );
    assert_eq!(
        feedback["note"],
        Value::Null,
        "words of people are not shown"
    );
    let raw = export(&desk, &["--labelled", "--raw"]);
    assert_eq!(
        raw[0]["user_feedback"]["note"],
        "it took one order for another"
    );
    let nobody = [
        "eval",
        "label",
        "nobody",
        "--feedback",
        "thumbs_up",
        "--by",
        "Asha",
    ];
    assert_eq!(desk.run(&nobody).code, Some(5));
}

#[test]
fn a_folder_of_evidence_is_whole_or_not_there() {
    let desk = Desk::new();
    let folder = desk.file("case");
    let path = folder.to_str().expect("text");
    let told = desk.json(&["incident", "export", "sess_suresh", "--out", path]);
    let files = [
        "postmortem.md",
        "spans.jsonl",
        "journal.jsonl",
        "versions.json",
        "manifest.json",
    ];
    assert_eq!(told["files"], json!(files));
    assert_eq!(entries(&folder).len(), files.len());
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    let postmortem = read("postmortem.md");
    for row in [
        "| 4 | issue_refund | 4 | in_doubt | error | `refund_448200_delay` |",
        "| 4 | issue_refund | 4 | probed | success | `refund_448200_delay` |",
        "| 1 | the task (1120 tokens; prompt ",
        "issue_refund {\"order_id\":\"448200\",\"amount_inr\":72000,\"reason\":\"delay\"} |",
        "| tool issue_refund (class 4) | 1.0.0 |",
    ] {
        assert!(postmortem.contains(row), "{row}: {postmortem}");
    }
    // All events of the session, none of its texts.
    let events = "SELECT count(*) FROM events WHERE session_id = 'sess_suresh'";
    let journal = rusqlite::Connection::open(desk.file("data/journal.db")).expect("the journal");
    let counted: usize = journal
        .query_row(events, [], |row| row.get(0))
        .expect("a count");
    assert_eq!(read("journal.jsonl").lines().count(), counted);
    for name in files {
        for personal in PERSONAL {
            assert!(!read(name).contains(personal), "{personal} in {name}");
        }
    }
    assert_eq!(desk.json(&["verify", path])["sound"], true);

    // There already: nothing is touched.
    let said = desk.run(&["incident", "export", "sess_88", "--out", path]);
    assert!(
        said.code == Some(1) && said.err.contains("there already"),
        "{said:?}"
    );
    assert_eq!(read("postmortem.md"), postmortem);
    // A byte is changed: it is told which file.
    fs::write(
        folder.join("spans.jsonl"),
        read("spans.jsonl").replace("72000", "7200"),
    )
    .expect("x");
    let said = desk.run(&["verify", path]);
    assert_ne!(said.code, Some(0));
    assert!(
        said.err.contains("spans.jsonl is not what was exported"),
        "{said:?}"
    );
}

/// Evidence of a damaged journal would be none.
#[test]
fn of_a_damaged_session_there_is_no_folder() {
    let desk = Desk::new();
    desk.damage("sess_suresh");
    let said = desk.run(&["incident", "export", "sess_suresh", "--out", "case"]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("journal_corrupt"), "{said:?}");
    let left = entries(&desk.file("."));
    assert!(
        !left.iter().any(|name| name.starts_with("case")),
        "{left:?}"
    );
    // Others are as good as they were.
    desk.ask(&["incident", "export", "sess_88", "--out", "case"]);
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |e: fs::DirEntry| e.file_name().to_string_lossy().into_owned();
    entries.map(|e| name(e.expect("an entry"))).collect()
}
