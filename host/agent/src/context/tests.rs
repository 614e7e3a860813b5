//! Trimming by rule: what goes first, what never goes, and that the same journal gives the same
//! prompt.

use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_llm::Message;
use stoplog_model::event::{CallResult, Event, Observed, RunStarted, SessionStarted};
use stoplog_model::outcome::Disposition;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Digest, Record, SessionId, Tenant, TraceId, UsdMicros};

use super::*;
use crate::prompt::Frame;

const WINDOW: Window = Window {
    tokens: 2000,
    trim_at_percent: 80,
    keep_turns: 2,
    keep_output_bytes: 60,
};

fn turn(iteration: u32, input_tokens: u64) -> Event {
    let call = |ordinal| Call {
        ordinal,
        tool: format!("look_{ordinal}"),
        arguments: json!({"n": iteration}),
        provider_id: None,
    };
    Event::TurnTaken(Turn {
        iteration,
        text: format!("thought {iteration}"),
        calls: vec![call(0), call(1)],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_use".into(),
        model_id: "m".into(),
        model_version: "1".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens,
        output_tokens: 10,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: if input_tokens > 0 { 2500 } else { 0 },
        price_version: String::new(),
        cost: UsdMicros(1),
        started_at_ms: 1,
        latency_ms: 1,
        failed_attempts: vec![],
    })
}

fn observed(iteration: u32, ordinal: u32, output: Value) -> Event {
    Event::Observed(Observed {
        position: Position { iteration, ordinal },
        tool: format!("look_{ordinal}"),
        disposition: Disposition::Executed,
        result: CallResult::Ok(output),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b"a"),
        started_at_ms: 1,
        latency_ms: 1,
        timed_out: false,
        log: String::new(),
        annotations: vec![],
        spans: vec![],
        state: Vec::new(),
    })
}

/// Turns of two calls each, with outputs of these sizes; each but the first one says what the
/// provider counted for it.
fn session(sizes: &[(usize, usize)], counted: u64, more: Vec<Event>) -> Session {
    let started = Event::SessionStarted(SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "THE TASK".into(),
        system_prompt: "THE SYSTEM PROMPT".into(),
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
        remote: None,
    });
    let mut events = vec![started, run];
    for (i, (a, b)) in sizes.iter().enumerate() {
        let iteration = i as u32 + 1;
        events.push(turn(iteration, counted));
        events.push(observed(iteration, 0, json!({"rows": "x".repeat(*a)})));
        events.push(observed(iteration, 1, json!("y".repeat(*b))));
    }
    events.extend(more);
    let records = events.into_iter().enumerate().map(|(i, event)| Record {
        seq: i as u64 + 1,
        epoch: 1,
        at_ms: 1,
        event,
    });
    Session::folded(records).expect("legal").expect("there")
}

fn plan_of(session: &Session, cause: TrimCause) -> Option<ContextTrimmed> {
    plan(session, session.iterations() + 1, 100, WINDOW, cause)
}

fn cut_at(trim: &ContextTrimmed) -> Vec<(u32, u32)> {
    let places = trim.cuts.iter().map(|c| c.position);
    places.map(|p| (p.iteration, p.ordinal)).collect()
}

/// The prompt as lines: who says it, and how it begins.
fn shown(session: &Session) -> Vec<String> {
    let frame = Frame::new(session);
    let request = frame.request(session, session.iterations() + 1);
    assert_eq!(request.system_prompt, "THE SYSTEM PROMPT");
    let line = |m: &Message| match m {
        Message::User { text } => format!("user {text}"),
        Message::Assistant { text, calls } => format!("model {text} {}", calls.len()),
        Message::ToolResult { tool, content, .. } => {
            let text = match content {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{tool} {text}")
        }
    };
    request.messages.iter().map(line).collect()
}

#[test]
fn a_prompt_that_is_short_enough_is_left_alone() {
    let short = session(&[(50, 50), (50, 50), (50, 50)], 1500, vec![]);
    assert_eq!(plan_of(&short, TrimCause::Share), None);
    // Without a provider's count it is an estimate of everything.
    assert_eq!(
        tokens(&session(&[], 0, vec![]), 100),
        (100 + 8) / BYTES_PER_TOKEN
    );
}

#[test]
fn long_outputs_are_cut_first_the_oldest_first_and_no_more_than_needed() {
    let sizes = [(900, 50), (900, 900), (900, 50), (900, 900), (50, 900)];
    let long = session(&sizes, 1300, vec![]);
    // 1300 counted, 10 written, and a third of the last turn's outputs: beyond 80 % of 2000.
    let trim = plan_of(&long, TrimCause::Share).expect("a trim");
    assert!(trim.before_tokens > 1600, "{trim:?}");
    assert_eq!(cut_at(&trim), [(1, 0), (2, 0)], "{trim:?}");
    assert_eq!((trim.dropped_through, trim.window_tokens), (0, 2000));
    assert!(trim.after_tokens <= 1200, "{trim:?}");
    assert_eq!(trim.cuts[0].tool, "look_0");
    // The newest two turns are never touched, however long they are.
    let newest = session(&[(9000, 9000), (9000, 9000)], 1900, vec![]);
    assert_eq!(plan_of(&newest, TrimCause::Share), None);
}

#[test]
fn when_cutting_is_not_enough_whole_turns_go_and_leave_a_list() {
    let sizes = [(50, 50), (50, 50), (50, 50), (50, 50), (50, 50)];
    let trim = plan_of(&session(&sizes, 1700, vec![]), TrimCause::Share).expect("a trim");
    assert_eq!(
        (cut_at(&trim), trim.dropped_through),
        (vec![], 3),
        "{trim:?}"
    );
    let trimmed = session(&sizes, 1700, vec![Event::ContextTrimmed(trim)]);
    let lines = shown(&trimmed);
    assert_eq!(lines[0], "user THE TASK");
    assert!(lines[1].starts_with("user [Turns 1 to 3"), "{}", lines[1]);
    for call in ["1.0 look_0: done", "3.1 look_1: done"] {
        assert!(lines[1].contains(call), "{}", lines[1]);
    }
    assert!(!lines[1].contains("4.0"), "{}", lines[1]);
    assert_eq!(lines[2], "model thought 4 2");
    assert_eq!(
        lines.len(),
        2 + 2 * 3,
        "each call that is shown has its result: {lines:?}"
    );
}

/// What was decided is an event; the next prompt, whoever builds it, is made from it, and nothing
/// that was left out comes back.
#[test]
fn the_same_events_give_the_same_prompt_and_trims_only_leave_out_more() {
    let sizes = [(900, 50), (900, 900), (900, 50), (900, 900), (50, 900)];
    let trim = plan_of(&session(&sizes, 1300, vec![]), TrimCause::Share).expect("a trim");
    let first = session(&sizes, 1300, vec![Event::ContextTrimmed(trim.clone())]);
    let again = session(&sizes, 1300, vec![Event::ContextTrimmed(trim.clone())]);
    assert_eq!(shown(&first), shown(&again));
    let cut = &shown(&first)[2];
    assert!(
        cut.contains("bytes left out to make room") && cut.len() < 250,
        "{cut}"
    );
    let thawed = Session::thaw((*first.started).clone(), first.freeze());
    assert_eq!(
        thawed.trims, first.trims,
        "a snapshot keeps what is left out"
    );
    // A host that dies behind a trim goes on with the prompt that it had decided on.
    assert_eq!(plan_of(&first, TrimCause::Share), None);
    let second = plan(&first, 6, 100, WINDOW, TrimCause::Refused).expect("another trim");
    assert!(
        second
            .cuts
            .iter()
            .all(|c| !cut_at(&trim).contains(&(c.position.iteration, c.position.ordinal)))
    );
    let both = session(
        &sizes,
        1300,
        vec![Event::ContextTrimmed(trim), Event::ContextTrimmed(second)],
    );
    let bytes = |s: &Session| shown(s).concat().len();
    assert!(bytes(&both) < bytes(&first));
}

#[test]
fn a_prompt_that_a_provider_refuses_gets_shorter_or_cannot() {
    let sizes = [(300, 50), (300, 50), (50, 50), (50, 50)];
    // Its own count is below the share: the provider knows better.
    let small = session(&sizes, 900, vec![]);
    assert_eq!(plan_of(&small, TrimCause::Share), None);
    let trim = plan_of(&small, TrimCause::Refused).expect("a trim");
    assert_eq!(trim.cause, TrimCause::Refused);
    assert!(trim.after_tokens < trim.before_tokens, "{trim:?}");
    let two = session(&sizes[..2], 900, vec![]);
    assert_eq!(
        plan_of(&two, TrimCause::Refused),
        None,
        "only the newest are left"
    );
}

#[test]
fn texts_are_cut_between_characters() {
    let text = "ü".repeat(400);
    let long = session(&[(0, 0), (0, 0)], 0, vec![]);
    drop(long);
    let mut left = Left::default();
    let at = Position {
        iteration: 1,
        ordinal: 1,
    };
    left.cut(at, 61);
    let whole = session(&[(1, 1)], 0, vec![]);
    let mut call = whole.turns[0].calls[1].clone();
    if let Some(observed) = &mut call.observed {
        observed.result = CallResult::Ok(json!(text));
    }
    let bytes = prompt::result_bytes(at, &call, &left);
    assert!(bytes <= 61 + 2 + prompt::MARK_BYTES, "{bytes}");
    let _: Arc<TurnState> = whole.turns[0].clone();
}
