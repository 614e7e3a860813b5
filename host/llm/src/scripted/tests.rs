//! Which turn a script gives, what is put into it, and what is wrong with a script.

use serde_json::json;
use stoplog_model::SessionId;
use stoplog_model::turn::FinishReason;

use super::*;

struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

const SCRIPT: &str = r#"{
  "model_id": "scripted-refunds", "model_version": "2026-01", "temperature": 0.2,
  "turns": [
    {"iteration": 1, "calls": [{"tool": "find_customer", "arguments": {"email": "suresh@example.com"}}],
     "finish_reason": "tool_use", "input_tokens": 900, "output_tokens": 40, "cost_usd_micros": 4000},
    {"iteration": 2, "when": {"tool": "issue_refund", "code": "approval_rejected"},
     "text": "Not approved.", "finish_reason": "end_turn",
     "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 5},
    {"iteration": 2, "when": {"tool": "issue_refund"},
     "text": "Refund {{last.issue_refund./refund_id}} of {{last.issue_refund./amount/value}}.",
     "calls": [{"tool": "send_mail", "arguments": {"amount": "{{last.issue_refund./amount/value}}", "all": ["{{last.issue_refund.}}"]}},
               {"tool": "odd", "arguments": "{\"cut"}],
     "finish_reason": "tool_use", "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 6},
    {"iteration": 2, "text": "Nothing yet.", "finish_reason": "end_turn",
     "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 7},
    {"iteration": 3, "text": "{{last.nothing./x}}", "finish_reason": "end_turn",
     "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 8},
    {"iteration": 4, "text": "I am {{session}}.",
     "calls": [{"tool": "act", "arguments": {"name": "{{session}}", "list": ["a {{session}} b {{last.issue_refund./x}} {{session}}"]}},
               {"tool": "act", "arguments": "{\"name\": \"{{session}}\"}"}],
     "finish_reason": "tool_use", "input_tokens": 1, "output_tokens": 1, "cost_usd_micros": 9}
  ]}"#;

fn result(content: Value, code: Option<&str>) -> Message {
    Message::ToolResult {
        provider_id: None,
        ordinal: 0,
        tool: "issue_refund".into(),
        content,
        is_error: code.is_some(),
        code: code.map(str::to_owned),
    }
}

async fn turn(iteration: u32, messages: Vec<Message>) -> Result<Turn, ModelError> {
    let request = TurnRequest {
        session: SessionId::new("sess_7").expect("session"),
        iteration,
        system_prompt: String::new(),
        messages,
        tools: [].into(),
        prompt_version_hash: "0123456789ab".into(),
        course: crate::Course::default(),
    };
    let model = Scripted::parse("refunds.json", SCRIPT).expect("script");
    model.turn(&request, &Fixed).await
}

#[tokio::test]
async fn a_turn_is_what_the_file_says() {
    let turn = turn(1, vec![]).await.expect("turn");
    assert_eq!(turn.finish, FinishReason::ToolCalls);
    assert_eq!(
        (turn.finish_raw.as_str(), turn.temperature_milli),
        ("tool_use", 200)
    );
    assert_eq!(turn.cost, UsdMicros(4000));
    assert_eq!(turn.started_at_ms, 1_700_000_000_000);
    assert_eq!(
        turn.calls[0].arguments,
        json!({"email": "suresh@example.com"})
    );
    assert_eq!(turn.calls[0].provider_id.as_deref(), Some("call_1_0"));
    assert_eq!(turn.prompt_version_hash, "0123456789ab");
}

#[tokio::test]
async fn the_latest_result_of_the_tool_decides() {
    let done = json!({"refund_id": "rf_1", "amount": {"value": 90}});
    let rejected = || result(json!("no"), Some("approval_rejected"));
    for (messages, cost) in [
        (vec![], 7),
        (vec![rejected()], 5),
        (vec![rejected(), result(done.clone(), None)], 6),
        (vec![result(done.clone(), None), rejected()], 5),
        (vec![result(json!("no"), Some("transient"))], 7),
    ] {
        let turn = turn(2, messages).await.expect("turn");
        assert_eq!(turn.cost, UsdMicros(cost));
    }
}

#[tokio::test]
async fn placeholders_keep_the_type_and_broken_arguments_are_named() {
    let done = json!({"refund_id": "rf_1", "amount": {"value": 90}});
    for content in [done.clone(), json!(done.to_string())] {
        let turn = turn(2, vec![result(content, None)]).await.expect("turn");
        assert_eq!(turn.text, "Refund rf_1 of 90.");
        assert_eq!(
            turn.calls[0].arguments,
            json!({"amount": 90, "all": [done]})
        );
        assert_eq!(turn.calls[1].arguments, json!("{\"cut"));
        assert_eq!(turn.finish, FinishReason::MalformedToolCall);
    }
}

#[tokio::test]
async fn the_session_is_named_wherever_the_script_says_so() {
    // What a tool returned is data: a placeholder in it stands for nothing.
    let sly = result(json!({"x": "{{session}}"}), None);
    let turn = turn(4, vec![sly]).await.expect("turn");
    assert_eq!(turn.text, "I am sess_7.");
    assert_eq!(
        turn.calls[0].arguments,
        json!({"name": "sess_7", "list": ["a sess_7 b {{session}} sess_7"]})
    );
    assert_eq!(turn.calls[1].arguments, json!({"name": "sess_7"}));
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let error = turn(9, vec![]).await.expect_err("no turn");
    assert!(error.message.contains("no turn for iteration 9"), "{error}");
    let error = turn(3, vec![]).await.expect_err("no result");
    assert!(error.message.contains("no result of nothing"), "{error}");
}

#[test]
fn a_script_with_a_slip_is_refused_with_its_line() {
    let table = [
        (
            SCRIPT.replace("\"cost_usd_micros\": 4000", "\"cost\": 4000"),
            "line 5",
        ),
        (
            SCRIPT.replace("\"iteration\": 1", "\"iteration\": 0"),
            "counted from 1",
        ),
        (SCRIPT.replace("0.2", "20"), "between 0 and 2"),
        (
            "{\"model_id\": \"a\", \"model_version\": \"b\", \"turns\": []}".into(),
            "no turns",
        ),
        ("{".into(), "line 1"),
    ];
    for (text, expected) in table {
        let error = Scripted::parse("refunds.json", &text).expect_err(expected);
        let message = error.to_string();
        assert!(
            message.contains(expected) && message.contains("refunds.json"),
            "{message}"
        );
    }
}
