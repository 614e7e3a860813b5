use serde_json::{Value, json};
use stoplog_model::event::TurnRejected;
use stoplog_model::outcome::Disposition;
use stoplog_model::turn::FinishReason;
use stoplog_model::{Call, Digest, Position, Reason, SessionId, Tenant, TraceId};

use super::*;

fn record(at_ms: u64, event: Event) -> Record {
    Record {
        seq: 0,
        epoch: 1,
        at_ms,
        event,
    }
}

fn started() -> Record {
    let started = SessionStarted {
        session: SessionId::new("sess_88").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "refunds".into(),
        task: "PERSONAL".into(),
        system_prompt: String::new(),
        max_iterations: 5,
        tools: Vec::new(),
        client: None,
    };
    record(1000, Event::SessionStarted(started))
}

fn run(at_ms: u64, n: u32) -> Record {
    let trace = |n: u32| TraceId::new(format!("{n:032x}")).expect("id");
    let run = RunStarted {
        trace_id: trace(n),
        host: "h".into(),
        resumed_from: (n > 1).then(|| trace(n - 1)),
        at_iteration: 1,
        after_crash: n > 1,
        remote: None,
    };
    record(at_ms, Event::RunStarted(run))
}

fn turn(iteration: u32, calls: u32, at_ms: u64) -> Turn {
    let call = |ordinal| Call {
        ordinal,
        tool: "PERSONAL".into(),
        arguments: json!({"email": "PERSONAL"}),
        provider_id: None,
    };
    Turn {
        iteration,
        text: "PERSONAL".into(),
        calls: (0..calls).map(call).collect(),
        finish: FinishReason::ToolCalls,
        finish_raw: "PERSONAL".into(),
        model_id: "m".into(),
        model_version: "PERSONAL".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens: 100,
        output_tokens: 10,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        price_version: String::new(),
        cost: UsdMicros(4000),
        started_at_ms: at_ms,
        latency_ms: 50,
        failed_attempts: vec![],
    }
}

fn took(iteration: u32, calls: u32, at_ms: u64) -> Record {
    let event = Event::TurnTaken(turn(iteration, calls, at_ms));
    record(at_ms + 50, event)
}

fn observed(iteration: u32, ordinal: u32, at_ms: u64) -> Record {
    let observed = Observed {
        position: Position { iteration, ordinal },
        tool: "PERSONAL".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(json!("PERSONAL")),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b"a"),
        started_at_ms: 0,
        latency_ms: 0,
        timed_out: false,
        log: "PERSONAL".into(),
        annotations: Vec::new(),
        spans: Vec::new(),
        state: Vec::new(),
    };
    record(at_ms, Event::Observed(observed))
}

fn ended(at_ms: u64, outcome: RunOutcome, reason: Option<Reason>) -> Record {
    let ended = RunEnded {
        outcome,
        answer: "PERSONAL".into(),
        reason,
        failure: None,
        message: "PERSONAL".into(),
    };
    record(at_ms, Event::RunEnded(ended))
}

fn lines(records: &[Record]) -> Vec<Value> {
    let mut maker = LogMaker::begin(&records[0]).expect("a session");
    let lines = records[1..].iter().flat_map(|r| maker.push(r));
    lines.map(|line| json!(line)).collect()
}

/// What of a line is compared.
fn short(line: &Value) -> String {
    let at = line["timestamp_ms"].as_u64().unwrap_or(0);
    let word = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
    let number = |name: &str| {
        line[name]
            .as_u64()
            .map_or("-".to_owned(), |n| n.to_string())
    };
    format!(
        "{at} {} {} {} {} ms, messages {} {}, tokens {}+{}, calls {}, {} micros",
        word("event"),
        number("step_index"),
        word("outcome"),
        number("duration_ms"),
        number("message_count"),
        word("last_role"),
        number("prompt_tokens"),
        number("completion_tokens"),
        number("tool_calls"),
        number("cost_usd_micros"),
    )
}

#[test]
fn a_line_for_each_step_and_one_for_the_run() {
    let lines = lines(&[
        started(),
        run(1000, 1),
        took(1, 2, 1010),
        observed(1, 1, 1100),
        observed(1, 0, 1200),
        took(2, 0, 1300),
        ended(1400, RunOutcome::Success, None),
    ]);
    let told: Vec<String> = lines.iter().map(short).collect();
    assert_eq!(
        told,
        [
            "1200 step 0 complete 190 ms, messages 4 tool, tokens 100+10, calls 2, 4000 micros",
            "1350 step 1 complete 50 ms, messages 5 assistant, tokens 100+10, calls 0, 4000 micros",
            "1400 run - success 400 ms, messages - -, tokens 200+20, calls 2, 8000 micros",
        ]
    );
    for line in &lines {
        assert_eq!(line["thread_id"], "sess_88");
        assert_eq!(line["session_id"], "sess_88");
        assert_eq!(line["tenant_id"], "acme");
        assert_eq!(line["level"], "info");
        assert_eq!(line["model"], "m");
        assert!(!line.to_string().contains("PERSONAL"), "{line}");
    }
    assert_eq!(lines[0]["node"], "agent_step");
    assert_eq!(lines[2]["steps"], 2);
}

/// The run that goes on tells of the one that died, and then of itself alone.
#[test]
fn a_run_whose_host_died_is_told_of_by_the_next() {
    let before = [
        started(),
        run(1000, 1),
        took(1, 2, 1010),
        observed(1, 0, 1200),
    ];
    let mut maker = LogMaker::over(&before).expect("a session");
    let mut told = Vec::new();
    for record in [
        run(9000, 2),
        observed(1, 1, 9100),
        ended(9200, RunOutcome::Error, Some(Reason::ShuttingDown)),
    ] {
        told.extend(maker.push(&record));
    }
    let lines: Vec<Value> = told.iter().map(|line| json!(line)).collect();
    let told: Vec<String> = lines.iter().map(short).collect();
    assert_eq!(
        told,
        [
            "1200 step 0 crashed 190 ms, messages 3 tool, tokens 100+10, calls 1, 4000 micros",
            "1200 run - crashed 200 ms, messages - -, tokens 100+10, calls 1, 4000 micros",
            "9100 step 0 complete 100 ms, messages 4 tool, tokens 0+0, calls 1, 0 micros",
            "9200 run - error 200 ms, messages - -, tokens 0+0, calls 1, 0 micros",
        ]
    );
    let levels: Vec<&Value> = lines.iter().map(|l| &l["level"]).collect();
    assert_eq!(levels, ["warn", "error", "info", "error"]);
    assert_eq!(lines[3]["reason"], "shutting_down");
    assert_eq!(lines[3]["after_crash"], true);
}

#[test]
fn what_was_paid_without_a_turn_counts_too() {
    let rejected = Event::TurnRejected(TurnRejected {
        turn: turn(1, 0, 1010),
        failure: FailureClass::Refusal,
    });
    let asked = Event::ModelAsked(ModelAsked {
        iteration: 1,
        attempt: 1,
        again: false,
        profile: String::new(),
        model_id: "m".into(),
        prompt_version_hash: "p".into(),
        input_tokens: 10,
        cost: UsdMicros(7),
        after: None,
    });
    let lines = lines(&[
        started(),
        run(1000, 1),
        record(1060, rejected),
        record(1070, asked),
        ended(1100, RunOutcome::Error, None),
    ]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["outcome"], "failed");
    assert_eq!(lines[0]["error_class"], "refusal");
    assert_eq!(lines[1]["cost_usd_micros"], 4007);
}
