use serde_json::{Value, json};
use stoplog_model::contract::{Contract, Described, KeyRule};
use stoplog_model::event::*;
use stoplog_model::key::KeyScope;
use stoplog_model::money::UsdMicros;
use stoplog_model::outcome::Aftermath;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Class, Outcome, Record, Request, SessionId, Tenant, TraceId};

use super::*;
use crate::approval::When;

const AT: Position = Position {
    iteration: 1,
    ordinal: 0,
};

/// When the question to the person runs out.
const EXPIRES_AT_MS: u64 = 1000;

fn pin(class: Class) -> Pin {
    let schema = json!({
        "type": "object", "required": ["id"],
        "properties": {
            "id": {"type": "string", "x-disclosure": "audit"},
            "note": {"type": "string", "x-disclosure": "personal"},
        },
    })
    .to_string();
    let described = Described {
        name: "pay".into(),
        version: "1.0.0".into(),
        description: "d".into(),
        input_schema: schema.clone(),
        output_schema: schema,
        key: class.writes().then(|| KeyRule {
            template: "pay_{id}".into(),
            scope: KeyScope::Tenant,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec!["https://pay.example/".into()],
        secrets: vec!["TOKEN".into()],
    };
    Pin {
        component: Digest::of(b"pay"),
        class,
        contract: Contract::check(described, class).expect("a contract"),
    }
}

fn turn(tool: &str, arguments: &Value) -> Event {
    Event::TurnTaken(Turn {
        iteration: 1,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: tool.into(),
            arguments: arguments.clone(),
            provider_id: None,
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_calls".into(),
        model_id: "m".into(),
        model_version: "1".into(),
        prompt_version_hash: String::new(),
        temperature_milli: 0,
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        price_version: String::new(),
        cost: UsdMicros(1),
        started_at_ms: 0,
        latency_ms: 0,
        failed_attempts: vec![],
    })
}

/// The effect of the call is about to leave: from here on something may have changed.
fn intent(arguments: &Value, approval: Option<ApprovalId>) -> Event {
    let request = Request {
        method: "POST".into(),
        url: "https://pay.example/".into(),
        headers: vec![],
        body: vec![],
    };
    Event::IntentRecorded(IntentRecorded {
        position: AT,
        label: String::new(),
        attempt: 1,
        key: "pay_1".into(),
        act_key: None,
        args_digest: Digest::of_json(arguments),
        fingerprint: request.fingerprint(),
        request,
        approval,
        one_of_several: false,
    })
}

fn approval_id() -> ApprovalId {
    ApprovalId::new("ap_1").expect("an id")
}

/// A person is asked about a call with these arguments.
fn asked(about: &Value) -> Event {
    Event::ApprovalRequested(Approval {
        id: approval_id(),
        position: AT,
        tool: "pay".into(),
        tool_version: "1.0.0".into(),
        component: Digest::of(b"pay"),
        class: Class::Irreversible,
        preview: String::new(),
        arguments: about.clone(),
        args_digest: Digest::of_json(about),
        why: String::new(),
        requested_at_ms: 0,
        expires_at_ms: EXPIRES_AT_MS,
    })
}

fn decided(verdict: Verdict) -> Event {
    Event::ApprovalDecided(ApprovalDecided {
        id: approval_id(),
        position: AT,
        verdict,
        by: "lead".into(),
        note: "too much".into(),
    })
}

/// A session whose only turn calls the tool, and what happened to that call since.
fn session(class: Class, arguments: &Value, since: Vec<Event>) -> Session {
    session_of("pay", class, arguments, since)
}

fn session_of(tool: &str, class: Class, arguments: &Value, since: Vec<Event>) -> Session {
    let started = Event::SessionStarted(SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 3,
        tools: vec![pin(class).into()],
        client: None,
    });
    let run = Event::RunStarted(RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    });
    let events = [started, run, turn(tool, arguments)];
    let records = events
        .into_iter()
        .chain(since)
        .enumerate()
        .map(|(i, event)| Record {
            seq: i as u64 + 1,
            epoch: 1,
            at_ms: 0,
            event,
        });
    Session::folded(records)
        .expect("legal events")
        .expect("a session")
}

/// The judgement as a word or two, at a time, under rules, with what the schema says of the input.
fn word(session: &Session, rules: &ApprovalRules, problem: Option<&str>, now_ms: u64) -> String {
    let judgement = judge(Facts {
        session,
        position: AT,
        input_problem: problem,
        rules,
        now_ms,
    });
    match judgement {
        Judgement::Clear(clearance) => match clearance.approval {
            Some(id) => format!("clear, consumes {id}"),
            None => "clear".into(),
        },
        Judgement::Refuse(error) => {
            assert_eq!(error.aftermath, Aftermath::Untouched, "what a refusal says");
            let reason = error.reason.expect("the host's own words have a reason");
            format!("refuse {reason}")
        }
        Judgement::Hold { .. } => "hold".into(),
        Judgement::Wait { .. } => "wait".into(),
        Judgement::Expire { .. } => "expire".into(),
    }
}

/// The judgement of a call of class 3, which no rule concerns.
fn check(arguments: Value, problem: Option<&str>, since: Vec<Event>, expected: &str) {
    let session = session(Class::External, &arguments, since);
    let found = word(&session, &ApprovalRules::none(), problem, 0);
    assert_eq!(found, expected, "{arguments}, {problem:?}");
}

#[test]
fn what_is_wrong_with_a_call_is_told_before_it_begins() {
    let good = json!({"id": "1"});
    check(good.clone(), None, vec![], "clear");
    check(good, Some("/id: wrong"), vec![], "refuse input_schema");
    let names_a_secret = json!({"id": "1", "note": "{{secret:TOKEN}}"});
    check(names_a_secret, None, vec![], "refuse secret_named");
    check(json!({"note": "x"}), None, vec![], "refuse key_unfillable");
    let known = session_of("pay_all", Class::External, &json!({}), vec![]);
    let found = word(&known, &ApprovalRules::none(), None, 0);
    assert_eq!(found, "refuse unknown_tool");
}

/// A later version may read the schema otherwise, see a secret where the one before saw none, or
/// have other rules: the effect of the call may be at the far side all the same, and a refusal would
/// say that nothing changed.
#[test]
fn a_call_that_has_begun_is_never_refused() {
    let good = json!({"id": "1"});
    let begun = |arguments: &Value| vec![intent(arguments, None)];
    check(good.clone(), Some("/id: wrong"), begun(&good), "clear");
    let secret = json!({"id": "1", "note": "{{secret:TOKEN}}"});
    check(secret.clone(), None, begun(&secret), "clear");
}

#[test]
fn a_call_that_has_begun_is_not_asked_about_again() {
    let arguments = json!({"id": "1"});
    let rules = ApprovalRules::none();
    let class = Class::Irreversible;
    let since = vec![intent(&arguments, None)];
    let begun = session(class, &arguments, since.clone());
    assert_eq!(word(&begun, &rules, None, 0), "clear");
    let mut strict = ApprovalRules::none();
    strict
        .add("pay", When::Hold, "id == '1'")
        .expect("a rule of the operator");
    let begun = session(Class::External, &arguments, since);
    assert_eq!(word(&begun, &strict, None, 0), "clear");
    let fresh = session(Class::External, &arguments, vec![]);
    assert_eq!(word(&fresh, &strict, None, 0), "hold");
}

/// What a person said, or the clock, and when the call is judged.
#[test]
fn what_waits_for_a_person_goes_by_the_person() {
    let arguments = json!({"id": "1"});
    let other = json!({"id": "2"});
    let check = |since: Vec<Event>, now_ms: u64, expected: &str| {
        let session = session(Class::Irreversible, &arguments, since);
        let found = word(&session, &ApprovalRules::none(), None, now_ms);
        assert_eq!(found, expected, "at {now_ms}");
    };
    check(vec![], 0, "hold");
    let ask = || asked(&arguments);
    check(vec![ask()], EXPIRES_AT_MS - 1, "wait");
    check(vec![ask()], EXPIRES_AT_MS, "expire");
    let said = |verdict| vec![ask(), decided(verdict)];
    check(said(Verdict::Rejected), 0, "refuse approval_rejected");
    check(said(Verdict::Expired), 0, "refuse approval_expired");
    // Who decided in time has decided, however long the host was down.
    let late = EXPIRES_AT_MS * 1000;
    check(said(Verdict::Approved), late, "clear, consumes ap_1");
    let for_others = vec![asked(&other), decided(Verdict::Approved)];
    check(for_others, 0, "refuse approval_rejected");
    // Consumed: what it allowed is under way, and is taken up again without asking.
    let mut consumed = said(Verdict::Approved);
    consumed.push(intent(&arguments, Some(approval_id())));
    check(consumed.clone(), late, "clear");
    consumed.push(Event::OutcomeRecorded(OutcomeRecorded {
        position: AT,
        label: String::new(),
        attempt: 1,
        outcome: Outcome::Unanswered {
            why: "reset".into(),
        },
        latency_ms: 1,
    }));
    check(consumed, late, "clear");
}

#[test]
fn keys_are_of_the_act_or_of_the_place() {
    let arguments = json!({"id": "1"});
    let keys_of = |class| {
        let session = session(class, &arguments, vec![]);
        let call = session.call(AT).expect("the call");
        let pin = session.pin("pay").expect("the tool");
        keys(&session, AT, call, pin).expect("keys")
    };
    let (header, act) = keys_of(Class::External);
    assert_eq!(
        (header.as_str(), act.map(|a| a.key)),
        ("pay_1", Some("pay_1".into()))
    );
    let (header, act) = keys_of(Class::ReadOnly);
    assert_eq!((header.len(), act), (64, None));
}
