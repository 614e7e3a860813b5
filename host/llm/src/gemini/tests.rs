//! Recorded exchanges: signatures that go back, thoughts that are no text, prompts that are blocked.

use stoplog_model::turn::FinishReason;

use super::*;
use crate::testkit::{Fake, Say, json_of, remote, request, request_with_tools, settings};
use crate::{Kind, Usage};

const RESPONSE: &str = include_str!("golden/function_call.response.json");

#[test]
fn what_is_sent_has_the_signatures_that_came() {
    let settings = settings(
        Kind::Gemini,
        "127.0.0.1:9".parse().expect("address"),
        "gemini-2.5-flash",
    );
    let mut asked = request_with_tools();
    if let Message::Assistant { calls, .. } = &mut asked.messages[1] {
        calls[0].provider_id = Some("thought-signature:c2ln/+==".into());
    }
    let body = Gemini.body(&asked, &settings);
    assert_eq!(
        body,
        json!({
            "contents": [
                {"role": "user", "parts": [{"text": "My order 448100 came late."}]},
                {"role": "model", "parts": [
                    {"functionCall": {"name": "find_customer", "args": {"email": "suresh@example.com"}},
                     "thoughtSignature": "c2ln/+=="},
                    {"functionCall": {"name": "list_orders", "args": {"arguments": "{\"cut"}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "find_customer", "response": {"customer_id": "c_88"}}},
                    {"functionResponse": {"name": "list_orders", "response":
                        {"error": "{\"error\":\"input_schema\",\"detail\":\"the arguments are not JSON\"}"}}},
                ]},
            ],
            "generationConfig": {"maxOutputTokens": 1000, "temperature": 0.2},
            "systemInstruction": {"parts": [{"text": "You refund customers of Nimbus Pay."}]},
            "tools": [{"functionDeclarations": [{"name": "list_orders", "description": "Orders of a customer.",
                "parametersJsonSchema": {"type": "object", "properties": {"customer_id": {"type": "string"}}}}]}],
        })
    );
}

/// Whole, and in two chunks of a stream.
#[tokio::test]
async fn a_recorded_response_is_read_whole_and_streamed() {
    let mut first = json_of(RESPONSE);
    let mut second = first.clone();
    first["candidates"][0]["finishReason"] = Value::Null;
    let parts = &mut first["candidates"][0]["content"]["parts"];
    parts.as_array_mut().expect("parts").truncate(2);
    let parts = &mut second["candidates"][0]["content"]["parts"];
    parts.as_array_mut().expect("parts").drain(..2);
    let stream = format!("data: {first}\r\n\r\ndata: {second}\r\n\r\n");
    for (say, path) in [
        (Say::Whole(200, RESPONSE.into()), "generateContent "),
        (Say::Stream(stream), "streamGenerateContent?alt=sse "),
    ] {
        let is_stream = matches!(say, Say::Stream(_));
        let fake = Fake::start(vec![say]).await;
        let mut own = settings(Kind::Gemini, fake.address, "gemini-2.5-flash");
        own.stream = is_stream;
        let answer = remote(own)
            .attempt(&request(), &mut |_| {})
            .await
            .expect("an answer");
        assert_eq!(
            (answer.text.as_str(), answer.model.as_str()),
            ("Let me look.", "gemini-2.5-flash")
        );
        assert_eq!(
            (answer.finish, answer.finish_raw.as_str()),
            (FinishReason::Stop, "STOP")
        );
        assert_eq!(
            answer.calls[0].provider_id.as_deref(),
            Some("thought-signature:c2ln/+==")
        );
        let usage = Usage {
            input_tokens: 1000,
            output_tokens: 100,
            cache_read_tokens: 512,
            cache_write_tokens: 0,
        };
        assert_eq!(answer.usage, usage);
        let head = &fake.heads()[0];
        assert!(
            head.starts_with(&format!("POST /v1/models/gemini-2.5-flash:{path}")),
            "{head}"
        );
        assert!(head.contains("x-goog-api-key: sk-hidden"), "{head}");
    }
}

#[test]
fn every_finish_reason_of_the_protocol() {
    for (raw, expected) in [
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("LANGUAGE", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::MalformedToolCall),
        ("OTHER", FinishReason::Unknown),
    ] {
        let body = RESPONSE.replace("\"STOP\"", &format!("\"{raw}\""));
        let answer = Gemini.whole(&body).expect("an answer");
        assert_eq!((answer.finish, answer.finish_raw.as_str()), (expected, raw));
    }
    let blocked = r#"{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}"#;
    let answer = Gemini.whole(blocked).expect("an answer");
    assert_eq!(
        (answer.finish, answer.usage.input_tokens),
        (FinishReason::ContentFilter, 9)
    );
    assert!(matches!(Gemini.whole("{}"), Err(Unread::Broken(_))));
}
