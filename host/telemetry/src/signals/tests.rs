use std::sync::Arc;

use serde_json::json;
use stoplog_journal::OnCommit;
use stoplog_model::event::{
    CallResult, Event, Observed, RunEnded, RunOutcome, RunStarted, SessionStarted,
};
use stoplog_model::outcome::{Disposition, ErrorCode, ToolError};
use stoplog_model::turn::{FailedAttempt, FailureClass, FinishReason, Turn};
use stoplog_model::{Digest, Position, Reason, Record, SessionId, Tenant, TraceId, UsdMicros};

use super::*;

fn signals() -> Signals {
    Signals::new("0.0.0", 1_000).expect("families")
}

fn id(session: &str) -> SessionId {
    SessionId::new(session).expect("an id")
}

/// Records of a session, from `seq` on, a second apart.
fn records(first_seq: u64, events: Vec<Event>) -> Vec<Record> {
    let at = |(i, event)| {
        let seq = first_seq + i as u64;
        Record {
            seq,
            epoch: 1,
            at_ms: seq * 1_000,
            event,
        }
    };
    events.into_iter().enumerate().map(at).collect()
}

fn begins(session: &str, tenant: &str) -> Event {
    Event::SessionStarted(SessionStarted {
        session: id(session),
        tenant: Tenant::new(tenant).expect("a tenant"),
        user: "u-personal".into(),
        feature: "refunds".into(),
        task: "a task of somebody".into(),
        system_prompt: String::new(),
        max_iterations: 10,
        tools: Vec::new(),
        client: None,
    })
}

fn runs() -> Event {
    Event::RunStarted(RunStarted {
        trace_id: TraceId::new("0123456789abcdef0123456789abcdef").expect("a trace"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    })
}

fn turn() -> Turn {
    Turn {
        iteration: 1,
        text: "what a customer wrote".into(),
        calls: Vec::new(),
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_calls".into(),
        model_id: "small".into(),
        model_version: "small-2026".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens: 800,
        output_tokens: 50,
        cache_read_tokens: 300,
        cache_write_tokens: 0,
        context_window_tokens: 1_000,
        cost: UsdMicros(5_000),
        price_version: String::new(),
        started_at_ms: 2_000,
        latency_ms: 1_500,
        failed_attempts: vec![FailedAttempt {
            failure: FailureClass::ProviderOverloaded,
            message: "a provider's words".into(),
            started_at_ms: 2_000,
            latency_ms: 100,
            cost: UsdMicros(1_000),
            cost_is_estimated: false,
        }],
    }
}

fn observed(tool: &str, result: CallResult) -> Event {
    Event::Observed(Observed {
        position: Position {
            iteration: 1,
            ordinal: 0,
        },
        tool: tool.into(),
        disposition: Disposition::Executed,
        result,
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b""),
        started_at_ms: 3_000,
        latency_ms: 250,
        timed_out: false,
        log: String::new(),
        annotations: Vec::new(),
        state: Default::default(),
        spans: Vec::new(),
    })
}

fn ended(outcome: RunOutcome) -> Event {
    Event::RunEnded(RunEnded {
        outcome,
        answer: String::new(),
        reason: None,
        failure: None,
        message: String::new(),
    })
}

/// The values of these lines, in their order; none for what is not there.
#[track_caller]
fn check(signals: &Signals, expected: &[(&str, Option<f64>)]) {
    let text = signals.text(&Saturation::default()).expect("text");
    for (line, value) in expected {
        let found = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{line} ")));
        let found = found.map(|v| v.parse::<f64>().expect("a number"));
        assert_eq!(found, *value, "{line} in\n{text}");
    }
}

#[test]
fn a_run_is_counted_once_with_what_it_cost() {
    let signals = signals();
    let output = CallResult::Ok(json!({"refund": "rf_77"}));
    let error = CallResult::Err(ToolError::of_host(
        ErrorCode::NotFound,
        Reason::UnknownTool,
        "there is none",
    ));
    let events = vec![
        begins("sess_88", "acme"),
        runs(),
        Event::TurnTaken(turn()),
        observed("issue_refund", output),
        observed("a name that the model made up", error),
        ended(RunOutcome::Success),
    ];
    signals.committed(&id("sess_88"), &records(1, events));
    check(
        &signals,
        &[
            (
                "stoplog_runs_total{outcome=\"success\",tenant=\"acme\"}",
                Some(1.0),
            ),
            (
                "stoplog_runs_total{outcome=\"error\",tenant=\"acme\"}",
                Some(0.0),
            ),
            (
                "stoplog_run_duration_seconds_sum{outcome=\"success\"}",
                Some(4.0),
            ),
            (
                "stoplog_tokens_total{kind=\"input\",tenant=\"acme\"}",
                Some(800.0),
            ),
            (
                "stoplog_tokens_total{kind=\"cache_read\",tenant=\"acme\"}",
                Some(300.0),
            ),
            // The failed attempt is in the turn's cost, under the model that was asked for.
            (
                "stoplog_cost_usd_total{model=\"small-2026\",tenant=\"acme\"}",
                Some(0.004),
            ),
            (
                "stoplog_cost_usd_total{model=\"small\",tenant=\"acme\"}",
                Some(0.001),
            ),
            ("stoplog_run_cost_usd_sum", Some(0.005)),
            ("stoplog_run_model_calls_sum", Some(2.0)),
            ("stoplog_run_tool_calls_sum", Some(2.0)),
            (
                "stoplog_errors_total{reason=\"provider_overloaded\",where=\"provider\"}",
                Some(1.0),
            ),
            (
                "stoplog_errors_total{reason=\"unknown_tool\",where=\"call\"}",
                Some(1.0),
            ),
            (
                "stoplog_context_used_ratio_bucket{model=\"small-2026\",le=\"0.8\"}",
                Some(0.0),
            ),
            (
                "stoplog_context_used_ratio_bucket{model=\"small-2026\",le=\"0.9\"}",
                Some(1.0),
            ),
            (
                "stoplog_calls_total{disposition=\"executed\",result=\"success\",tool=\"issue_refund\"}",
                Some(1.0),
            ),
            (
                "stoplog_calls_total{disposition=\"executed\",result=\"error\",tool=\"unknown\"}",
                Some(1.0),
            ),
            (
                "stoplog_call_output_bytes_sum{tool=\"issue_refund\"}",
                Some(18.0),
            ),
        ],
    );
    let text = signals.text(&Saturation::default()).expect("text");
    for hidden in [
        "sess_88",
        "u-personal",
        "made up",
        "rf_77",
        "a provider's words",
        "0123456789",
    ] {
        assert!(!text.contains(hidden), "{hidden} in\n{text}");
    }
}

#[test]
fn a_session_that_is_taken_over_is_counted_from_there_on() {
    let signals = signals();
    let Event::SessionStarted(started) = begins("s", "acme") else {
        panic!("a session begins so");
    };
    signals.prime(&started);
    let runs_line = "stoplog_runs_total{outcome=\"interrupt\",tenant=\"acme\"}";
    check(
        &signals,
        &[(runs_line, None), ("stoplog_run_cost_usd_count", Some(0.0))],
    );
    let behind = records(4, vec![runs(), ended(RunOutcome::Interrupt)]);
    signals.committed(&id("s"), &behind);
    check(
        &signals,
        &[
            (runs_line, Some(1.0)),
            ("stoplog_tokens_total{kind=\"input\",tenant=\"acme\"}", None),
            (
                "stoplog_sessions_begun_total{tenant=\"acme\",voice=\"model\"}",
                None,
            ),
            (
                "stoplog_errors_total{reason=\"internal\",where=\"run\"}",
                None,
            ),
        ],
    );
    // It is let go with its run: whoever goes on with it takes it up anew.
    signals.committed(&id("s"), &behind);
    check(&signals, &[(runs_line, Some(1.0))]);
}

#[test]
fn what_comes_from_outside_makes_no_series_without_end() {
    let signals = signals();
    for n in 0..TENANTS_MAX + 20 {
        let session = format!("s{n}");
        let events = vec![
            begins(&session, &format!("tenant{n}")),
            runs(),
            ended(RunOutcome::Error),
        ];
        signals.committed(&id(&session), &records(1, events));
    }
    for n in 0..1_000 {
        signals.answered(Answered {
            route: "",
            method: &format!("M{n}"),
            status: 405,
            reason: Some("method_not_allowed"),
            took: Duration::from_millis(1),
        });
    }
    check(
        &signals,
        &[
            (
                "stoplog_runs_total{outcome=\"error\",tenant=\"other\"}",
                Some(20.0),
            ),
            (
                "stoplog_http_requests_total{method=\"other\",route=\"unknown\",status=\"405\"}",
                Some(1000.0),
            ),
        ],
    );
    let lines = signals
        .text(&Saturation::default())
        .expect("text")
        .lines()
        .count();
    assert!(lines < 1_500, "{lines} lines");
}

#[test]
fn who_is_not_in_line_any_more_is_not_told_of() {
    let signals = signals();
    let line = |waiting: Vec<(String, u32)>| Saturation {
        calls_waiting: waiting,
        ..Saturation::default()
    };
    let one = signals.text(&line(vec![("acme".into(), 7)])).expect("text");
    assert!(
        one.contains("stoplog_calls_waiting{tenant=\"acme\"} 7"),
        "{one}"
    );
    let none = signals.text(&line(Vec::new())).expect("text");
    assert!(
        !none.contains("stoplog_calls_waiting{tenant=\"acme\"}"),
        "{none}"
    );
    assert!(
        none.contains("stoplog_calls_waiting{tenant=\"other\"} 0"),
        "{none}"
    );
}

/// Many sessions count at once, and nothing is lost.
#[test]
fn counting_is_shared() {
    let signals = Arc::new(signals());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let signals = signals.clone();
            scope.spawn(move || {
                for n in 0..100 {
                    let session = format!("s{worker}_{n}");
                    let events = vec![begins(&session, "acme"), runs(), ended(RunOutcome::Success)];
                    signals.committed(&id(&session), &records(1, events));
                }
            });
        }
    });
    check(
        &signals,
        &[(
            "stoplog_runs_total{outcome=\"success\",tenant=\"acme\"}",
            Some(400.0),
        )],
    );
}
