use serde_json::json;
use stoplog_model::contract::{Described, KeyRule};
use stoplog_model::key::KeyScope;
use stoplog_model::outcome::{ErrorCode, ToolError};
use stoplog_model::{Class, Digest, Position};

use super::*;

fn rules() -> ClaimRules {
    let mut rules = ClaimRules::default();
    for (phrases, tools) in [
        (
            &["refunded", "refund (?:was|is|has been) (?:not )?issued"][..],
            &["issue_refund"][..],
        ),
        (&["sent", "e-?mailed"], &["send_mail", "send_text"]),
        (&["cancell?ed"], &[]),
    ] {
        rules.add(phrases, tools).expect("a rule");
    }
    rules
}

/// The words that nothing supports, when these tools have succeeded.
fn check(done: &[&str], answer: &str, expected: &[&str]) {
    let done = done.iter().copied().collect();
    let found = without_support(&rules().rules, &done, answer);
    let words: Vec<&str> = found.iter().map(|u| u.words.as_str()).collect();
    assert_eq!(words, expected, "{answer}");
}

#[test]
fn what_is_stated_needs_its_tool() {
    let answer = "I have refunded Rs 6,400 for order 448100. A mail is sent to you.";
    check(&[], answer, &["refunded", "sent"]);
    check(&["issue_refund"], answer, &["sent"]);
    check(&["issue_refund", "send_mail"], answer, &[]);
    check(&["send_text", "issue_refund"], answer, &[]);
    check(
        &["list_orders"],
        "Your refund has been issued!",
        &["refund has been issued"],
    );
    check(&[], "REFUNDED.", &["REFUNDED"]);
    check(&[], "- Refunded: yes\n- Sent: yes", &["Refunded", "Sent"]);
}

#[test]
fn a_rule_without_tools_is_never_supported() {
    check(&["issue_refund"], "Your order is canceled.", &["canceled"]);
}

#[test]
fn a_word_inside_of_another_is_none() {
    check(&[], "He presented the essentials; consented.", &[]);
}

#[test]
fn denials_conditions_questions_and_plans_state_nothing() {
    for answer in [
        "I have not refunded order 448100.",
        "I haven't refunded it.",
        "I haven\u{2019}t refunded it.",
        "Nothing was refunded, cancelled or sent.",
        "I have not refunded, cancelled, or sent anything.",
        "The Rs 6,400.50 has not been refunded.",
        "Your refund was not issued.",
        "Shall I say that it was refunded?",
        "If it was refunded, you will see it in five days.",
        "Once you are refunded, tell us.",
        "It will be refunded when the finance lead agrees.",
        "The amount can be refunded.",
        "It would have been refunded.",
        "The money is waiting to be refunded.",
        "The order could not be cancelled.",
        "No mail was sent.",
    ] {
        check(&[], answer, &[]);
    }
}

#[test]
fn a_denial_ends_with_its_part_of_the_sentence() {
    for (answer, words) in [
        (
            "I could not reach you, but the order is refunded.",
            "refunded",
        ),
        ("I can confirm that you were refunded.", "refunded"),
        (
            "I did not find a mail address, so the bank has refunded you.",
            "refunded",
        ),
        (
            "If you have questions, write to us: you are refunded.",
            "refunded",
        ),
        ("Not a problem. It is refunded.", "refunded"),
        ("No problem, you were refunded today.", "refunded"),
    ] {
        check(&[], answer, &[words]);
    }
}

#[test]
fn where_phrases_meet_the_support_of_one_is_enough() {
    let mut rules = ClaimRules::default();
    rules.add(&["sent"], &["send_mail"]).expect("a rule");
    rules
        .add(&["text (?:was )?sent"], &["send_text"])
        .expect("a rule");
    let unsupported = |done: &[&str]| {
        let done = done.iter().copied().collect();
        without_support(&rules.rules, &done, "A text was sent.")
    };
    assert!(unsupported(&["send_mail"]).is_empty());
    assert!(unsupported(&["send_text"]).is_empty());
    let expected = Unsupported {
        words: "text was sent".into(),
        tools: vec!["send_mail".into(), "send_text".into()],
    };
    assert_eq!(unsupported(&[]), [expected]);
}

#[test]
fn phrases_that_cannot_be_used_are_errors() {
    let many = ["a"; MAX_PHRASES + 1];
    let long = "a".repeat(MAX_PHRASE_BYTES + 1);
    for phrases in [
        &["(refunded"][..],
        &[""],
        &["a*"],
        &["(((a{100}){100}){100})"],
        &[long.as_str()],
        &many,
    ] {
        let error = ClaimRules::default().add(phrases, &[]);
        assert!(error.is_err(), "{phrases:?}");
    }
}

fn contract(claims: Value) -> Contract {
    let schema = |claims: Option<Value>| {
        let mut schema = json!({"type": "object", "required": ["n"],
            "properties": {"n": {"type": "integer", "x-disclosure": "audit"}}});
        if let Some(claims) = claims {
            schema[KEYWORD] = claims;
        }
        schema.to_string()
    };
    let described = Described {
        name: "issue_refund".into(),
        version: "1.0.0".into(),
        description: "d".into(),
        input_schema: schema(None),
        output_schema: schema(Some(claims)),
        key: Some(KeyRule {
            template: "k_{n}".into(),
            scope: KeyScope::Session,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec![],
        secrets: vec![],
    };
    Contract::check(described, Class::Irreversible).expect("a contract")
}

#[test]
fn a_tool_declares_what_it_supports() {
    let phrases = declared(&contract(json!(["refunded", "paid back"]))).expect("phrases");
    assert_eq!(phrases.len(), 2);
    for wrong in [json!("refunded"), json!([1]), json!(["("])] {
        assert!(declared(&contract(wrong.clone())).is_err(), "{wrong}");
    }
}

#[test]
fn what_counts_as_done() {
    let observed = |disposition, result| Observed {
        position: Position {
            iteration: 1,
            ordinal: 0,
        },
        tool: "issue_refund".into(),
        disposition,
        result,
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b""),
        started_at_ms: 0,
        latency_ms: 0,
        timed_out: false,
        log: String::new(),
        annotations: vec![],
        spans: vec![],
        state: vec![],
    };
    let ok = || CallResult::Ok(json!({}));
    let error = |aftermath| {
        CallResult::Err(ToolError {
            code: ErrorCode::Upstream,
            reason: None,
            message: "m".into(),
            hint: None,
            retry_after_ms: None,
            aftermath,
        })
    };
    for (disposition, result, counts) in [
        (Disposition::Executed, ok(), true),
        (Disposition::Probed, ok(), true),
        (Disposition::Deduplicated, ok(), true),
        (Disposition::Parked, ok(), true),
        (Disposition::Parked, error(Aftermath::Changed), true),
        (Disposition::Parked, error(Aftermath::Unknown), false),
        (Disposition::Executed, error(Aftermath::Changed), false),
        (Disposition::Executed, error(Aftermath::Untouched), false),
        (Disposition::Refused, error(Aftermath::Untouched), false),
    ] {
        let observed = observed(disposition, result);
        assert_eq!(has_done(&observed), counts, "{observed:?}");
    }
}
