use serde_json::json;

use super::*;
use crate::digest::Digest;
use crate::effect::{Outcome, Request, Response};
use crate::id::{SessionId, Tenant, TraceId};
use crate::money::UsdMicros;
use crate::turn::FinishReason;

const AT: Position = Position {
    iteration: 1,
    ordinal: 0,
};

fn records(events: Vec<Event>) -> Vec<Record> {
    let started = Event::SessionStarted(SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 20,
        tools: vec![],
        client: None,
    });
    let run = Event::RunStarted(RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
    });
    [started, run]
        .into_iter()
        .chain(events)
        .enumerate()
        .map(|(i, event)| Record {
            seq: i as u64 + 1,
            epoch: 1,
            at_ms: 1000 + i as u64,
            event,
        })
        .collect()
}

fn turn(iteration: u32) -> Event {
    Event::TurnTaken(Turn {
        iteration,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: "issue_refund".into(),
            arguments: json!({}),
            provider_id: None,
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_use".into(),
        model_id: "m".into(),
        model_version: "1".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        price_version: String::new(),
        cost: UsdMicros(1),
        started_at_ms: 1,
        latency_ms: 1,
        failed_attempts: vec![],
    })
}

fn intent(key: &str, attempt: u32, approval: Option<&str>) -> Event {
    let request = Request {
        method: "POST".into(),
        url: "http://x/".into(),
        headers: vec![],
        body: vec![],
    };
    Event::IntentRecorded(IntentRecorded {
        position: AT,
        label: String::new(),
        attempt,
        key: key.into(),
        act_key: None,
        args_digest: Digest::of(b"args"),
        fingerprint: request.fingerprint(),
        request,
        approval: approval.map(|a| ApprovalId::new(a).expect("id")),
        one_of_several: false,
    })
}

fn approval(args: &[u8]) -> Event {
    Event::ApprovalRequested(Approval {
        id: ApprovalId::new("ap_1").expect("id"),
        position: AT,
        tool: "issue_refund".into(),
        tool_version: "1.0.0".into(),
        component: Digest::of(b"c"),
        class: crate::Class::Irreversible,
        preview: String::new(),
        arguments: json!({}),
        args_digest: Digest::of(args),
        why: String::new(),
        requested_at_ms: 0,
        expires_at_ms: 10_000,
    })
}

fn decided(verdict: Verdict) -> Event {
    Event::ApprovalDecided(ApprovalDecided {
        id: ApprovalId::new("ap_1").expect("id"),
        position: AT,
        verdict,
        by: "lead".into(),
        note: String::new(),
    })
}

fn outcome(attempt: u32) -> Event {
    Event::OutcomeRecorded(OutcomeRecorded {
        position: AT,
        label: String::new(),
        attempt,
        outcome: Outcome::Unanswered {
            why: "reset".into(),
        },
        latency_ms: 1,
    })
}

/// Folds the events behind a session's start; `Err` holds a part of the complaint.
fn check(events: Vec<Event>, expected: Result<(), &str>) {
    let got = Session::fold(&records(events.clone()));
    match (got, expected) {
        (Ok(_), Ok(())) => {}
        (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{e}"),
        (got, expected) => panic!("{events:#?}: {got:?}, expected {expected:?}"),
    }
}

#[test]
fn legal_and_illegal_orders() {
    use Verdict::*;
    check(vec![turn(1), intent("k", 1, None), outcome(1)], Ok(()));
    check(vec![turn(2)], Err("iteration 1 was expected"));
    check(vec![turn(1), turn(2)], Err("call 1.0 is not observed yet"));
    check(vec![intent("k", 1, None)], Err("no call 1.0"));
    check(vec![turn(1), outcome(1)], Err("no open intent"));
    check(
        vec![turn(1), intent("k", 1, None), outcome(1), outcome(1)],
        Err("no open intent"),
    );
    check(vec![turn(1), intent("k", 2, None)], Err("never intended"));
    check(
        vec![turn(1), intent("k", 1, None), intent("k", 1, None)],
        Err("attempt 2 was expected"),
    );
    check(
        vec![turn(1), intent("k", 1, None), intent("other", 2, None)],
        Err("keep its key"),
    );
    check(
        vec![turn(1), intent("k", 1, None), intent("k", 2, None)],
        Ok(()),
    );
    check(
        vec![
            turn(1),
            approval(b"args"),
            decided(Approved),
            intent("k", 1, Some("ap_1")),
        ],
        Ok(()),
    );
    check(
        vec![turn(1), approval(b"args"), intent("k", 1, Some("ap_1"))],
        Err("is not given"),
    );
    check(
        vec![
            turn(1),
            approval(b"args"),
            decided(Rejected),
            intent("k", 1, Some("ap_1")),
        ],
        Err("is not given"),
    );
    check(
        vec![
            turn(1),
            approval(b"else"),
            decided(Approved),
            intent("k", 1, Some("ap_1")),
        ],
        Err("other arguments"),
    );
    check(
        vec![
            turn(1),
            approval(b"args"),
            decided(Approved),
            intent("k", 1, Some("ap_1")),
            intent("k", 2, Some("ap_1")),
        ],
        Err("consumed already"),
    );
    check(
        vec![
            turn(1),
            approval(b"args"),
            decided(Approved),
            decided(Approved),
        ],
        Err("decided already"),
    );
}

#[test]
fn a_missing_event_is_noticed() {
    let mut all = records(vec![turn(1), intent("k", 1, None), outcome(1)]);
    all.remove(3);
    assert!(
        Session::fold(&all)
            .expect_err("gap")
            .to_string()
            .contains("seq 4 was expected")
    );
}

#[test]
fn every_event_survives_its_encoding() {
    for record in records(vec![
        turn(1),
        approval(b"a"),
        decided(Verdict::Expired),
        outcome(1),
    ]) {
        let text = serde_json::to_string(&record.event).expect("json");
        let back: Event = serde_json::from_str(&text).expect("json");
        assert_eq!(back, record.event);
        assert_eq!(json!(back)["kind"], record.event.kind());
    }
}

/// A resend that did not leave says nothing about the sending before it.
#[test]
fn doubt_is_not_forgotten_by_a_resend_that_did_not_leave() {
    let not_sent = |attempt| {
        Event::OutcomeRecorded(OutcomeRecorded {
            position: AT,
            label: String::new(),
            attempt,
            outcome: Outcome::NotSent {
                why: "refused".into(),
            },
            latency_ms: 1,
        })
    };
    let probe = |settled| {
        Event::Probed(Probed {
            position: AT,
            label: String::new(),
            key: "k".into(),
            purpose: ProbePurpose::Recovery,
            finding: Finding::Absent,
            settled,
        })
    };
    let in_doubt = |events: Vec<Event>| {
        let session = Session::fold(&records(events))
            .expect("legal")
            .expect("some");
        session.call(AT).expect("a call").doubt().is_some()
    };
    let first = vec![turn(1), intent("k", 1, None)];
    let resent = |between: Vec<Event>| {
        let again = vec![intent("k", 2, None), not_sent(2)];
        [first.clone(), between, again].concat()
    };
    assert!(
        in_doubt(resent(vec![])),
        "the host died behind the first intent"
    );
    assert!(
        in_doubt(resent(vec![outcome(1)])),
        "the first was unanswered"
    );
    assert!(
        !in_doubt(resent(vec![not_sent(1)])),
        "the first did not leave either"
    );
    assert!(in_doubt(resent(vec![outcome(1), probe(false)])));
    assert!(!in_doubt(resent(vec![outcome(1), probe(true)])));
}

/// The far side did it, an undo was sent, and nobody knows of the undo: a person who finds nothing
/// there means that the undo was done. The answer from before it counts for nothing.
#[test]
fn not_done_behind_an_undo_in_doubt_is_believed() {
    let labelled = |event: Event, label: &str| match event {
        Event::IntentRecorded(e) => Event::IntentRecorded(IntentRecorded {
            label: label.into(),
            ..e
        }),
        other => other,
    };
    let done = Event::OutcomeRecorded(OutcomeRecorded {
        position: AT,
        label: String::new(),
        attempt: 1,
        outcome: Outcome::Answered {
            response: Response {
                status: 201,
                headers: vec![],
                body: vec![],
            },
        },
        latency_ms: 1,
    });
    let parked = Event::Parked(Parked {
        position: AT,
        reason: Reason::DoubtUnresolvable,
        detail: String::new(),
    });
    let not_done = Event::ParkResolved(ParkResolved {
        position: AT,
        resolution: Resolution::NotDone,
        by: "lead".into(),
        note: String::new(),
    });
    let void = |between: Vec<Event>| {
        let start = vec![turn(1), intent("k", 1, None), done.clone()];
        let end = vec![parked.clone(), not_done.clone()];
        let session = Session::fold(&records([start, between, end].concat()));
        let session = session.expect("legal").expect("some");
        session.call(AT).expect("a call").effects[0].void
    };
    assert!(!void(vec![]), "what was answered stays in force");
    let other = labelled(intent("k.other", 1, None), "other");
    assert!(!void(vec![other]), "another doubt says nothing about it");
    let undo = labelled(intent("k.undo", 1, None), UNDO_LABEL);
    assert!(void(vec![undo]));
}
