//! A request to a model on record: which commits it is in, and which it makes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stoplog_journal::session::{ASK_LINGER_MS, TURN_LINGER_MS};
use stoplog_journal::{OnCommit, Opening, SessionJournal};
use stoplog_model::event::{CallResult, Event, ModelAsked, Observed, RunStarted, SessionStarted};
use stoplog_model::outcome::Disposition;
use stoplog_model::port::Unwatched;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Digest, Position, Record, SessionId, Tenant, TraceId, UsdMicros};
use stoplog_sim::time::Time;
use stoplog_store::MemoryStore;

/// The kinds of each commit.
#[derive(Default)]
struct Commits(Mutex<Vec<Vec<&'static str>>>);

impl OnCommit for Commits {
    fn committed(&self, _: &SessionId, records: &[Record]) {
        let kinds = records.iter().map(|r| r.event.kind()).collect();
        self.0.lock().expect("lock").push(kinds);
    }
}

fn asked() -> ModelAsked {
    ModelAsked {
        iteration: 1,
        attempt: 1,
        again: false,
        profile: String::new(),
        model_id: "m".into(),
        prompt_version_hash: "p".into(),
        input_tokens: 10,
        cost: UsdMicros(1),
        after: None,
    }
}

fn turn() -> Turn {
    Turn {
        iteration: 1,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: "look".into(),
            arguments: json!({}),
            provider_id: None,
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_calls".into(),
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
        started_at_ms: 0,
        latency_ms: 0,
        failed_attempts: Vec::new(),
    }
}

fn observed() -> Observed {
    Observed {
        position: Position {
            iteration: 1,
            ordinal: 0,
        },
        tool: "look".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(json!({})),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b"a"),
        started_at_ms: 0,
        latency_ms: 0,
        timed_out: false,
        log: String::new(),
        annotations: Vec::new(),
        spans: vec![],
        state: Vec::new(),
    }
}

/// A read, by a model that takes so long to answer; none: by one that asks nobody.
async fn commits(answers_after_ms: Option<u64>) -> Vec<Vec<&'static str>> {
    let told = Arc::new(Commits::default());
    let opening = Opening {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(Time::default()),
        watch: Arc::new(Unwatched),
        listeners: vec![told.clone()],
        holder: "h".into(),
        holders_are_dead: true,
    };
    let started = SessionStarted {
        session: SessionId::new("s").expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 5,
        tools: Vec::new(),
        client: None,
    };
    let journal = SessionJournal::create(opening, started).await;
    let journal = Arc::new(journal.expect("made"));
    let run = RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    };
    let begun = journal.append(vec![Event::RunStarted(run)]).await;
    begun.expect("a run");
    if let Some(ms) = answers_after_ms {
        journal.ask(asked());
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    journal.take_turn(turn());
    journal
        .observe(observed())
        .await
        .map(drop)
        .expect("observed");
    // Whatever lingers finds nothing left to do.
    tokio::time::sleep(Duration::from_millis(4 * TURN_LINGER_MS)).await;
    told.0.lock().expect("lock").split_off(2)
}

/// No call waits for it: a read is one durable commit, with a provider as with a script. A model that
/// thinks for longer than a moment has its request written down meanwhile.
#[tokio::test(start_paused = true)]
async fn a_request_on_record_costs_no_commit_in_the_way_of_a_call() {
    assert_eq!(commits(None).await, [vec!["turn_taken", "observed"]]);
    let at_once = commits(Some(ASK_LINGER_MS / 2)).await;
    assert_eq!(at_once, [vec!["model_asked", "turn_taken", "observed"]]);
    let later = commits(Some(ASK_LINGER_MS * 2)).await;
    assert_eq!(later, [vec!["model_asked"], vec!["turn_taken", "observed"]]);
}
