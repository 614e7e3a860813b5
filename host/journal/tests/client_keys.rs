//! What a client's own keys become in the table of acts.

use serde_json::json;
use stoplog_journal::{ActKeyState, codec};
use stoplog_model::event::{CallResult, Client, Event, Observed, RunStarted, SessionStarted};
use stoplog_model::outcome::{Aftermath, Disposition, ErrorCode, ToolError};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{
    Call, Digest, Position, Reason, Record, Session, SessionId, Tenant, TraceId, UsdMicros,
};

const AT: Position = Position {
    iteration: 1,
    ordinal: 0,
};

fn turn(key: Option<&str>) -> Event {
    Event::TurnTaken(Turn {
        iteration: 1,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: "lookup".into(),
            arguments: json!({"name": "x"}),
            provider_id: key.map(str::to_owned),
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: String::new(),
        model_id: "client".into(),
        model_version: String::new(),
        prompt_version_hash: String::new(),
        temperature_milli: 0,
        input_tokens: 0,
        output_tokens: 0,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        cost: UsdMicros(0),
        price_version: String::new(),
        started_at_ms: 1,
        latency_ms: 0,
        failed_attempts: Vec::new(),
    })
}

fn observed(result: CallResult) -> Event {
    Event::Observed(Observed {
        position: AT,
        tool: "lookup".into(),
        disposition: Disposition::Executed,
        result,
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of_json(&json!({"name": "x"})),
        started_at_ms: 1,
        latency_ms: 1,
        timed_out: false,
        log: String::new(),
        annotations: Vec::new(),
        spans: vec![],
        state: Vec::new(),
    })
}

fn error(aftermath: Aftermath, reason: Option<Reason>) -> CallResult {
    CallResult::Err(ToolError {
        code: ErrorCode::Transient,
        reason,
        message: "no".into(),
        hint: None,
        retry_after_ms: None,
        aftermath,
    })
}

/// What the last of these events does to the table: claims and releases, as texts.
fn last(client: bool, events: Vec<Event>) -> (Vec<String>, Vec<String>) {
    let started = Event::SessionStarted(SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "bot".into(),
        feature: "f".into(),
        task: String::new(),
        system_prompt: String::new(),
        max_iterations: 1,
        tools: vec![],
        client: client.then(|| Client {
            conversation: String::new(),
        }),
    });
    let run = Event::RunStarted(RunStarted {
        trace_id: TraceId::new("1".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    });
    let records: Vec<Record> = [started, run]
        .into_iter()
        .chain(events)
        .zip(1..)
        .map(|(event, seq)| Record {
            seq,
            epoch: 1,
            at_ms: 1,
            event,
        })
        .collect();
    let session = Session::fold(&records).expect("legal").expect("a session");
    let record = records.last().expect("an event");
    let batch = codec::implied(record, &session, [0; 32]).expect("a batch");
    let state = |s: ActKeyState| match s {
        ActKeyState::InFlight => "in flight",
        ActKeyState::Done => "done",
    };
    let claims = batch.claims.iter();
    let claims = claims.map(|c| format!("{} {} {} at {}", c.scope, c.key, state(c.state), c.seq));
    let released = batch.released.iter().map(|r| format!("{} {}", r.0, r.1));
    (claims.collect(), released.collect())
}

#[test]
fn a_key_is_claimed_with_its_turn() {
    let claimed = (
        vec!["client/acme/bot k-1 in flight at 0".to_owned()],
        vec![],
    );
    assert_eq!(last(true, vec![turn(Some("k-1"))]), claimed);
    assert_eq!(last(true, vec![turn(None)]), (vec![], vec![]));
    // In a session with a model it is the provider's id, and claims nothing.
    assert_eq!(last(false, vec![turn(Some("call_1"))]), (vec![], vec![]));
}

#[test]
fn a_result_is_kept_under_the_clients_key() {
    let done = (vec!["client/acme/bot k-1 done at 4".to_owned()], vec![]);
    let free = (vec![], vec!["client/acme/bot k-1".to_owned()]);
    for (result, expected) in [
        (CallResult::Ok(json!({})), &done),
        (error(Aftermath::Changed, None), &done),
        (error(Aftermath::Unknown, None), &done),
        (
            error(Aftermath::Untouched, Some(Reason::ApprovalRejected)),
            &done,
        ),
        (error(Aftermath::Untouched, None), &free),
        (
            error(Aftermath::Untouched, Some(Reason::ApprovalExpired)),
            &free,
        ),
    ] {
        let told = last(true, vec![turn(Some("k-1")), observed(result.clone())]);
        assert_eq!(&told, expected, "{result:?}");
        let of_model = last(false, vec![turn(Some("k-1")), observed(result)]);
        assert_eq!(of_model, (vec![], vec![]));
    }
}
