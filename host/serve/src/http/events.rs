//! What happens in a session, as server-sent events.
//!
//! Invariants:
//! * what has an id is in the journal: the id is the place of its record, and a client that comes
//!   back with it is told what came behind, whichever host answers;
//! * text is `provisional` until its step is committed: its turn is durable and what it asked for
//!   has settled. Then it is `committed`, or, when it cannot be used, `retracted` (requirement 142).
//!   A client that shows text early can take it back; one that does not waits for `committed`;
//! * arguments and results are redacted as the tool's schema says.
//!
//! A model that streams is heard before its turn is in the journal: `provisional` pieces without an
//! id, with `attempt` and `piece`, both counted from 1. An attempt that broke is `retracted`. A turn
//! that is in the journal says its text once more, whole, and that counts.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::HeaderMap;
use serde_json::{Value, json};
use stoplog_model::event::{CallResult, Event, Observed, RunOutcome};
use stoplog_model::{Position, Reason, Record, Session, SessionId, disclosure};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::App;
use super::runs::session_id;
use crate::caller::Caller;
use crate::limits::{STREAM_KEEP_ALIVE, STREAM_LOOK_EVERY};
use crate::problem::Problem;
use crate::seam::{Found, Heard, Progress, StreamEnd};

/// One event to send.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    name: &'static str,
    data: Value,
    /// The place in the journal, on the last event of a record.
    seq: Option<u64>,
}

pub(super) async fn stream(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = session_id(&id)?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(text) => {
            let seq = text.to_str().ok().and_then(|t| t.parse::<u64>().ok());
            seq.ok_or_else(|| {
                let detail = "Last-Event-ID is no id of this stream";
                Problem::new(Reason::RequestInvalid, detail)
            })?
        }
    };
    let commits = app.host.commits();
    let hearing = app.host.hearing();
    let found = app.host.find(&caller, &id).await?;
    let mut follower = Follower {
        app,
        caller,
        id,
        after,
        commits,
        hearing,
        spoken: Spoken::default(),
        turns: 0,
        look_at: Instant::now(),
        due: VecDeque::new(),
        over: false,
        end: StreamEnd::Left,
    };
    follower.take(&found);
    let events = stream::unfold(follower, |mut follower| async move {
        let told = follower.next().await?;
        Some((Ok::<_, Infallible>(told.sse()), follower))
    });
    let alive = KeepAlive::new().interval(STREAM_KEEP_ALIVE);
    Ok(Stream::new(events).keep_alive(alive).into_response())
}

impl Told {
    fn sse(self) -> Sse {
        let event = Sse::default().event(self.name).data(self.data.to_string());
        match self.seq {
            Some(seq) => event.id(seq.to_string()),
            None => event,
        }
    }
}

/// A client that follows a session.
///
/// Dropped before its end by who serves it: the client is gone.
struct Follower {
    app: App,
    caller: Caller,
    id: SessionId,
    /// The last record that was told.
    after: u64,
    commits: broadcast::Receiver<SessionId>,
    hearing: broadcast::Receiver<Heard>,
    /// What was heard of the turn that is being written.
    spoken: Spoken,
    /// Turns that are in the journal.
    turns: u32,
    /// When it looks at the journal, whoever says nothing.
    look_at: Instant,
    due: VecDeque<Told>,
    over: bool,
    end: StreamEnd,
}

/// One attempt of a turn, as far as it was heard.
#[derive(Debug, Default)]
struct Spoken {
    iteration: u32,
    attempt: u32,
    pieces: u32,
    text: String,
}

impl Spoken {
    /// What to tell of something heard; nothing for a piece of what is settled.
    fn hear(&mut self, heard: Heard, turns: u32) -> Option<Told> {
        if heard.iteration <= turns {
            return None;
        }
        let at = (heard.iteration, heard.attempt);
        if (self.iteration, self.attempt) != at {
            *self = Spoken {
                iteration: at.0,
                attempt: at.1,
                ..Spoken::default()
            };
        }
        let (status, text) = match heard.text {
            Some(text) => {
                self.pieces += 1;
                self.text.push_str(&text);
                ("provisional", text)
            }
            None => ("retracted", std::mem::take(&mut self.text)),
        };
        let data = json!({
            "iteration": at.0, "status": status, "text": text,
            "attempt": at.1, "piece": self.pieces,
        });
        Some(event("text", data))
    }
}

/// What makes a follower go on.
enum Wake {
    /// The journal may have more.
    Look,
    /// A model writes.
    Heard(Heard),
}

impl Follower {
    /// The next event; none when the session is at rest, or the service ends.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.due.pop_front() {
                return Some(told);
            }
            if self.over {
                self.end = StreamEnd::Whole;
                return None;
            }
            if self.look().await.is_none() {
                self.end = StreamEnd::Cut;
                return None;
            }
        }
    }

    /// Waits for what comes next, and takes it; none when the session cannot be read, or the service
    /// ends.
    async fn look(&mut self) -> Option<()> {
        let end = self.app.end.clone();
        match end.run_until_cancelled(self.wake()).await? {
            Wake::Look => {
                let found = self.app.host.find(&self.caller, &self.id).await.ok()?;
                self.take(&found);
                self.look_at = Instant::now() + STREAM_LOOK_EVERY;
            }
            Wake::Heard(heard) => self.due.extend(self.spoken.hear(heard, self.turns)),
        }
        Some(())
    }

    async fn wake(&mut self) -> Wake {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.look_at) => return Wake::Look,
                told = self.commits.recv() => match told {
                    Ok(session) if session != self.id => {}
                    _ => return Wake::Look,
                },
                Ok(heard) = self.hearing.recv() => {
                    if heard.session == self.id {
                        return Wake::Heard(heard);
                    }
                }
            }
        }
    }

    fn take(&mut self, found: &Found) {
        self.due.extend(events(&found.records, self.after));
        self.after = self.after.max(found.session.last_seq);
        self.turns = found.session.iterations();
        if found.progress == Progress::AtRest {
            self.over = true;
            let status = found.session.status().as_str();
            let data = json!({"status": status});
            self.due.push_back(Told {
                name: "rest",
                data,
                seq: None,
            });
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.app.host.streamed(self.end);
    }
}

/// The events of the records behind one.
fn events(records: &[Record], after: u64) -> Vec<Told> {
    let Some((first, rest)) = records.split_first() else {
        return Vec::new();
    };
    let Ok(mut session) = Session::begin(first) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for record in rest {
        if session.apply(record).is_err() {
            break;
        }
        if record.seq <= after {
            continue;
        }
        let mut told = of_record(record, &session);
        if let Some(last) = told.last_mut() {
            last.seq = Some(record.seq);
        }
        all.append(&mut told);
    }
    all
}

fn event(name: &'static str, data: Value) -> Told {
    Told {
        name,
        data,
        seq: None,
    }
}

fn text(iteration: u32, status: &str, text: &str) -> Told {
    let data = json!({"iteration": iteration, "status": status, "text": text});
    event("text", data)
}

fn of_record(record: &Record, session: &Session) -> Vec<Told> {
    match &record.event {
        Event::RunStarted(run) => vec![event(
            "run_started",
            json!({"trace_id": run.trace_id, "at_iteration": run.at_iteration, "after_crash": run.after_crash}),
        )],
        Event::TurnTaken(turn) => {
            let mut told = Vec::new();
            if !turn.text.is_empty() {
                told.push(text(turn.iteration, "provisional", &turn.text));
            }
            for call in &turn.calls {
                let position = Position {
                    iteration: turn.iteration,
                    ordinal: call.ordinal,
                };
                let shown = match session.pin(&call.tool) {
                    Some(pin) => disclosure::redact(&call.arguments, &pin.contract.input_schema),
                    None => Value::Null,
                };
                let data = json!({"position": position.to_string(), "tool": call.tool, "arguments": shown});
                told.push(event("call", data));
            }
            told
        }
        Event::TurnRejected(rejected) if !rejected.turn.text.is_empty() => {
            vec![text(
                rejected.turn.iteration,
                "retracted",
                &rejected.turn.text,
            )]
        }
        Event::ApprovalRequested(asked) => vec![event(
            "approval",
            json!({"position": asked.position.to_string(), "id": asked.id, "tool": asked.tool, "expires_at_ms": asked.expires_at_ms}),
        )],
        Event::Parked(parked) => vec![event(
            "parked",
            json!({"position": parked.position.to_string(), "reason": parked.reason.code()}),
        )],
        Event::Observed(observed) => of_observed(observed, session),
        Event::RunEnded(ended) => {
            let mut told = Vec::new();
            // An answer is committed with the end of its run, and with nothing before.
            let last = session.turns.last().filter(|t| t.calls.is_empty());
            if let (RunOutcome::Success, Some(turn)) = (ended.outcome, last) {
                told.push(text(turn.turn.iteration, "committed", &turn.turn.text));
            }
            let data = json!({"outcome": ended.outcome, "reason": ended.reason.map(|r| r.code()), "message": ended.message});
            told.push(event("run_ended", data));
            told
        }
        _ => Vec::new(),
    }
}

fn of_observed(observed: &Observed, session: &Session) -> Vec<Told> {
    let output = match (&observed.result, session.pin(&observed.tool)) {
        (CallResult::Ok(output), Some(pin)) => {
            json!({"output": disclosure::redact(output, &pin.contract.output_schema)})
        }
        (CallResult::Ok(_), None) => Value::Null,
        (CallResult::Err(error), _) => {
            json!({"error": error.reason.map_or(error.code.as_str(), |r| r.code())})
        }
    };
    let position = observed.position;
    let mut told = vec![event(
        "result",
        json!({
            "position": position.to_string(), "tool": observed.tool, "result": output,
            "disposition": observed.disposition.as_str(), "latency_ms": observed.latency_ms,
        }),
    )];
    // With the last call of its turn, what the model said before it is settled.
    let turn = session.turn(position.iteration);
    if let Some(turn) = turn
        && !turn.turn.text.is_empty()
        && turn.calls.iter().all(|c| c.observed.is_some())
    {
        told.push(text(position.iteration, "committed", &turn.turn.text));
    }
    told
}
