use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};
use stoplog_journal::{Cursor, Opening, Retention, SessionJournal, Upkeep, load};
use stoplog_model::class::Class;
use stoplog_model::contract::Contract;
use stoplog_model::event::{
    CallResult, CallStarted, Event, Observed, Pin, RunEnded, RunOutcome, RunStarted, SessionStarted,
};
use stoplog_model::outcome::Disposition;
use stoplog_model::port::{Clock, Unwatched};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Digest, Position, SessionId, Tenant, ToolName, TraceId, UsdMicros};
use stoplog_telemetry::{
    Advance, Bounds, OpenSpans, Projector, Scope, SpanRow, TraceError, TraceStore,
};
use tempfile::TempDir;

mod sinks;

use super::TraceDb;
use crate::SqliteStore;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_000_000
    }
}

/// A journal and a trace store, in one directory.
struct Scene {
    dir: TempDir,
    journal: Arc<SqliteStore>,
    traces: Arc<TraceDb>,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("dir");
        let journal = SqliteStore::open(&dir.path().join("journal.db")).expect("journal");
        Scene {
            journal: Arc::new(journal),
            traces: Arc::new(TraceDb::open(&dir.path().join("traces.db")).expect("traces")),
            dir,
        }
    }

    fn projector(&self, bounds: Bounds) -> Projector {
        Projector::new(self.journal.clone(), self.traces.clone(), bounds)
    }

    async fn caught_up(&self) -> Projector {
        let mut projector = self.projector(Bounds::default());
        projector.catch_up().await.expect("catch up");
        projector
    }

    fn sql(&self, file: &str) -> Connection {
        Connection::open(self.dir.path().join(file)).expect("open")
    }

    async fn begin(&self, session: &str) -> Arc<SessionJournal> {
        let opening = Opening {
            store: self.journal.clone(),
            clock: Arc::new(Still),
            watch: Arc::new(Unwatched),
            listeners: vec![],
            holder: "h".into(),
            holders_are_dead: true,
        };
        let journal = SessionJournal::create(opening, started(session)).await;
        Arc::new(journal.expect("create"))
    }

    /// A session with a turn that calls, and one that answers.
    async fn whole(&self, session: &str) {
        let journal = self.begin(session).await;
        append(&journal, vec![run(session, 1), turn(1, 1), call_started(1)]).await;
        append(&journal, vec![observed(1), turn(2, 0), ended()]).await;
        journal.close().await.expect("close");
    }

    /// The spans of a session, as the trace store has them.
    async fn spans(&self, session: &str) -> Vec<Value> {
        let bodies = self.traces.spans(Scope::Session(session)).await;
        let parse = |body: &String| serde_json::from_str(body).expect("json");
        bodies.expect("spans").iter().map(parse).collect()
    }

    /// The same as its records give them.
    async fn expected(&self, session: &str) -> BTreeMap<String, Value> {
        let id = SessionId::new(session).expect("id");
        let loaded = load(&*self.journal, &id).await.expect("load");
        let spans = stoplog_telemetry::spans(&loaded.expect("a session").0).expect("spans");
        by_id(spans.iter().map(|span| json!(span)).collect())
    }

    async fn bodies_by_place(&self) -> Vec<(u64, String)> {
        let finished = self.traces.finished(0, u32::MAX).await.expect("finished");
        finished.into_iter().map(|f| (f.place, f.body)).collect()
    }
}

fn by_id(spans: Vec<Value>) -> BTreeMap<String, Value> {
    let id = |span: Value| (span["span_id"].as_str().expect("id").to_owned(), span);
    spans.into_iter().map(id).collect()
}

async fn append(journal: &SessionJournal, events: Vec<Event>) {
    journal.append(events).await.expect("append");
}

fn started(session: &str) -> SessionStarted {
    let field = |disclosure: &str| json!({"type": "string", "x-disclosure": disclosure});
    let schema = json!({"type": "object", "properties": {
        "order_id": field("audit"), "email": field("personal")}});
    let contract = Contract {
        name: ToolName::new("find").expect("name"),
        version: "1.2.3".into(),
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
    let pin = Pin {
        component: Digest::of(b"c"),
        class: Class::ReadOnly,
        contract,
    };
    SessionStarted {
        session: SessionId::new(session).expect("id"),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "refund_handling".into(),
        task: "priya@example.com wants her money".into(),
        system_prompt: String::new(),
        max_iterations: 20,
        tools: vec![Arc::new(pin)],
        client: None,
    }
}

fn trace(session: &str, n: u32) -> TraceId {
    let digest = Digest::of_parts("test", &[session, &n.to_string()]);
    TraceId::new(&digest.as_str()[..32]).expect("trace")
}

fn run(session: &str, n: u32) -> Event {
    Event::RunStarted(RunStarted {
        trace_id: trace(session, n),
        host: "h".into(),
        resumed_from: (n > 1).then(|| trace(session, n - 1)),
        at_iteration: 1,
        after_crash: n > 1,
        remote: None,
    })
}

fn turn(iteration: u32, calls: u32) -> Event {
    let call = |ordinal| Call {
        ordinal,
        tool: "find".into(),
        arguments: json!({"order_id": "448100", "email": "priya@example.com"}),
        provider_id: None,
    };
    Event::TurnTaken(Turn {
        iteration,
        text: String::new(),
        calls: (0..calls).map(call).collect(),
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_use".into(),
        model_id: "m".into(),
        model_version: "m-1".into(),
        prompt_version_hash: "p".into(),
        temperature_milli: 0,
        input_tokens: 100,
        output_tokens: 1,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        price_version: String::new(),
        cost: UsdMicros(4000),
        started_at_ms: 1_000_000,
        latency_ms: 5,
        failed_attempts: vec![],
    })
}

fn at(iteration: u32) -> Position {
    Position {
        iteration,
        ordinal: 0,
    }
}

fn call_started(iteration: u32) -> Event {
    Event::CallStarted(CallStarted {
        position: at(iteration),
        started_at_ms: 1_000_000,
    })
}

fn observed(iteration: u32) -> Event {
    Event::Observed(Observed {
        position: at(iteration),
        tool: "find".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(json!({"order_id": "448100", "email": "priya@example.com"})),
        key: "k".into(),
        act_key: None,
        args_digest: Digest::of(b"a"),
        started_at_ms: 1_000_000,
        latency_ms: 3,
        timed_out: false,
        log: String::new(),
        annotations: vec![],
        spans: vec![],
        state: Vec::new(),
    })
}

fn ended() -> Event {
    Event::RunEnded(RunEnded {
        outcome: RunOutcome::Success,
        answer: "priya@example.com has it".into(),
        reason: None,
        failure: None,
        message: String::new(),
    })
}

#[tokio::test]
async fn spans_are_those_of_the_records_once_whatever_is_repeated() {
    let scene = Scene::new();
    for session in ["a", "b"] {
        scene.whole(session).await;
    }
    for _ in 0..2 {
        // A projector without memory, as after a kill.
        scene.caught_up().await;
        for session in ["a", "b"] {
            let spans = scene.spans(session).await;
            assert_eq!(by_id(spans.clone()).len(), spans.len(), "none twice");
            assert_eq!(by_id(spans), scene.expected(session).await);
        }
    }
    let text = format!("{:?}", scene.bodies_by_place().await);
    assert!(!text.contains("priya"), "{text}");
    let file = std::fs::read(scene.dir.path().join("traces.db-wal")).expect("log");
    let has = |what: &[u8]| file.windows(what.len()).any(|w| w == what);
    assert!(
        has(b"448100") && !has(b"priya"),
        "nothing personal in the file"
    );
}

#[tokio::test]
async fn the_columns_are_those_of_the_span() {
    let scene = Scene::new();
    scene.whole("a").await;
    scene.caught_up().await;
    let c = scene.sql("traces.db");
    let row = |sql: &str| -> String {
        c.query_row(sql, [], |r| r.get(0))
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    };
    let tool =
        "SELECT tenant_id || ' ' || feature || ' ' || tool || ' ' || tool_version || ' ' || class
                || ' ' || status || ' ' || disposition || ' ' || latency_ms || ' ' || step_index
                FROM spans WHERE kind = 'tool_call'";
    assert_eq!(
        row(tool),
        "acme refund_handling find 1.2.3 1 success executed 3 0"
    );
    let model =
        "SELECT group_concat(model_version || ' ' || cost_usd_micros || ' ' || finish_reason
                 || ' ' || coalesce(context_window_tokens, 'none'), ', ')
                 FROM spans WHERE kind = 'llm_call'";
    assert_eq!(
        row(model),
        "m-1 4000 tool_calls none, m-1 4000 tool_calls none"
    );
    let root = "SELECT status || ' ' || outcome || ' ' || cost_usd_micros FROM spans
                WHERE kind = 'final_response'";
    assert_eq!(row(root), "success success 0");
    // Sums over spans count what was paid once.
    assert_eq!(
        row("SELECT CAST(sum(cost_usd_micros) AS TEXT) FROM spans"),
        "8000"
    );
}

#[tokio::test]
async fn two_who_project_share_the_work() {
    let scene = Scene::new();
    for n in 0..20 {
        scene.whole(&format!("s{n}")).await;
    }
    let other = Arc::new(TraceDb::open(&scene.dir.path().join("traces.db")).expect("open"));
    let small = Bounds {
        rows: 3,
        ..Bounds::default()
    };
    let mut first = scene.projector(small);
    let mut second = Projector::new(scene.journal.clone(), other, small);
    let tasks = [
        tokio::spawn(async move { first.catch_up().await }),
        tokio::spawn(async move { second.catch_up().await }),
    ];
    for task in tasks {
        task.await.expect("task").expect("catch up");
    }
    for n in 0..20 {
        let session = format!("s{n}");
        assert_eq!(
            by_id(scene.spans(&session).await),
            scene.expected(&session).await
        );
    }
    let places: Vec<u64> = scene
        .bodies_by_place()
        .await
        .into_iter()
        .map(|p| p.0)
        .collect();
    let total: usize = 20 * scene.expected("s0").await.len();
    assert_eq!(places.len(), total, "each span once");
}

/// A span with as much as makes it one.
fn bare(id: &str, status: &'static str) -> SpanRow {
    SpanRow {
        span_id: id.into(),
        session_id: "a".into(),
        kind: "tool_call",
        status,
        body: format!("{{\"status\":\"{status}\"}}"),
        ..SpanRow::default()
    }
}

#[tokio::test]
async fn a_step_from_elsewhere_is_refused_whole() {
    let scene = Scene::new();
    let from = scene.traces.progress().await.expect("progress");
    let step = |id: &str| Advance {
        from: from.clone(),
        to: Cursor::from_text(format!("1 {id}")),
        finished: vec![bare(id, "success")],
        ..Advance::default()
    };
    assert_eq!(scene.traces.advance(step("first")).await, Ok(true));
    assert_eq!(scene.traces.advance(step("second")).await, Ok(false));
    let there = scene.spans("a").await.len();
    assert_eq!(there, 1, "nothing of the second is there");
    let now = scene.traces.progress().await.expect("progress").cursor;
    assert_eq!(now, Cursor::from_text("1 first"));
}

#[tokio::test]
async fn a_span_that_is_over_stays_over() {
    let scene = Scene::new();
    let mut step = Advance {
        from: scene.traces.progress().await.expect("progress"),
        to: Cursor::from_text("1 a"),
        finished: vec![bare("call", "success")],
        ..Advance::default()
    };
    assert_eq!(scene.traces.advance(step.clone()).await, Ok(true));
    // As it comes again while the projection is made anew.
    step.from = scene.traces.progress().await.expect("progress");
    step.to = Cursor::from_text("2 a");
    step.finished.clear();
    step.open = vec![OpenSpans {
        session_id: "a".into(),
        rows: vec![bare("call", "interrupt")],
    }];
    assert_eq!(scene.traces.advance(step).await, Ok(true));
    let spans = scene.sql("traces.db");
    let told: (String, bool) = spans
        .query_row("SELECT status, place IS NULL FROM spans", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .expect("one span");
    assert_eq!(told, ("success".into(), false));
    assert_eq!(scene.spans("a").await[0]["status"], "success");
}

#[tokio::test]
async fn what_is_open_is_shown_and_is_no_success() {
    let scene = Scene::new();
    let journal = scene.begin("a").await;
    append(&journal, vec![run("a", 1), turn(1, 1), call_started(1)]).await;
    let mut projector = scene.caught_up().await;
    let told = |spans: &[Value]| -> Vec<String> {
        let word = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let mut told: Vec<String> = spans
            .iter()
            .filter(|s| s["span_kind"] != "llm_call")
            .map(|s| {
                let how = [&s["disposition"], &s["status"], &s["outcome"]].map(word);
                format!("{} {}", word(&s["span_kind"]), how.join(""))
            })
            .collect();
        told.sort();
        told
    };
    let running = [
        "agent_step running",
        "final_response running",
        "tool_call running",
    ];
    assert_eq!(told(&scene.spans("a").await), running);
    projector.look_after(|_| true).await.expect("look");
    assert_eq!(told(&scene.spans("a").await), running);

    // Its host dies. Nobody has resumed it, and the call is in doubt all the same.
    projector.look_after(|_| false).await.expect("look");
    let dead = [
        "agent_step crashed",
        "final_response crashed",
        "tool_call in_doubt",
    ];
    assert_eq!(told(&scene.spans("a").await), dead);
    let tool = |spans: Vec<Value>| spans.into_iter().find(|s| s["span_kind"] == "tool_call");
    let before = tool(scene.spans("a").await).expect("a call");
    assert_eq!(before["result_status"], "error");
    assert_eq!(
        scene.bodies_by_place().await.len(),
        1,
        "the model's turn alone is over"
    );

    // The next run makes the spans of the dead one: the same ids, and now they are over.
    append(&journal, vec![run("a", 2), observed(1)]).await;
    scene.caught_up().await;
    let spans = by_id(scene.spans("a").await);
    assert_eq!(spans[before["span_id"].as_str().expect("id")], before);
    for (id, span) in scene.expected("a").await {
        assert_eq!(spans[&id], span);
    }
    let of_second = |s: &&Value| s["trace_id"] == trace("a", 2).as_str();
    let open: Vec<Value> = spans.values().filter(of_second).cloned().collect();
    assert!(open.iter().any(|s| s["outcome"] == "running"), "{open:?}");
    append(&journal, vec![turn(2, 0), ended()]).await;
    scene.caught_up().await;
    assert_eq!(
        by_id(scene.spans("a").await),
        scene.expected("a").await,
        "nothing is left open"
    );
}

#[tokio::test]
async fn made_anew_it_is_the_same_and_keeps_what_the_journal_has_no_more() {
    let scene = Scene::new();
    for session in ["a", "b", "c"] {
        scene.whole(session).await;
    }
    scene.caught_up().await;
    let before = scene.bodies_by_place().await;
    let all = Retention {
        sessions_before_ms: u64::from(u32::MAX),
        keep_latest: 1,
        keys_before_ms: [0; 5],
        now_ms: u64::from(u32::MAX),
        batch: 50,
    };
    let pruned = scene.journal.prune(&all).await.expect("prune");
    assert_eq!(pruned.sessions, 2);
    // A span that no record gives any more, of a session that is there, and one that is open.
    let c = scene.sql("traces.db");
    for (place, id) in [("77", "f".repeat(16)), ("NULL", "e".repeat(16))] {
        c.execute_batch(&format!(
            "INSERT INTO spans SELECT NULL, {place}, 0, '{id}', {columns} FROM spans
             WHERE session_id = 'c' LIMIT 1",
            columns = "parent_span_id, trace_id, session_id, tenant_id, user_id, feature,
                step_index, kind, started_ms, latency_ms, status, outcome, error_code, failure,
                tool, tool_version, class, disposition, idempotency_key, result_summary, model_id,
                model_version,
                prompt_version_hash, finish_reason, input_tokens, output_tokens,
                cache_read_tokens, cache_write_tokens, context_window_tokens, price_version,
                cost_usd_micros, decision, decided_by, resumed_from, run_cost_usd_micros"
        ))
        .expect("insert");
    }
    scene.traces.begin_anew().await.expect("anew");
    scene.caught_up().await;
    assert_eq!(scene.bodies_by_place().await, before, "spans and places");
    assert_eq!(by_id(scene.spans("c").await), scene.expected("c").await);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_making_it_anew_loses_nothing() {
    let scene = Scene::new();
    for n in 0..5 {
        scene.whole(&format!("s{n}")).await;
    }
    scene.caught_up().await;
    let before = scene.bodies_by_place().await;
    scene.traces.begin_anew().await.expect("anew");
    for _ in 0..4 {
        // Each step by another process: nothing is in its memory.
        let mut one = scene.projector(Bounds {
            rows: 7,
            ..Bounds::default()
        });
        one.step().await.expect("step");
        let now = scene.bodies_by_place().await;
        assert_eq!(now, before, "whoever asks meanwhile sees all of it");
    }
    scene.caught_up().await;
    assert_eq!(scene.bodies_by_place().await, before);
    assert!(!scene.traces.progress().await.expect("progress").is_remaking);
}

#[tokio::test]
async fn a_journal_that_was_put_back_is_projected_anew() {
    let scene = Scene::new();
    scene.whole("a").await;
    scene.caught_up().await;
    let other = Scene::new();
    other.whole("z").await;
    other.whole("y").await;
    let mut projector = Projector::new(
        other.journal.clone(),
        scene.traces.clone(),
        Bounds::default(),
    );
    projector.catch_up().await.expect("catch up");
    assert_eq!(by_id(scene.spans("z").await), other.expected("z").await);
    assert!(
        !scene.spans("a").await.is_empty(),
        "what it has no more stays"
    );
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_and_a_newer_one_left_alone() {
    let scene = Scene::new();
    for session in ["a", "b"] {
        scene.whole(session).await;
    }
    scene.caught_up().await;
    scene.traces.note_sent("otlp", 3).await.expect("note");
    let before = scene.bodies_by_place().await;
    let path = scene.dir.path().join("traces.db");
    let version = |v: u32| {
        let sql = format!("UPDATE meta SET value = '{v}' WHERE name = 'version'");
        scene.sql("traces.db").execute_batch(&sql).expect("version");
    };
    version(0);
    // A column that the old version made otherwise.
    let other = "UPDATE spans SET tool = 'other'";
    scene.sql("traces.db").execute_batch(other).expect("update");
    let again = Arc::new(TraceDb::open(&path).expect("open"));
    let places = |rows: Vec<stoplog_telemetry::Finished>| -> Vec<(u64, String)> {
        rows.into_iter().map(|f| (f.place, f.body)).collect()
    };
    assert_eq!(
        places(again.finished(0, 99).await.expect("finished")),
        before
    );
    let mut projector = Projector::new(scene.journal.clone(), again.clone(), Bounds::default());
    projector.catch_up().await.expect("catch up");
    assert_eq!(
        places(again.finished(0, 99).await.expect("finished")),
        before
    );
    assert_eq!(again.sent("otlp").await, Ok(Some(3)));
    let c = scene.sql("traces.db");
    let others: u32 = c
        .query_row("SELECT count(*) FROM spans WHERE tool = 'other'", [], |r| {
            r.get(0)
        })
        .expect("count");
    assert_eq!(others, 0);

    version(99);
    let newer = TraceDb::open(&path).expect_err("newer");
    assert_eq!(
        newer,
        TraceError::Newer {
            found: 99,
            known: super::VERSION
        }
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_and_can_be_discarded() {
    let scene = Scene::new();
    scene.whole("a").await;
    let path = scene.dir.path().join("other.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("write");
    let damaged = TraceDb::open(&path).expect_err("damaged");
    assert!(matches!(damaged, TraceError::Damaged(_)), "{damaged:?}");
    TraceDb::discard(&path).expect("discard");
    let traces = Arc::new(TraceDb::open(&path).expect("open"));
    let mut projector = Projector::new(scene.journal.clone(), traces.clone(), Bounds::default());
    assert!(projector.catch_up().await.expect("catch up").spans > 0);
}

#[tokio::test]
async fn memory_is_bounded_and_who_was_let_go_is_read_again() {
    let scene = Scene::new();
    let mut open = Vec::new();
    for n in 0..200 {
        let session = format!("s{n}");
        let journal = scene.begin(&session).await;
        append(
            &journal,
            vec![run(&session, 1), turn(1, 1), call_started(1)],
        )
        .await;
        open.push(journal);
    }
    let bounds = Bounds {
        rows: 50,
        bytes: usize::MAX,
        folded_bytes: 20_000,
    };
    let mut projector = scene.projector(bounds);
    let bounded = async |projector: &mut Projector| {
        loop {
            let step = projector.step().await.expect("step");
            assert!(projector.folded_bytes() <= bounds.folded_bytes);
            if step.is_end {
                return;
            }
        }
    };
    bounded(&mut projector).await;
    assert!(projector.folded_bytes() > 0, "some are kept");
    for journal in &open {
        append(journal, vec![observed(1), turn(2, 0), ended()]).await;
    }
    bounded(&mut projector).await;
    assert_eq!(projector.folded_bytes(), 0, "what is over is let go");
    for n in 0..200 {
        let session = format!("s{n}");
        assert_eq!(
            by_id(scene.spans(&session).await),
            scene.expected(&session).await
        );
    }
}

#[tokio::test]
async fn a_damaged_session_is_told_and_holds_up_no_other() {
    let scene = Scene::new();
    for session in ["a", "b", "c"] {
        scene.whole(session).await;
    }
    let tamper = "UPDATE events SET body = replace(body, '448100', '448101')
                  WHERE session_id = 'b' AND kind = 'observed'";
    scene
        .sql("journal.db")
        .execute_batch(tamper)
        .expect("tamper");
    scene.caught_up().await;
    for session in ["a", "c"] {
        assert_eq!(
            by_id(scene.spans(session).await),
            scene.expected(session).await
        );
    }
    let broken = scene.traces.broken().await.expect("broken");
    let [broken] = &broken[..] else {
        panic!("{broken:?}");
    };
    assert_eq!((broken.session_id.as_str(), broken.seq), ("b", 5));
    let spans = scene.spans("b").await;
    assert!(
        spans.iter().all(|s| s["span_kind"] != "tool_call"),
        "{spans:?}"
    );
}

#[tokio::test]
async fn old_spans_are_pruned_and_their_places_are_not_given_again() {
    let scene = Scene::new();
    scene.whole("a").await;
    scene.caught_up().await;
    let last = scene.bodies_by_place().await.last().expect("spans").0;
    assert_eq!(
        scene.traces.prune(900_000, 99).await,
        Ok(0),
        "none is that old"
    );
    let mut pruned = 0;
    loop {
        match scene.traces.prune(2_000_000, 2).await.expect("prune") {
            0 => break,
            n => pruned += n,
        }
    }
    assert_eq!(pruned, last);
    assert_eq!(scene.bodies_by_place().await, []);
    scene.whole("b").await;
    scene.caught_up().await;
    assert_eq!(scene.bodies_by_place().await[0].0, last + 1);
}
