//! Recorded exchanges: roles that take turns, marks for the cache, and what a stream adds up to.

use stoplog_model::turn::FinishReason;

use super::*;
use crate::testkit::{Fake, Say, remote, request_with_tools, settings};
use crate::{Kind, Usage};

const STREAM: &str = include_str!("golden/tool_use.stream.txt");
const ANSWER: &str = include_str!("golden/answer.response.json");

#[test]
fn results_stand_together_behind_their_turn_and_the_prefix_is_marked() {
    let settings = settings(
        Kind::Anthropic,
        "127.0.0.1:9".parse().expect("address"),
        "claude",
    );
    let body = Anthropic.body(&request_with_tools(), &settings);
    let mark = json!({"type": "ephemeral"});
    assert_eq!(
        body,
        json!({
            "model": "claude", "max_tokens": 1000, "temperature": 0.2,
            "system": [{"type": "text", "text": "You refund customers of Nimbus Pay.", "cache_control": mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "My order 448100 came late."}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "call_1_0", "name": "find_customer", "input": {"email": "suresh@example.com"}},
                    {"type": "tool_use", "id": "call_abc", "name": "list_orders", "input": {"arguments": "{\"cut"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1_0", "content": "{\"customer_id\":\"c_88\"}"},
                    {"type": "tool_result", "tool_use_id": "call_abc", "is_error": true,
                     "content": "{\"error\":\"input_schema\",\"detail\":\"the arguments are not JSON\"}",
                     "cache_control": mark},
                ]},
            ],
            "tools": [{"name": "list_orders", "description": "Orders of a customer.",
                       "input_schema": {"type": "object", "properties": {"customer_id": {"type": "string"}}},
                       "cache_control": mark}],
        })
    );
}

#[tokio::test]
async fn a_recorded_stream_with_its_cache_counts() {
    let fake = Fake::start(vec![Say::Stream(STREAM.into())]).await;
    let remote = remote(settings(Kind::Anthropic, fake.address, "claude"));
    let mut heard = Vec::new();
    let asked = request_with_tools();
    let answer = remote
        .attempt(&asked, &mut |text| heard.push(text.to_owned()))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(heard, ["Let me ", "look."]);
    assert_eq!(
        (answer.text.as_str(), answer.model.as_str()),
        ("Let me look.", "claude-haiku-4-5-20251001")
    );
    assert_eq!(
        (answer.finish, answer.finish_raw.as_str()),
        (FinishReason::ToolCalls, "tool_use")
    );
    assert_eq!(answer.calls[0].arguments, json!({"customer_id": "c_88"}));
    let usage = Usage {
        input_tokens: 1000,
        output_tokens: 100,
        cache_read_tokens: 800,
        cache_write_tokens: 140,
    };
    assert_eq!(answer.usage, usage);
    let head = &fake.heads()[0];
    assert!(head.starts_with("POST /v1/messages "), "{head}");
    assert!(
        head.contains("x-api-key: sk-hidden") && head.contains("anthropic-version: 2023-06-01"),
        "{head}"
    );
}

#[test]
fn a_recorded_answer_and_its_stop_reasons() {
    let answer = Anthropic.whole(ANSWER).expect("an answer");
    assert_eq!(answer.calls[0].arguments, json!({"customer_id": "c_88"}));
    assert_eq!(answer.text, "I am sorry to hear that.");
    for (raw, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("pause_turn", FinishReason::Pause),
        ("refusal", FinishReason::Refusal),
        (
            "model_context_window_exceeded",
            FinishReason::ContextExceeded,
        ),
        ("compaction", FinishReason::Unknown),
    ] {
        let body = ANSWER.replace(
            "\"stop_reason\": \"tool_use\"",
            &format!("\"stop_reason\": \"{raw}\""),
        );
        let answer = Anthropic.whole(&body).expect("an answer");
        assert_eq!((answer.finish, answer.finish_raw.as_str()), (expected, raw));
    }
    let lacking = ANSWER.replace("usage", "other");
    assert!(matches!(Anthropic.whole(&lacking), Err(Unread::Lacking(_))));
}

/// Cut at any event, the stream is broken; and one that was cut in the arguments of a call is never
/// taken for a call.
#[test]
fn a_stream_that_ends_early_is_no_answer() {
    let events: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
    for n in 0..=events.len() {
        let mut reader = Anthropic.reader();
        let mut decoder = sse::Decoder::default();
        for line in events[..n].concat().lines() {
            if let Some(event) = decoder.line(line) {
                reader.take(&event).expect("an event");
            }
        }
        match n == events.len() {
            true => assert!(reader.end().is_ok()),
            false => assert!(
                matches!(reader.end(), Err(Unread::Broken(_))),
                "behind {n} events"
            ),
        }
    }
}
