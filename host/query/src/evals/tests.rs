use super::*;
use crate::testkit::*;
use stoplog_telemetry::{Span, ToolStatus};

fn row_of(spans: &[Span], label: Option<&Label>, raw: Option<&Session>) -> Option<Value> {
    row(&Story::of(spans).expect("a story"), label, raw)
}

#[test]
fn a_session_that_was_killed_is_one_row_with_each_call_once() {
    let told = row_of(&killed("s"), None, None).expect("a row");
    assert_eq!(told["outcome"], "success");
    assert_eq!(told["trace_ids"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["cost_usd_micros"], 13_000);
    let tools: Vec<&Value> = told["tool_calls"]
        .as_array()
        .expect("calls")
        .iter()
        .map(|c| &c["tool_name"])
        .collect();
    assert_eq!(tools, ["orders", "refund"]);
    assert_eq!(
        told["tool_calls"][1]["result"],
        json!({"refund_id": "rf_78"})
    );
    assert_eq!(
        told["tool_calls"][1]["arguments"],
        json!({"order_id": "448200"})
    );
    assert_eq!(told["input"]["message"], HIDDEN);
    assert_eq!(told["final_output"], HIDDEN);
    assert_eq!(told["user_feedback"], Value::Null);
    assert_eq!(told["hitl_override"]["fired"], true);
    let decisions = json!([{"step_index": 1, "tool_name": "refund", "decision": "approved", "decided_by": "Meera"}]);
    assert_eq!(told["hitl_override"]["decisions"], decisions);
}

#[test]
fn what_has_not_ended_is_no_row() {
    let spans = killed("s");
    // Up to the run that died.
    assert_eq!(row_of(&spans[..8], None, None), None);
    // Up to the run that waits.
    let waits = row_of(&spans[..5], None, None).expect("a row");
    assert_eq!(waits["outcome"], "interrupt");
    assert_eq!(waits["reason"], "approval_required");
    assert_eq!(waits["final_output"], Value::Null, "there is none yet");
}

#[test]
fn a_label_is_shown_and_its_note_only_raw() {
    let label = Label {
        feedback: "thumbs_down".into(),
        by: "Meera".into(),
        at_ms: 5,
        note: "Priya was angry".into(),
    };
    let told = row_of(&clean("s"), Some(&label), None).expect("a row");
    assert_eq!(
        told["user_feedback"],
        json!({"feedback": "thumbs_down", "by": "Meera", "at_ms": 5})
    );
}

#[test]
fn an_answer_that_was_not_delivered_is_no_output() {
    let spans = [
        span(
            "s",
            1,
            0,
            0,
            end(Outcome::Error, Some("unsupported_claim"), None, 1),
        ),
        span(
            "s",
            1,
            0,
            1,
            call("refund", 4, ToolStatus::Error, "executed", "k"),
        ),
    ];
    let told = row_of(&spans, None, None).expect("a row");
    assert_eq!(
        (&told["outcome"], &told["final_output"]),
        (&json!("error"), &Value::Null)
    );
    assert_eq!(told["tool_calls"][0]["error_code"], "precondition");
}
