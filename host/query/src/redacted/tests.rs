use std::sync::Arc;

use serde_json::Map;
use stoplog_model::class::Class;
use stoplog_model::contract::Contract;
use stoplog_model::effect::{Request, Response};
use stoplog_model::event::*;
use stoplog_model::outcome::{Disposition, Finding};
use stoplog_model::state::{self, StateRead, StateSeen, StateWrite};
use stoplog_model::turn::{FailedAttempt, FailureClass, FinishReason};
use stoplog_model::{
    ApprovalId, Call, Reason, SessionId, Tenant, ToolName, ToolSpan, TraceId, UsdMicros,
};

use super::*;

const PLANTED: &str = "priya@example.com";

fn started() -> SessionStarted {
    let schema = json!({"type": "object", "properties": {
        "order_id": {"type": "string", "x-disclosure": "audit"},
        "email": {"type": "string", "x-disclosure": "personal"}}});
    let contract = Contract {
        name: ToolName::new("find").expect("name"),
        version: "1.0.0".into(),
        description: "d".into(),
        input_schema: schema.clone(),
        output_schema: schema,
        key: None,
        keeps_keys: false,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec![],
        secrets: vec![],
    };
    SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: PLANTED.into(),
        system_prompt: PLANTED.into(),
        max_iterations: 5,
        tools: vec![Arc::new(Pin {
            component: Digest::of(b"c"),
            class: Class::External,
            contract,
        })],
        client: None,
    }
}

/// Every event, with the planted text wherever a text of others may be.
fn events() -> Vec<Event> {
    let at = Position {
        iteration: 1,
        ordinal: 0,
    };
    let planted = || PLANTED.to_owned();
    let arguments = || json!({"order_id": "448100", "email": PLANTED, "other": PLANTED});
    let response = || Response {
        status: 200,
        headers: vec![("x".into(), planted())],
        body: planted().into_bytes(),
    };
    let attempt = FailedAttempt {
        failure: FailureClass::ProviderTransient,
        message: planted(),
        started_at_ms: 1,
        latency_ms: 1,
        cost: UsdMicros(1),
        cost_is_estimated: false,
    };
    let turn = Turn {
        iteration: 1,
        text: planted(),
        calls: vec![
            Call {
                ordinal: 0,
                tool: "find".into(),
                arguments: arguments(),
                provider_id: None,
            },
            Call {
                ordinal: 1,
                tool: planted(),
                arguments: arguments(),
                provider_id: None,
            },
        ],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_use".into(),
        model_id: "m".into(),
        model_version: "m-1".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        cost: UsdMicros(1),
        price_version: String::new(),
        started_at_ms: 1,
        latency_ms: 1,
        failed_attempts: vec![attempt.clone()],
    };
    let approval = Approval {
        id: ApprovalId::new("ap_1").expect("id"),
        position: at,
        tool: "find".into(),
        tool_version: "1.0.0".into(),
        component: Digest::of(b"c"),
        class: Class::External,
        preview: planted(),
        arguments: arguments(),
        args_digest: Digest::of(b"a"),
        why: "a rule".into(),
        requested_at_ms: 1,
        expires_at_ms: 2,
    };
    let request = Request {
        method: "POST".into(),
        url: format!("http://far/{PLANTED}?q={PLANTED}"),
        headers: vec![("x".into(), planted())],
        body: planted().into_bytes(),
    };
    let observed = Observed {
        position: at,
        tool: "find".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(arguments()),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b"a"),
        started_at_ms: 1,
        latency_ms: 1,
        timed_out: false,
        log: planted(),
        annotations: vec![("note".into(), planted())],
        spans: vec![ToolSpan {
            name: planted(),
            parent: None,
            from_ms: 0,
            latency_ms: 1,
            annotations: vec![(planted(), planted())],
        }],
        state: kept(),
    };
    vec![
        Event::SessionStarted(started()),
        Event::RunStarted(RunStarted {
            trace_id: TraceId::new("1".repeat(32)).expect("id"),
            host: "h".into(),
            resumed_from: None,
            at_iteration: 1,
            after_crash: false,
            remote: None,
        }),
        Event::ModelAsked(ModelAsked {
            iteration: 1,
            attempt: 2,
            again: true,
            profile: "second".into(),
            model_id: "m".into(),
            prompt_version_hash: "p".into(),
            input_tokens: 1,
            cost: UsdMicros(1),
            after: Some(attempt.clone()),
        }),
        Event::ContextTrimmed(ContextTrimmed {
            iteration: 2,
            cause: TrimCause::Share,
            window_tokens: 100,
            before_tokens: 90,
            after_tokens: 40,
            cuts: vec![OutputCut {
                position: at,
                tool: planted(),
                from_bytes: 9,
                to_bytes: 1,
            }],
            dropped_through: 1,
        }),
        Event::TurnTaken(turn.clone()),
        Event::TurnRejected(TurnRejected {
            turn,
            failure: FailureClass::Refusal,
        }),
        Event::ModelFailed(ModelFailed {
            iteration: 1,
            model_id: "m".into(),
            attempts: vec![attempt],
            failure: FailureClass::ProviderTransient,
        }),
        Event::ApprovalRequested(approval),
        Event::ApprovalDecided(ApprovalDecided {
            id: ApprovalId::new("ap_1").expect("id"),
            position: at,
            verdict: Verdict::Approved,
            by: "Meera".into(),
            note: planted(),
        }),
        Event::CallStarted(CallStarted {
            position: at,
            started_at_ms: 1,
        }),
        Event::ReadRecorded(ReadRecorded {
            position: at,
            index: 0,
            fingerprint: Digest::of(PLANTED.as_bytes()),
            response: response(),
        }),
        Event::IntentRecorded(IntentRecorded {
            position: at,
            label: String::new(),
            attempt: 1,
            key: "k".into(),
            act_key: None,
            args_digest: Digest::of(b"a"),
            fingerprint: Digest::of(PLANTED.as_bytes()),
            request,
            approval: None,
            one_of_several: false,
        }),
        Event::OutcomeRecorded(OutcomeRecorded {
            position: at,
            label: String::new(),
            attempt: 1,
            outcome: Outcome::Answered {
                response: response(),
            },
            latency_ms: 1,
        }),
        Event::Probed(Probed {
            position: at,
            label: String::new(),
            key: "k".into(),
            purpose: ProbePurpose::Recovery,
            finding: Finding::Once { output: planted() },
            settled: false,
        }),
        Event::Undone(Undone {
            position: at,
            note: planted(),
            state: kept(),
        }),
        Event::StateRead(StateRead {
            position: at,
            index: 0,
            seen: StateSeen::Value {
                key: planted(),
                value: kept()[0].value.clone(),
            },
        }),
        Event::Observed(observed),
        Event::Parked(Parked {
            position: at,
            reason: Reason::FoundSeveral,
            detail: planted(),
        }),
        Event::ParkResolved(ParkResolved {
            position: at,
            resolution: Resolution::Done(Some(arguments())),
            by: "Meera".into(),
            note: planted(),
        }),
        Event::RunEnded(RunEnded {
            outcome: RunOutcome::Success,
            answer: planted(),
            reason: None,
            failure: None,
            message: planted(),
        }),
    ]
}

/// What a tool keeps is as personal as what it says.
fn kept() -> Vec<StateWrite> {
    vec![StateWrite {
        key: PLANTED.to_owned(),
        value: Some(state::Value(PLANTED.into())),
    }]
}

#[test]
fn nothing_personal_is_left_in_any_event() {
    let begin = Record {
        seq: 1,
        epoch: 1,
        at_ms: 1,
        event: Event::SessionStarted(started()),
    };
    let session = Session::begin(&begin).expect("a session");
    let digest = Digest::of(PLANTED.as_bytes()).to_string();
    let mut told: Map<String, Value> = Map::new();
    for (i, event) in events().into_iter().enumerate() {
        let record = Record {
            seq: i as u64 + 1,
            epoch: 1,
            at_ms: 5,
            event,
        };
        let shown = super::event(&record, &session);
        let text = shown.to_string();
        assert!(!text.contains("priya"), "{text}");
        // A digest of a short text gives the text away to whoever guesses it. The prompt is the operator's.
        let is_guessable = text.contains(&digest) && record.event.kind() != "session_started";
        assert!(!is_guessable, "{text}");
        told.insert(record.event.kind().to_owned(), shown);
    }
    assert_eq!(told.len(), 20, "every kind of event");
    assert_eq!(
        told["turn_taken"]["calls"][0]["arguments"]["order_id"],
        "448100"
    );
    assert_eq!(told["turn_taken"]["calls"][1]["tool"], codec::UNKNOWN_TOOL);
    assert_eq!(told["outcome_recorded"]["outcome"], "answered 200");
    assert_eq!(told["probed"]["found"], "once");
    assert_eq!(told["approval_decided"]["by"], "Meera");
    assert_eq!(told["intent_recorded"]["key"], "k");
}
