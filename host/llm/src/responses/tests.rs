//! Recorded exchanges, and the stream around them.

use super::*;
use crate::testkit::{Fake, Say, json_of, remote, request_with_tools, settings};
use crate::{Kind, Usage};

const RESPONSE: &str = include_str!("golden/tool_calls.response.json");

#[test]
fn what_is_sent_is_the_whole_conversation_and_nothing_is_stored() {
    let settings = settings(
        Kind::Responses,
        "127.0.0.1:9".parse().expect("address"),
        "gpt-4.1",
    );
    let body = Responses.body(&request_with_tools(), &settings);
    assert_eq!(
        body,
        json!({
            "model": "gpt-4.1",
            "instructions": "You refund customers of Nimbus Pay.",
            "input": [
                {"role": "user", "content": "My order 448100 came late."},
                {"type": "function_call", "call_id": "call_1_0", "name": "find_customer",
                 "arguments": "{\"email\":\"suresh@example.com\"}"},
                {"type": "function_call", "call_id": "call_abc", "name": "list_orders", "arguments": "{\"cut"},
                {"type": "function_call_output", "call_id": "call_1_0", "output": "{\"customer_id\":\"c_88\"}"},
                {"type": "function_call_output", "call_id": "call_abc",
                 "output": "{\"error\":\"input_schema\",\"detail\":\"the arguments are not JSON\"}"},
            ],
            "max_output_tokens": 1000,
            "store": false,
            "temperature": 0.2,
            "tools": [{"type": "function", "name": "list_orders", "description": "Orders of a customer.",
                       "parameters": {"type": "object", "properties": {"customer_id": {"type": "string"}}},
                       "strict": false}],
        })
    );
}

/// Whole, and as the last event of a stream: the same answer.
#[tokio::test]
async fn a_recorded_response_is_read_whole_and_streamed() {
    let completed = json!({"type": "response.completed", "response": json_of(RESPONSE)});
    let stream = format!(
        "event: response.created\ndata: {{\"type\":\"response.created\"}}\n\n\
         event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"Let me look.\"}}\n\n\
         event: response.completed\ndata: {completed}\n\n"
    );
    let says = [Say::Whole(200, RESPONSE.into()), Say::Stream(stream)];
    for (say, expected) in says.into_iter().zip([vec![], vec!["Let me look."]]) {
        let fake = Fake::start(vec![say]).await;
        let remote = remote(settings(Kind::Responses, fake.address, "gpt-4.1"));
        let mut heard = Vec::new();
        let asked = request_with_tools();
        let answer = remote
            .attempt(&asked, &mut |text| heard.push(text.to_owned()))
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(heard, expected);
        assert_eq!(
            (answer.text.as_str(), answer.model.as_str()),
            ("Let me look.", "gpt-4.1-2025-04-14")
        );
        assert_eq!(
            (answer.finish, answer.finish_raw.as_str()),
            (FinishReason::ToolCalls, "completed")
        );
        assert_eq!(answer.calls[0].provider_id.as_deref(), Some("call_7"));
        let usage = Usage {
            input_tokens: 1000,
            output_tokens: 100,
            cache_read_tokens: 256,
            cache_write_tokens: 0,
        };
        assert_eq!(answer.usage, usage);
        assert!(fake.heads()[0].starts_with("POST /v1/responses "));
    }
}

#[test]
fn the_finish_reason_is_put_together_and_never_made_up() {
    let incomplete = |reason: &str| {
        RESPONSE
            .replace(
                "\"status\": \"completed\",\n",
                "\"status\": \"incomplete\",\n",
            )
            .replace(
                "\"incomplete_details\": null",
                &format!("\"incomplete_details\": {{\"reason\": \"{reason}\"}}"),
            )
    };
    for (body, expected, raw) in [
        (
            incomplete("max_output_tokens"),
            FinishReason::Length,
            "incomplete/max_output_tokens",
        ),
        (
            incomplete("content_filter"),
            FinishReason::ContentFilter,
            "incomplete/content_filter",
        ),
        (
            incomplete("weather"),
            FinishReason::Unknown,
            "incomplete/weather",
        ),
        (
            RESPONSE.replace("\"text\": \"Let me look.\"", "\"refusal\": \"No.\""),
            FinishReason::Refusal,
            "completed",
        ),
        (
            RESPONSE.replacen("completed", "queued", 1),
            FinishReason::Unknown,
            "queued",
        ),
    ] {
        let answer = Responses.whole(&body).expect("an answer");
        assert_eq!((answer.finish, answer.finish_raw.as_str()), (expected, raw));
    }
    let failed = RESPONSE.replacen("completed", "failed", 1);
    assert!(matches!(Responses.whole(&failed), Err(Unread::Failed(_))));
}
