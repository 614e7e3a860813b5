//! What a host writes: sessions side by side, with turns, reads, claims, large answers, a snapshot.
//!
//! Invariant: nothing here knows of faults. An append that fails ends the work of its session, and
//! what was acknowledged before is told to [`Told`].

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;
use stoplog_journal::{JournalError, Opening, SessionJournal, Store};
use stoplog_model::event::{
    CallResult, CallStarted, Event, IntentRecorded, Observed, OutcomeRecorded, ReadRecorded,
    RunEnded, RunOutcome, RunStarted, SessionStarted,
};
use stoplog_model::money::UsdMicros;
use stoplog_model::outcome::Disposition;
use stoplog_model::port::{Clock, Unwatched};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{
    ActKey, Call, Digest, Outcome, Position, Request, Response, SessionId, Tenant, TraceId,
};

/// The sessions; a mark names one by its place here.
pub(crate) const SESSIONS: [&str; 4] = ["a", "b", "c", "old"];

/// A mark is the place of the session times this, plus the acknowledged `seq`.
pub(crate) const MARK_SPAN: u64 = 100_000;

/// The mark of a pruning that was acknowledged.
pub(crate) const PRUNED: u64 = 99 * MARK_SPAN;

/// Time stands still: what is written depends on nothing else than the work.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

/// Told of what was acknowledged, as a mark.
pub(crate) type Told = Arc<dyn Fn(u64) + Send + Sync>;

/// A folder in memory where there is one: what was synced is decided by the VFS, and not by it.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a folder")
}

pub(crate) fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("an id")
}

pub(crate) fn opening(store: Arc<dyn Store>) -> Opening {
    Opening {
        store,
        clock: Arc::new(Still),
        watch: Arc::new(Unwatched),
        listeners: Vec::new(),
        holder: "host".into(),
        holders_are_dead: true,
    }
}

/// How much one session does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// Turns.
    pub(crate) turns: u32,
    /// Reads of each turn: each is an event, all of a turn are one commit.
    pub(crate) reads: u32,
    /// Size of each answer, bytes.
    pub(crate) answer_bytes: usize,
    /// Whether the session is over then.
    pub(crate) ends: bool,
}

/// A session that is open, and how far it was acknowledged.
pub(crate) struct Work {
    pub(crate) journal: SessionJournal,
    place: u64,
    told: Told,
}

impl Work {
    /// Opens the session, or begins it.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        name: &str,
        told: Told,
    ) -> Result<Work, JournalError> {
        let place = SESSIONS.iter().position(|s| *s == name).expect("a session");
        let journal = match SessionJournal::open(opening(store.clone()), &id(name)).await {
            Err(JournalError::NotFound(_)) => {
                SessionJournal::create(opening(store), started(name)).await?
            }
            opened => opened?,
        };
        let place = place as u64;
        let work = Work {
            journal,
            place,
            told,
        };
        work.acknowledge();
        if work.journal.read(|s| s.last_run().is_none()) {
            work.append(vec![run_started()]).await?;
        }
        Ok(work)
    }

    fn acknowledge(&self) {
        let last_seq = self.journal.read(|s| s.last_seq);
        (self.told)(self.place * MARK_SPAN + last_seq);
    }

    /// One commit.
    pub(crate) async fn append(&self, events: Vec<Event>) -> Result<(), JournalError> {
        self.journal.append(events).await?;
        self.acknowledge();
        Ok(())
    }

    /// So many turns, each with one effect.
    pub(crate) async fn turns(&self, amount: Amount) -> Result<(), JournalError> {
        for _ in 0..amount.turns {
            // An earlier host may have died within a turn: that one is brought to its end first.
            self.finish_turn(amount).await?;
            let iteration = self.journal.read(|s| s.iterations()) + 1;
            let at = Position {
                iteration,
                ordinal: 0,
            };
            let started_at_ms = NOW_MS;
            let started = Event::CallStarted(CallStarted {
                position: at,
                started_at_ms,
            });
            let reads = (0..amount.reads).map(|index| read(at, index));
            let mut events = vec![turn(iteration), started];
            events.extend(reads);
            self.append(events).await?;
            self.append(vec![self.intent(at)]).await?;
            self.finish_turn(amount).await?;
        }
        if amount.ends {
            self.append(vec![run_ended()]).await?;
        }
        Ok(())
    }

    async fn finish_turn(&self, amount: Amount) -> Result<(), JournalError> {
        let open = self.journal.read(|s| {
            let mut open = s.calls().filter(|(_, c)| c.observed.is_none());
            open.next().map(|(at, c)| (at, c.effects.is_empty()))
        });
        let Some((at, is_bare)) = open else {
            return Ok(());
        };
        if is_bare {
            self.append(vec![self.intent(at)]).await?;
        }
        let name = self.name();
        let unsettled = self.journal.read(|s| {
            let call = s.call(at).expect("the call");
            call.effects.iter().any(|e| e.outcome.is_none())
        });
        let mut events = Vec::new();
        if unsettled {
            events.push(outcome(at));
        }
        events.push(observed(&name, at, amount.answer_bytes));
        self.append(events).await
    }

    fn name(&self) -> String {
        SESSIONS[self.place as usize].to_owned()
    }

    fn intent(&self, at: Position) -> Event {
        let request = Request {
            method: "POST".into(),
            url: "http://far.sim/".into(),
            headers: vec![],
            body: vec![b'x'; 300],
        };
        Event::IntentRecorded(IntentRecorded {
            position: at,
            label: String::new(),
            attempt: 1,
            key: format!("{}/{at}", self.name()),
            act_key: Some(act(&self.name(), at)),
            args_digest: Digest::of(b"args"),
            fingerprint: request.fingerprint(),
            request,
            approval: None,
            one_of_several: false,
        })
    }
}

/// All of these sessions at once, to the end of their amounts. The first error, if there was one.
pub(crate) async fn side_by_side(
    store: &Arc<dyn Store>,
    amounts: &[(&str, Amount)],
    told: &Told,
) -> Result<(), JournalError> {
    let one = |(name, amount): &(&str, Amount)| {
        let (name, amount) = ((*name).to_owned(), *amount);
        let (store, told) = (store.clone(), told.clone());
        async move {
            let work = Work::open(store, &name, told).await?;
            let done = work.turns(amount).await;
            if let Err(error) = done {
                return Err(refuses_from_now_on(&work, error).await);
            }
            work.journal.close().await
        }
    };
    let results: Vec<_> = join_all(amounts.iter().map(one)).await;
    results.into_iter().collect()
}

/// After a failed commit the same journal takes nothing more, whatever the disk does by then.
async fn refuses_from_now_on(work: &Work, error: JournalError) -> JournalError {
    let again = work.journal.append(vec![run_started()]).await;
    assert!(
        matches!(again, Err(JournalError::Closed(_))),
        "{again:?} after {error}"
    );
    let again = work.journal.flush().await;
    assert!(
        matches!(again, Err(JournalError::Closed(_))),
        "{again:?} after {error}"
    );
    error
}

/// The act that a call claims.
pub(crate) fn act(session: &str, at: Position) -> ActKey {
    ActKey {
        scope: "tenant/acme".into(),
        key: format!("{session}_{at}"),
    }
}

fn started(name: &str) -> SessionStarted {
    SessionStarted {
        session: id(name),
        tenant: Tenant::new("acme").expect("a tenant"),
        user: "u".into(),
        feature: "f".into(),
        task: "t".into(),
        system_prompt: String::new(),
        max_iterations: 1000,
        tools: vec![],
        client: None,
    }
}

/// A run begins.
pub(crate) fn run_started() -> Event {
    Event::RunStarted(RunStarted {
        trace_id: TraceId::new("a".repeat(32)).expect("an id"),
        host: "host".into(),
        resumed_from: None,
        at_iteration: 1,
        after_crash: false,
        remote: None,
    })
}

fn run_ended() -> Event {
    Event::RunEnded(RunEnded {
        outcome: RunOutcome::Success,
        answer: "done".into(),
        reason: None,
        failure: None,
        message: String::new(),
    })
}

fn turn(iteration: u32) -> Event {
    Event::TurnTaken(Turn {
        iteration,
        text: "I look, and then I pay.".into(),
        calls: vec![Call {
            ordinal: 0,
            tool: "pay".into(),
            arguments: json!({ "n": iteration }),
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
        started_at_ms: NOW_MS,
        latency_ms: 1,
        failed_attempts: vec![],
    })
}

fn answer(bytes: usize) -> Response {
    Response {
        status: 200,
        headers: vec![],
        body: vec![b'y'; bytes],
    }
}

fn read(position: Position, index: u32) -> Event {
    Event::ReadRecorded(ReadRecorded {
        position,
        index,
        fingerprint: Digest::of(b"read"),
        response: answer(40),
    })
}

fn outcome(position: Position) -> Event {
    Event::OutcomeRecorded(OutcomeRecorded {
        position,
        label: String::new(),
        attempt: 1,
        outcome: Outcome::Answered {
            response: answer(20),
        },
        latency_ms: 1,
    })
}

fn observed(session: &str, position: Position, answer_bytes: usize) -> Event {
    Event::Observed(Observed {
        position,
        tool: "pay".into(),
        disposition: Disposition::Executed,
        result: CallResult::Ok(json!(format!("{position} {}", "z".repeat(answer_bytes)))),
        key: format!("{session}/{position}"),
        act_key: Some(act(session, position)),
        args_digest: Digest::of(b"args"),
        started_at_ms: NOW_MS,
        latency_ms: 1,
        timed_out: false,
        log: String::new(),
        annotations: vec![],
        spans: vec![],
        state: Vec::new(),
    })
}
