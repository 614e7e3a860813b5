//! One call through the real dispatcher, with a tool and a far side made for the test: what a
//! rerun may do, and what people get to see of a call.

#[path = "one_call/busy.rs"]
mod busy;
#[path = "one_call/kept.rs"]
mod kept;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use stoplog_dispatch::{Access, Dispatched, Dispatcher, Wait};
use stoplog_egress::{Egress, Grant, Lost, Parcel, Settings, Transport};
use stoplog_journal::{Opening, Part, SessionJournal, load, read_one};
use stoplog_model::contract::{Described, KeyRule};
use stoplog_model::event::{CallResult, Event, Pin, RunStarted, SessionStarted};
use stoplog_model::key::KeyScope;
use stoplog_model::outcome::{Aftermath, Disposition, ErrorCode, Finding, ToolError};
use stoplog_model::port::{Clock, Entry, Gate, Job, Ran, Returned, RunError, Runner, Unwatched};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{
    Call, Class, Contract, Digest, Outcome, Position, Reason, Request, Response, SessionId, Tenant,
    TraceId, UsdMicros,
};
use stoplog_policy::ApprovalRules;
use stoplog_sim::time::Time;
use stoplog_store::MemoryStore;
use stoplog_telemetry::SpanMaker;

const AT: Position = Position {
    iteration: 1,
    ordinal: 0,
};

/// What only the model and the far side may see.
const PERSONAL: &str = "priya@example.com";

fn request(method: &str, path: &str, body: &[u8]) -> Request {
    Request {
        method: method.into(),
        url: format!("http://far.sim/{path}"),
        headers: Vec::new(),
        body: body.to_vec(),
    }
}

/// What the tool does in its so-manieth run.
#[derive(Debug, Clone, Copy)]
enum Tool {
    /// Reads a price, and sends it.
    SendsWhatItRead,
    /// Sends two things; run again, the second alone.
    ForgetsTheFirst,
    /// Sends the number of its run.
    ChangesItsMind,
    /// Posts with a client that knows no permits; run again, to another path.
    TakesAnotherPath,
    /// Posts two things to one path with such a client.
    PostsTwice,
    /// Posts with such a client, and traps behind it.
    PostsAndTraps,
}

#[async_trait]
impl Runner for Tool {
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran {
        let is_call = matches!(job.entry, Entry::Call { .. });
        let result = match job.entry {
            Entry::Call { .. } => {
                self.call(&*gate, job.info.attempt).await;
                Returned::Text(json!({ "id": "1", "mail": PERSONAL }).to_string())
            }
            // Nothing of it shows at the far side, whatever was sent there.
            // Of what a trap lost, the far side has it once.
            _ if matches!(self, Tool::PostsAndTraps) => Returned::Finding(Finding::Once {
                output: json!({ "id": "1" }).to_string(),
            }),
            _ => Returned::Finding(Finding::Absent),
        };
        let traps = is_call && matches!(self, Tool::PostsAndTraps);
        Ran {
            result: match traps {
                true => Err(RunError::Trapped("behind its effect".into())),
                false => Ok(result),
            },
            log: String::new(),
            annotations: Vec::new(),
            spans: Vec::new(),
        }
    }
}

impl Tool {
    async fn call(&self, gate: &dyn Gate, attempt: u32) {
        match self {
            Tool::SendsWhatItRead => {
                let price = gate.fetch(request("GET", "price", b"")).await;
                let price = price.map(|r| r.body).unwrap_or_default();
                let _ = gate.perform("", request("POST", "pay", &price)).await;
            }
            Tool::ChangesItsMind => {
                let number = attempt.to_string();
                let pay = request("POST", "pay", number.as_bytes());
                let _ = gate.perform("", pay).await;
            }
            Tool::PostsAndTraps => {
                let _ = gate.fetch(request("POST", "pay", b"1")).await;
            }
            Tool::TakesAnotherPath => {
                let path = if attempt == 1 { "pay" } else { "pay-more" };
                let _ = gate.fetch(request("POST", path, b"1")).await;
            }
            Tool::PostsTwice => {
                for body in [b"1", b"2"] {
                    let _ = gate.fetch(request("POST", "pay", body)).await;
                }
            }
            Tool::ForgetsTheFirst => {
                gate.split("fee").expect("a second label");
                if attempt == 1 {
                    let _ = gate.perform("", request("POST", "pay", b"1")).await;
                }
                let _ = gate.perform("fee", request("POST", "fee", b"2")).await;
            }
        }
    }
}

/// A far side that gives another price each time, and whose first answers to `lost` get lost.
struct Far {
    lost: &'static str,
    losses: usize,
    prices: AtomicU32,
    sent: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Far {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        let path = parcel.url().path().to_owned();
        let body = match path.as_str() {
            "/price" => self.prices.fetch_add(1, Ordering::Relaxed).to_string(),
            _ => String::new(),
        };
        let mut sent = self.sent.lock().expect("lock");
        sent.push(path.clone());
        let times = sent.iter().filter(|p| **p == path).count();
        if path == self.lost && times <= self.losses {
            return Err(Lost::Late("the connection broke".into()));
        }
        Ok(Response {
            status: 200,
            headers: Vec::new(),
            body: body.into_bytes(),
        })
    }
}

fn pin() -> Pin {
    let personal = |name: &str| {
        json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "id": { "type": "string", "x-disclosure": "audit" },
                name: { "type": "string", "x-disclosure": "personal" },
            },
            "required": ["id"],
        })
        .to_string()
    };
    let described = Described {
        name: "tool".into(),
        version: "1.0.0".into(),
        description: "a tool of a test".into(),
        input_schema: personal("to"),
        output_schema: personal("mail"),
        key: Some(KeyRule {
            template: "tool_{id}".into(),
            scope: KeyScope::Session,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec!["http://far.sim/".into()],
        secrets: Vec::new(),
    };
    Pin {
        component: Digest::of(b"tool"),
        class: Class::External,
        contract: Contract::check(described, Class::External).expect("a contract"),
    }
}

fn turn(iteration: u32, to: &str) -> Turn {
    Turn {
        iteration,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: "tool".into(),
            arguments: json!({ "id": "1", "to": to }),
            provider_id: None,
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_calls".into(),
        model_id: "m".into(),
        model_version: "1".into(),
        prompt_version_hash: String::new(),
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

fn session() -> SessionId {
    SessionId::new("s").expect("id")
}

/// A session in its first turn, which has this one call.
async fn begun(store: &Arc<MemoryStore>, clock: &Arc<Time>) -> Arc<SessionJournal> {
    let opening = Opening {
        store: store.clone(),
        clock: clock.clone(),
        watch: Arc::new(Unwatched),
        listeners: Vec::new(),
        holder: "h".into(),
        holders_are_dead: false,
    };
    let started = SessionStarted {
        session: session(),
        tenant: Tenant::new("acme").expect("id"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 5,
        tools: vec![Arc::new(pin())],
        client: None,
    };
    let journal = SessionJournal::create(opening, started)
        .await
        .expect("made");
    let run = RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("id"),
        host: "h".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    };
    let events = vec![Event::RunStarted(run), Event::TurnTaken(turn(1, PERSONAL))];
    journal.append(events).await.expect("a turn");
    Arc::new(journal)
}

/// A call that was dispatched, and all that it met.
struct Met {
    dispatched: Dispatched,
    /// Paths of the requests that arrived.
    sent: Vec<String>,
    store: Arc<MemoryStore>,
    journal: Arc<SessionJournal>,
    dispatcher: Dispatcher,
}

async fn met(tool: Tool, lost: &'static str) -> Met {
    met_with_losses(tool, lost, 1).await
}

async fn met_with_losses(tool: Tool, lost: &'static str, losses: usize) -> Met {
    let scene = Scene::new(tool, lost, losses).await;
    let dispatched = scene.dispatch(AT).await;
    let sent = scene.sent();
    Met {
        dispatched,
        sent,
        store: scene.store,
        journal: scene.journal,
        dispatcher: scene.dispatcher,
    }
}

/// A session in its first turn, and what its call will meet.
struct Scene {
    store: Arc<MemoryStore>,
    journal: Arc<SessionJournal>,
    dispatcher: Dispatcher,
    far: Arc<Far>,
}

impl Scene {
    async fn new(tool: Tool, lost: &'static str, losses: usize) -> Scene {
        let store = Arc::new(MemoryStore::new());
        Scene::of(store, Arc::new(tool), (lost, losses), true).await
    }

    /// The same with any tool, which may keep state or not.
    async fn of(
        store: Arc<MemoryStore>,
        tool: Arc<dyn Runner>,
        (lost, losses): (&'static str, usize),
        state: bool,
    ) -> Scene {
        let clock = Arc::new(Time::default());
        clock.follow();
        let journal = begun(&store, &clock).await;
        let far = Arc::new(Far {
            lost,
            losses,
            prices: AtomicU32::new(100),
            sent: Mutex::default(),
        });
        let grant = Grant::parse("http://far.sim/")
            .and_then(|g| g.with_connect(SocketAddr::from(([127, 0, 0, 1], 9))))
            .expect("a grant");
        let access = Access {
            grants: vec![grant].into(),
            state,
        };
        let time: Arc<dyn Clock> = clock;
        let dispatcher = Dispatcher::new(
            tool,
            Egress::with_transport(Settings::default(), far.clone()),
            time,
            ApprovalRules::none(),
            [("tool".to_owned(), access)].into(),
        );
        Scene {
            store,
            journal,
            dispatcher,
            far,
        }
    }

    async fn dispatch(&self, at: Position) -> Dispatched {
        let dispatched = self.dispatcher.dispatch(&self.journal, at).await;
        dispatched.expect("dispatched")
    }

    /// Paths of the requests that arrived.
    fn sent(&self) -> Vec<String> {
        self.far.sent.lock().expect("lock").clone()
    }
}

/// The answer to the payment is lost, and the tool is run again: it must see the price that it
/// saw, and not the one of today.
#[tokio::test(start_paused = true)]
async fn a_read_is_not_made_again_on_a_rerun() {
    let Met {
        dispatched, sent, ..
    } = met(Tool::SendsWhatItRead, "/pay").await;
    assert_eq!(sent, ["/price", "/pay", "/pay"]);
    let Dispatched::Observed(observation) = dispatched else {
        panic!("{dispatched:?}");
    };
    let observed = observation.observed();
    assert_eq!(observed.disposition, Disposition::Executed);
    assert!(
        matches!(observed.result, CallResult::Ok(_)),
        "{:?}",
        observed.result
    );
}

/// The label of a plain request has its path in it, so another path is another effect: it must not
/// leave while the first is in doubt.
#[tokio::test(start_paused = true)]
async fn a_rerun_that_takes_another_path_sends_nothing() {
    let Met {
        dispatched, sent, ..
    } = met(Tool::TakesAnotherPath, "/pay").await;
    assert_eq!(sent, ["/pay"]);
    assert!(
        matches!(
            dispatched,
            Dispatched::Waits(Wait::Parked(Reason::Nondeterministic))
        ),
        "{dispatched:?}"
    );
}

/// The answer to the first of two plain requests is lost: each goes out under a key of its own, and
/// the first again under its old one.
#[tokio::test(start_paused = true)]
async fn two_plain_posts_to_one_path_have_a_key_each() {
    let Met {
        dispatched,
        sent,
        journal,
        ..
    } = met(Tool::PostsTwice, "/pay").await;
    assert_eq!(sent, ["/pay", "/pay", "/pay"]);
    assert!(
        matches!(dispatched, Dispatched::Observed(_)),
        "{dispatched:?}"
    );
    let effects = journal.read(|s| s.call(AT).map(|c| c.effects.clone()).unwrap_or_default());
    let sent = |nth: &str| {
        let of = effects.iter().find(|e| e.intent.label.ends_with(nth));
        of.map(|e| (e.intent.key.clone(), e.intent.attempt))
    };
    let (Some((first, twice)), Some((second, once))) = (sent("-1"), sent("-2")) else {
        panic!("{effects:?}");
    };
    assert_ne!(first, second);
    assert_eq!((twice, once), (2, 1));
}

/// Answered, and then the tool traps in each run: a person is asked what came of it, and told the truth
/// about what was sent.
#[tokio::test(start_paused = true)]
async fn a_plain_post_behind_which_the_tool_traps_is_sent_once_and_parked_as_what_it_is() {
    let Met {
        dispatched, sent, ..
    } = met(Tool::PostsAndTraps, "").await;
    assert_eq!(sent, ["/pay"]);
    assert!(
        matches!(
            dispatched,
            Dispatched::Waits(Wait::Parked(Reason::DoubtUnresolvable))
        ),
        "{dispatched:?}"
    );
}

/// Under the key of the first request nothing else may leave.
#[tokio::test(start_paused = true)]
async fn a_rerun_that_asks_for_something_else_is_parked() {
    let Met {
        dispatched, sent, ..
    } = met(Tool::ChangesItsMind, "/pay").await;
    assert_eq!(sent, ["/pay"]);
    assert!(
        matches!(
            dispatched,
            Dispatched::Waits(Wait::Parked(Reason::Nondeterministic))
        ),
        "{dispatched:?}"
    );
}

/// Sent three times and never answered, with nothing to show for it and no settling time declared:
/// it may still come, so the model is not told that nothing was done.
#[tokio::test(start_paused = true)]
async fn what_may_still_come_is_not_told_as_undone() {
    let met = met_with_losses(Tool::SendsWhatItRead, "/pay", 9).await;
    assert_eq!(met.sent, ["/price", "/pay", "/pay", "/pay"]);
    assert!(
        matches!(
            met.dispatched,
            Dispatched::Waits(Wait::Parked(Reason::ResendExhausted))
        ),
        "{:?}",
        met.dispatched
    );
}

/// What was sent before, and is not asked for now, is as much another call as something new.
#[tokio::test(start_paused = true)]
async fn a_rerun_that_leaves_an_effect_out_is_parked() {
    let Met {
        dispatched,
        sent,
        store,
        ..
    } = met(Tool::ForgetsTheFirst, "/fee").await;
    assert_eq!(sent, ["/pay", "/fee", "/fee"]);
    assert!(
        matches!(
            dispatched,
            Dispatched::Waits(Wait::Parked(Reason::Nondeterministic))
        ),
        "{dispatched:?}"
    );
    let (records, _) = load(&*store, &session())
        .await
        .expect("read")
        .expect("there");
    let answered = |r: &&stoplog_model::Record| {
        let Event::OutcomeRecorded(o) = &r.event else {
            return false;
        };
        matches!(o.outcome, Outcome::Answered { .. })
    };
    let answered = records.iter().filter(answered).count();
    assert_eq!(answered, 2, "both were answered in the end");
}

/// Personal fields are for the model and the far side: no list and no span has them.
#[tokio::test(start_paused = true)]
async fn a_list_and_a_span_show_nothing_personal() {
    let Met {
        dispatched, store, ..
    } = met(Tool::SendsWhatItRead, "").await;
    assert!(matches!(dispatched, Dispatched::Observed(_)));
    let reading = read_one(&*store, &session(), Part::Whole)
        .await
        .expect("read");
    let summary = reading.rows.iter().find_map(|r| r.summary.clone());
    assert_eq!(
        summary.as_deref(),
        Some(r#"{"id":"1","mail":"[personal]"}"#)
    );

    let (records, _) = load(&*store, &session())
        .await
        .expect("read")
        .expect("there");
    let mut maker = SpanMaker::default();
    let spans = records.iter().map(|r| maker.push(r).expect("spans"));
    let text = format!("{:?}", spans.collect::<Vec<_>>());
    assert!(text.contains("[personal]"), "{text}");
    assert!(!text.contains(PERSONAL), "{text}");
}

/// Answered with success, and not there any more: the loop must not build on it.
#[tokio::test(start_paused = true)]
async fn what_the_far_side_has_lost_is_a_mismatch() {
    let met = met(Tool::SendsWhatItRead, "").await;
    assert!(matches!(met.dispatched, Dispatched::Observed(_)));
    let confirmed = met.dispatcher.confirm(&met.journal, AT).await;
    let waits = confirmed.expect("asked");
    assert_eq!(waits, Some(Wait::Parked(Reason::LedgerMismatch)));
}

/// The model decides on the same act twice more: as before, and with something else in it.
#[tokio::test(start_paused = true)]
async fn other_arguments_never_get_the_stored_result() {
    let met = met(Tool::SendsWhatItRead, "").await;
    let first = match &met.dispatched {
        Dispatched::Observed(o) => o.observed().result.clone(),
        waits => panic!("{waits:?}"),
    };
    let mut seen = Vec::new();
    for (iteration, to) in [(2, PERSONAL), (3, "another@example.com")] {
        let taken = Event::TurnTaken(turn(iteration, to));
        met.journal.append(vec![taken]).await.expect("a turn");
        let at = Position { iteration, ..AT };
        match met.dispatcher.dispatch(&met.journal, at).await {
            Ok(Dispatched::Observed(o)) => seen.push(o.observed().clone()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen[0].disposition, Disposition::Deduplicated);
    assert_eq!(seen[0].result, first);
    assert_eq!(seen[1].disposition, Disposition::Refused);
    let CallResult::Err(error) = &seen[1].result else {
        panic!("{:?}", seen[1].result);
    };
    assert_eq!(error.reason, Some(Reason::KeyConflict));
}
