use serde_json::json;
use stoplog_model::contract::{Contract, Described, KeyRule};
use stoplog_model::event::*;
use stoplog_model::key::KeyScope;
use stoplog_model::money::UsdMicros;
use stoplog_model::outcome::Disposition;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Class, Digest, Record, SessionId, Tenant, TraceId};

use super::*;

fn pin(name: &str, class: Class) -> Pin {
    let schema = json!({
        "type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "x-disclosure": "audit"}}
    })
    .to_string();
    let described = Described {
        name: name.into(),
        version: "1.0.0".into(),
        description: "d".into(),
        input_schema: schema.clone(),
        output_schema: schema,
        key: class.writes().then(|| KeyRule {
            template: "k_{n}".into(),
            scope: KeyScope::Session,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec![],
        secrets: vec![],
    };
    Pin {
        component: Digest::of(name.as_bytes()),
        class,
        contract: Contract::check(described, class).expect("contract"),
    }
}

fn turn(iteration: u32, tools: &str) -> Event {
    let calls = tools.split_whitespace().enumerate().map(|(i, tool)| Call {
        ordinal: i as u32,
        tool: tool.into(),
        arguments: json!({"n": 1}),
        provider_id: None,
    });
    Event::TurnTaken(Turn {
        iteration,
        text: "text".into(),
        calls: calls.collect(),
        finish: FinishReason::Stop,
        finish_raw: "stop".into(),
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

fn seen(iteration: u32, ordinal: u32) -> Event {
    Event::Observed(Observed {
        position: Position { iteration, ordinal },
        tool: "t".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(json!({})),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b""),
        started_at_ms: 0,
        latency_ms: 0,
        timed_out: false,
        log: String::new(),
        annotations: vec![],
        spans: vec![],
        state: Vec::new(),
    })
}

fn session(events: Vec<Event>) -> Session {
    session_of(None, events)
}

fn session_of(client: Option<Client>, events: Vec<Event>) -> Session {
    let started = Event::SessionStarted(SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 3,
        tools: vec![
            pin("read", Class::ReadOnly).into(),
            pin("write", Class::External).into(),
        ],
        client,
    });
    let records: Vec<Record> = [started, run(false)]
        .into_iter()
        .chain(events)
        .enumerate()
        .map(|(i, event)| Record {
            seq: i as u64 + 1,
            epoch: 1,
            at_ms: 0,
            event,
        })
        .collect();
    Session::fold(&records).expect("legal").expect("a session")
}

fn run(after_crash: bool) -> Event {
    Event::RunStarted(RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash,
        remote: None,
    })
}

fn end(reason: Reason) -> Event {
    Event::RunEnded(RunEnded {
        outcome: RunOutcome::Interrupt,
        answer: String::new(),
        reason: Some(reason),
        failure: None,
        message: String::new(),
    })
}

fn after(events: Vec<Event>) -> Step {
    next(&session(events))
}

/// The ordinals that run next.
fn check(events: Vec<Event>, expected: &[u32]) {
    match after(events) {
        Step::Run(positions) => {
            let ordinals: Vec<u32> = positions.iter().map(|p| p.ordinal).collect();
            assert_eq!(ordinals, expected);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_run_together_and_writes_alone_in_order() {
    check(vec![turn(1, "read read write read")], &[0, 1]);
    check(
        vec![turn(1, "read read write read"), seen(1, 0), seen(1, 1)],
        &[2],
    );
    check(vec![turn(1, "write write")], &[0]);
    check(vec![turn(1, "write write"), seen(1, 0)], &[1]);
    check(vec![turn(1, "read nosuch read")], &[0, 1, 2]);
}

#[test]
fn a_half_finished_turn_goes_on_with_its_missing_calls() {
    check(vec![turn(1, "read read read"), seen(1, 1)], &[0]);
    check(vec![turn(1, "read read read"), seen(1, 0)], &[1, 2]);
}

#[test]
fn the_turns_end_with_an_answer_or_at_the_limit() {
    assert_eq!(after(vec![]), Step::AskModel { iteration: 1 });
    assert_eq!(
        after(vec![turn(1, "")]),
        Step::Finish {
            answer: "text".into()
        }
    );
    let all = vec![turn(1, "read"), seen(1, 0), turn(2, "read"), seen(2, 0)];
    assert_eq!(after(all.clone()), Step::AskModel { iteration: 3 });
    let all = [all, vec![turn(3, "read"), seen(3, 0)]].concat();
    assert!(matches!(
        after(all),
        Step::Fail {
            reason: Reason::IterationLimit,
            ..
        }
    ));
}

/// A shutdown in the middle of confirming must not make the debt forgotten, however often.
#[test]
fn a_confirmation_is_owed_until_a_run_got_past_it() {
    use Reason::{ApprovalRequired, ShuttingDown};
    // The first run has begun already.
    for (events, owed) in [
        (vec![], true),
        (vec![end(ShuttingDown)], false),
        (vec![end(ApprovalRequired)], false),
        (vec![run(true), end(ShuttingDown)], true),
        (
            vec![run(true), end(ShuttingDown), run(false), end(ShuttingDown)],
            true,
        ),
        (
            vec![
                run(true),
                end(ShuttingDown),
                run(false),
                end(ApprovalRequired),
            ],
            false,
        ),
        (
            vec![
                run(true),
                end(ApprovalRequired),
                run(false),
                end(ShuttingDown),
            ],
            false,
        ),
        (vec![end(ShuttingDown), run(false)], true),
    ] {
        let told = format!("{events:?}");
        assert_eq!(owes_confirmation(&session(events)), owed, "{told}");
    }
}

/// A client's calls are gone on with beside each other, whichever waits; behind the last one the
/// session is over, and no model is asked.
#[test]
fn a_clients_open_calls_run_at_once_and_then_it_is_over() {
    let client = || {
        Some(Client {
            conversation: String::new(),
        })
    };
    let turns = vec![turn(1, "write"), turn(2, "write"), turn(3, "read")];
    let open = next(&session_of(
        client(),
        [turns.clone(), vec![seen(2, 0)]].concat(),
    ));
    let at = |iteration| Position {
        iteration,
        ordinal: 0,
    };
    assert_eq!(open, Step::Run(vec![at(1), at(3)]));
    let all = [turns, vec![seen(3, 0), seen(1, 0), seen(2, 0)]].concat();
    let over = Step::Finish {
        answer: String::new(),
    };
    assert_eq!(next(&session_of(client(), all)), over);
    assert_eq!(next(&session_of(client(), vec![])), over);
}
