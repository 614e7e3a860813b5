//! A provider that fails in every way: what each failure is called, whether it is repeated, and what
//! it cost.

use super::*;
use crate::testkit::{Fake, Say, remote, request, settings};

const ANSWER: &str = include_str!("../chat/golden/answer.response.json");
const STREAM: &str = include_str!("../chat/golden/tool_calls.stream.txt");
const QUOTA: &str = include_str!("../chat/golden/insufficient_quota.response.json");
const INVALID_KEY: &str = include_str!("../chat/golden/invalid_key.response.json");

async fn fails(say: Say) -> (Failure, Vec<String>) {
    let fake = Fake::start(vec![say]).await;
    let remote = remote(settings(Kind::Chat, fake.address, "gpt-4o-mini"));
    let mut heard = Vec::new();
    let asked = request();
    let mut hear = |text: &str| heard.push(text.to_owned());
    let failure = remote
        .attempt(&asked, &mut hear)
        .await
        .expect_err("a failure");
    assert_eq!(fake.bodies().len(), 1, "one attempt is one request");
    (failure, heard)
}

#[tokio::test]
async fn a_refusal_costs_nothing_and_says_what_to_do() {
    use FailureClass::*;
    let whole = |status, body: &str| Say::Whole(status, body.to_owned());
    for (say, class, again, words) in [
        (whole(400, "{}"), Internal, false, "refused"),
        (
            whole(
                400,
                r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#,
            ),
            ContextPressure,
            false,
            "too long",
        ),
        (
            whole(401, INVALID_KEY),
            Internal,
            false,
            "check the variable",
        ),
        (whole(403, "{}"), Internal, false, "check its rights"),
        (whole(404, ""), Internal, false, "check model and base_url"),
        (whole(307, ""), Internal, false, "refused"),
        (
            whole(429, QUOTA),
            ProviderQuota,
            false,
            "exceeded your current quota",
        ),
        (
            whole(429, "slow down"),
            ProviderOverloaded,
            true,
            "slow down",
        ),
        (whole(500, ""), ProviderTransient, false, "failed"),
        (whole(502, "<html>"), ProviderTransient, true, "<html>"),
        (whole(504, ""), ProviderTransient, true, "failed for now"),
    ] {
        let (failure, _) = fails(say).await;
        assert_eq!(
            (failure.class, failure.again.is_some()),
            (class, again),
            "{failure:?}"
        );
        assert!(failure.message.contains(words), "{failure:?}");
        assert_eq!(
            (failure.cost, failure.cost_is_estimated),
            (UsdMicros(0), false)
        );
    }
    let (failure, _) = fails(Say::With(429, "Retry-After: 7", String::new())).await;
    assert_eq!(failure.again, Some(Some(Duration::from_secs(7))));
}

/// Resets, half streams, broken JSON, silence: asked again, and paid for by an estimate.
#[tokio::test]
async fn what_breaks_behind_the_request_may_have_been_paid() {
    let half: String = STREAM.split_inclusive("\n\n").take(4).collect();
    let garbage = STREAM.replace("\"content\":\"look.\"", "\"content\":\"look.");
    let no_usage: String = STREAM.split_inclusive("\n\n").take(7).collect();
    for (say, words, heard) in [
        (Say::Nothing, "did not answer", 0),
        (Say::Silence, "nothing for 400 ms", 0),
        (Say::Whole(200, "<html>".into()), "is broken", 0),
        (Say::Whole(200, ANSWER[..60].into()), "is broken", 0),
        (Say::Cut(half.clone()), "its body did not", 2),
        (Say::Stream(half), "without a finish reason", 2),
        (Say::Stream(garbage), "is broken", 1),
        (Say::Stream(no_usage), "without its last event", 2),
        (
            Say::Stream("not an event at all\n\n".into()),
            "without a finish reason",
            0,
        ),
        (
            Say::Stream("data: {\"error\":{\"message\":\"oh\",\"code\":503}}\n\n".into()),
            "503",
            0,
        ),
    ] {
        let (failure, said) = fails(say).await;
        assert!(failure.message.contains(words), "{words}: {failure:?}");
        assert!(failure.again.is_some(), "{failure:?}");
        assert_eq!(said.len(), heard, "{words}");
        assert!(
            failure.cost.0 > 0 && failure.cost_is_estimated,
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn a_whole_answer_that_lacks_something_is_not_asked_for_again() {
    let no_usage = ANSWER.replace("\"usage\"", "\"other\"");
    let (failure, _) = fails(Say::Whole(200, no_usage)).await;
    assert_eq!(
        (failure.class, failure.again),
        (FailureClass::Internal, None)
    );
    assert!(failure.message.contains("`usage`"), "{}", failure.message);
    // Silence is known to have cost what its usage says.
    let silent = ANSWER.replace("I am sorry to hear that.", " ");
    let (failure, _) = fails(Say::Whole(200, silent)).await;
    assert_eq!(failure.again, Some(None));
    assert!(
        failure.message.contains("without a word"),
        "{}",
        failure.message
    );
    assert!(failure.cost.0 > 0 && !failure.cost_is_estimated);
}

#[test]
fn settings_out_of_range_and_a_price_that_nobody_knows() {
    let egress = Egress::new(stoplog_egress::Settings::default()).expect("egress");
    let check = |change: &dyn Fn(&mut RemoteSettings), words: &str| {
        let mut own = settings(Kind::Chat, "127.0.0.1:9".parse().expect("address"), "m");
        change(&mut own);
        let error = Remote::new(&egress, own).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    check(&|s| s.price = None, "the price of `m` is not known");
    check(&|s| s.model.clear(), "`model`");
    check(&|s| s.max_tokens = 0, "`max_tokens`");
    check(&|s| s.context_window_tokens = 1000, "leaves nothing");
    check(&|s| s.temperature_milli = Some(2001), "above 2");
    check(
        &|s| s.base_url = Url::parse("file:///x").expect("url"),
        "http or https",
    );
    let hot = |s: &mut RemoteSettings| {
        s.kind = Kind::Anthropic;
        s.temperature_milli = Some(1001);
    };
    check(&hot, "above 1,");
}

#[test]
fn debug_hides_the_key() {
    let own = settings(Kind::Chat, "127.0.0.1:9".parse().expect("address"), "m");
    assert!(!format!("{own:?}").contains("sk-hidden"));
    assert!(!format!("{:?}", remote(own)).contains("sk-hidden"));
}

#[test]
fn an_id_of_another_protocol_is_made_plain() {
    for (given, expected) in [
        (Some("toolu_01-A"), "toolu_01-A"),
        (Some("thought-signature:x/+=="), "call_3_1"),
        (Some(""), "call_3_1"),
        (None, "call_3_1"),
    ] {
        assert_eq!(call_id(given, 3, 1), expected);
    }
    let long = "x".repeat(65);
    assert_eq!(call_id(Some(&long), 3, 1), "call_3_1");
}
