//! Recorded exchanges: what is sent, and what is read of whole answers and of streams.

use super::*;
use crate::testkit::{Fake, Say, json_of, remote, request, request_with_tools, settings};
use crate::{Kind, Usage};

const TOOL_CALLS: [&str; 2] = [
    include_str!("golden/tool_calls.request.json"),
    include_str!("golden/tool_calls.response.json"),
];
const ANSWER: [&str; 2] = [
    include_str!("golden/answer.request.json"),
    include_str!("golden/answer.response.json"),
];
const STREAM: &str = include_str!("golden/tool_calls.stream.txt");

fn whole(body: &str) -> Answer {
    Chat.whole(body).expect("an answer")
}

#[tokio::test]
async fn recorded_tool_calls() {
    let fake = Fake::start(vec![Say::Whole(200, TOOL_CALLS[1].into())]).await;
    let remote = remote(settings(Kind::Chat, fake.address, "gpt-4o-mini"));
    let asked = request_with_tools();
    let answer = remote.attempt(&asked, &mut |_| {}).await.expect("answer");
    assert_eq!(fake.bodies(), [json_of(TOOL_CALLS[0])]);
    let head = &fake.heads()[0];
    assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
    assert!(head.contains("authorization: Bearer sk-hidden"), "{head}");
    assert_eq!(answer.finish, FinishReason::ToolCalls);
    assert_eq!(answer.calls.len(), 1);
    assert_eq!(answer.calls[0].arguments, json!({"customer_id": "c_88"}));
    assert_eq!(answer.calls[0].provider_id.as_deref(), Some("call_9pW"));
    assert_eq!(answer.model, "gpt-4o-mini-2024-07-18");
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (1000, 100)
    );
}

#[test]
fn recorded_answer() {
    let settings = settings(
        Kind::Chat,
        "127.0.0.1:9".parse().expect("address"),
        "gpt-4o-mini",
    );
    assert_eq!(Chat.body(&request(), &settings), json_of(ANSWER[0]));
    let mut streamed = settings.clone();
    streamed.stream = true;
    let body = Chat.body(&request(), &streamed);
    assert_eq!(
        (&body["stream"], &body["stream_options"]),
        (&json!(true), &json!({"include_usage": true}))
    );
    let answer = whole(ANSWER[1]);
    assert_eq!(
        (answer.finish, answer.finish_raw.as_str()),
        (FinishReason::Stop, "stop")
    );
    assert_eq!(answer.text, "I am sorry to hear that.");
}

#[tokio::test]
async fn a_recorded_stream_is_the_answer_that_it_would_have_been() {
    let fake = Fake::start(vec![Say::Stream(STREAM.into())]).await;
    let remote = remote(settings(Kind::Chat, fake.address, "gpt-4o-mini"));
    let mut heard = Vec::new();
    let asked = request_with_tools();
    let answer = remote
        .attempt(&asked, &mut |text| heard.push(text.to_owned()))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(heard, ["Let me ", "look."]);
    assert_eq!(answer.text, "Let me look.");
    let calls: Vec<_> = answer
        .calls
        .iter()
        .map(|c| (c.provider_id.as_deref(), c.arguments.clone()))
        .collect();
    assert_eq!(
        calls,
        [
            (Some("call_9pW"), json!({"customer_id": "c_88"})),
            (Some("call_q2"), json!({}))
        ]
    );
    assert_eq!(answer.finish, FinishReason::ToolCalls);
    let usage = Usage {
        input_tokens: 1000,
        output_tokens: 100,
        cache_read_tokens: 640,
        cache_write_tokens: 0,
    };
    assert_eq!(answer.usage, usage);
}

/// The recorded answers, changed at one place each.
#[test]
fn a_finish_reason_is_never_taken_for_another() {
    let tools = TOOL_CALLS[1];
    let arguments = r#""{\"customer_id\":\"c_88\"}""#;
    assert!(tools.contains(arguments));
    let cut = tools.replace(arguments, r#""{\"customer_id\":""#);
    for (body, expected, raw) in [
        (
            ANSWER[1].replace("\"stop\"", "\"length\""),
            FinishReason::Length,
            "length",
        ),
        (
            ANSWER[1].replace("\"stop\"", "\"content_filter\""),
            FinishReason::ContentFilter,
            "content_filter",
        ),
        (
            ANSWER[1].replace("\"stop\"", "\"new_word\""),
            FinishReason::Unknown,
            "new_word",
        ),
        (
            ANSWER[1].replace("\"stop\"", "null"),
            FinishReason::Unknown,
            "",
        ),
        (
            ANSWER[1].replace("\"refusal\": null", "\"refusal\": \"No.\""),
            FinishReason::Refusal,
            "stop",
        ),
        (cut.clone(), FinishReason::MalformedToolCall, "tool_calls"),
        (
            cut.replace("\"tool_calls\"\n", "\"length\"\n"),
            FinishReason::Length,
            "length",
        ),
    ] {
        let answer = whole(&body);
        assert_eq!((answer.finish, answer.finish_raw.as_str()), (expected, raw));
    }
}

#[test]
fn what_is_not_whole_is_broken_and_what_lacks_usage_cannot_be_used() {
    assert!(matches!(Chat.whole("<html>"), Err(Unread::Broken(_))));
    let lacking = ANSWER[1].replace("\"usage\"", "\"other\"");
    assert!(matches!(Chat.whole(&lacking), Err(Unread::Lacking(why)) if why.contains("`usage`")));
    assert!(matches!(Chat.whole("{}"), Err(Unread::Lacking(why)) if why.contains("`choices`")));
}
