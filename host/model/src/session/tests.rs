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

fn asked(iteration: u32, attempt: u32, after: Option<u64>) -> Event {
    Event::ModelAsked(ModelAsked {
        iteration,
        attempt,
        again: attempt > 1,
        profile: if attempt > 2 {
            "spare".into()
        } else {
            String::new()
        },
        model_id: "m".into(),
        prompt_version_hash: "p".into(),
        input_tokens: 100,
        cost: UsdMicros(30),
        after: after.map(|cost| crate::turn::FailedAttempt {
            failure: crate::turn::FailureClass::ProviderTransient,
            message: "the stream broke".into(),
            started_at_ms: 1,
            latency_ms: 1,
            cost: UsdMicros(cost),
            cost_is_estimated: true,
        }),
    })
}

fn ended() -> Event {
    Event::RunEnded(RunEnded {
        outcome: RunOutcome::Interrupt,
        answer: String::new(),
        reason: Some(Reason::ShuttingDown),
        failure: None,
        message: String::new(),
    })
}

fn again() -> Event {
    Event::RunStarted(RunStarted {
        trace_id: TraceId::new("b".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: true,
    })
}

/// Cost of each run, and requests, retries and tokens read of all.
fn spent(events: Vec<Event>) -> (Vec<u64>, [u64; 3]) {
    let session = Session::fold(&records(events))
        .expect("legal")
        .expect("there");
    let thawed = Session::thaw((*session.started).clone(), session.freeze());
    assert_eq!(thawed, session, "a snapshot forgets nothing of it");
    let all = session.spent();
    let costs = session.runs.iter().map(|r| r.cost.0).collect();
    (costs, [all.requests, all.retries, all.input_tokens])
}

#[test]
fn what_was_asked_and_never_answered_is_paid_by_the_run_that_asked() {
    // Answered: the turn says what all of it cost.
    let turn_came = vec![asked(1, 1, None), asked(1, 2, Some(7)), turn(1)];
    assert_eq!(spent(turn_came), (vec![1], [2, 1, 1]));
    // The host died behind the second request: the first failed at a known cost, the second is
    // estimated. The budget is the session's.
    let died = vec![
        asked(1, 1, None),
        asked(1, 2, Some(7)),
        again(),
        asked(1, 1, None),
        turn(1),
    ];
    assert_eq!(spent(died), (vec![37, 1], [3, 1, 1]));
    let stopped = vec![asked(1, 1, None), ended()];
    assert_eq!(spent(stopped), (vec![30], [1, 0, 0]));
    // A script asks nobody, and its turn counts all the same.
    assert_eq!(spent(vec![turn(1)]), (vec![1], [1, 0, 1]));
}

#[test]
fn a_turn_is_of_the_profile_that_was_asked_last() {
    let events = vec![
        asked(1, 1, None),
        asked(1, 2, None),
        asked(1, 3, None),
        turn(1),
    ];
    let session = Session::fold(&records(events))
        .expect("legal")
        .expect("there");
    assert_eq!(session.turns[0].profile, "spare");
}

#[test]
fn the_model_is_asked_in_order_and_for_the_next_turn_alone() {
    for (events, why) in [
        (vec![asked(2, 1, None)], "iteration 1 was expected"),
        (vec![asked(1, 2, None)], "attempt 1 was expected"),
        (
            vec![asked(1, 1, None), asked(1, 1, None)],
            "attempt 2 was expected",
        ),
        (vec![turn(1), asked(2, 1, None)], "is not observed yet"),
        (vec![trimmed(1, 1)], "cannot be left out that is not taken"),
        (vec![trimmed(2, 0)], "iteration 1 was expected"),
    ] {
        let error = Session::fold(&records(events)).expect_err(why);
        assert!(error.why.contains(why), "{error}");
    }
}

fn trimmed(iteration: u32, dropped_through: u32) -> Event {
    Event::ContextTrimmed(ContextTrimmed {
        iteration,
        cause: TrimCause::Share,
        window_tokens: 1000,
        before_tokens: 900,
        after_tokens: 500,
        cuts: vec![],
        dropped_through,
    })
}
