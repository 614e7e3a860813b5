//! One call of a client, from its request to what came of it.

use std::time::Duration;

use std::sync::Arc;

use stoplog_agent::ClientCall;
use stoplog_dispatch::{Dispatched, Wait};
use stoplog_journal::{ActKeyRow, ActKeyState, codec, load, read_one};
use stoplog_model::event::Observed;
use stoplog_model::key::ActKey;
use stoplog_model::port::Clock;
use stoplog_model::session::CallState;
use stoplog_model::{Digest, Position, Reason, Session, SessionId};
use stoplog_policy::readable::make_readable;
use stoplog_serve::{Answer, Ask, Caller, Came, Refusal, Waiting};
use tokio::time::Instant;

use super::lane::Who;
use super::{Front, Repeat, journal_refusal, lock, refusal};
use crate::host::SystemClock;

/// How long a repeat waits for a call that the crew goes on with.
const GOES_ON_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks, also when nobody told it of a commit.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What a client is told to wait for a call under way, milliseconds.
const UNDER_WAY_RETRY_MS: u64 = 1000;

/// Calls without a key that are remembered as waiting: as many people do not wait for one host.
const MAX_WAITING: usize = 4096;

/// A client's key, while its call is under way.
struct Claimed<'a> {
    front: &'a Front,
    key: ActKey,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        lock(&self.front.keys).remove(&self.key);
    }
}

/// What is known of a call in the journal.
enum Known {
    Observed(Box<Observed>),
    Waits(Waiting),
    /// Nobody waits for anything: the crew goes on with it.
    GoesOn,
}

impl Front {
    /// Has a call done, or tells what came of it before.
    pub(super) async fn call(
        self: &Arc<Self>,
        caller: &Caller,
        ask: Ask,
    ) -> Result<Answer, Refusal> {
        let who = Who {
            tenant: caller.tenant.clone(),
            user: caller.name.clone(),
            conversation: ask.conversation.clone(),
        };
        let args_digest = Digest::of_json(&ask.arguments);
        let _claimed = match &ask.key {
            None => None,
            Some(key) => {
                let key = ActKey::of_client(&caller.tenant, &caller.name, key);
                let claimed = self.claim(key)?;
                if let Some(answer) = self.done_before(&claimed.key, &ask, &args_digest).await? {
                    return Ok(answer);
                }
                Some(claimed)
            }
        };
        let repeat = Repeat {
            who,
            tool: ask.tool.clone(),
            args_digest,
        };
        let place = lock(&self.waiting).get(&repeat).cloned();
        if let (None, Some((session, position))) = (&ask.key, place) {
            return self.repeated(&repeat, &session, position).await;
        }
        self.begin_call(caller, ask, repeat).await
    }

    /// Takes a client's key for the time of its call.
    fn claim(&self, key: ActKey) -> Result<Claimed<'_>, Refusal> {
        if lock(&self.keys).insert(key.clone()) {
            return Ok(Claimed { front: self, key });
        }
        let message = format!("the call under key `{}` is under way", key.key);
        let refusal = Refusal::new(Reason::KeyInFlight, message);
        Err(refusal.retry_after(UNDER_WAY_RETRY_MS))
    }

    /// What came of the call under a key, if there was one. The arguments are compared before
    /// anything else.
    async fn done_before(
        &self,
        key: &ActKey,
        ask: &Ask,
        args_digest: &Digest,
    ) -> Result<Option<Answer>, Refusal> {
        let row = self.store().act_key(&key.scope, &key.key).await;
        let row = row.map_err(|e| journal_refusal(e.into()))?;
        let Some(row) = row else { return Ok(None) };
        if row.tool != ask.tool || row.args_digest != args_digest.as_str() {
            let message = format!("key `{}` was given to another call", key.key);
            return Err(Refusal::new(Reason::KeyConflict, message));
        }
        let session = SessionId::new(row.session.clone());
        let session = session.map_err(|e| Refusal::new(Reason::JournalCorrupt, e.to_string()))?;
        let position = Position {
            iteration: row.iteration,
            ordinal: row.ordinal,
        };
        match (row.state, &row.kept) {
            (ActKeyState::InFlight, None) => {
                return self.goes_on(&session, position).await.map(Some);
            }
            // Its session failed, and was pruned: nobody knows any more.
            (ActKeyState::InFlight, Some(_)) => {
                let message = format!("the call under key `{}` was never over", key.key);
                return Err(Refusal::new(Reason::KeyInFlight, message));
            }
            (ActKeyState::Done, _) => {}
        }
        let observed = self.stored(&session, &row).await?;
        let answer = Answer {
            session,
            position: position.to_string(),
            trace_id: None,
            came: observed_before(observed),
        };
        Ok(Some(answer))
    }

    /// The observation that a claim points at, or that was kept of it.
    async fn stored(&self, session: &SessionId, row: &ActKeyRow) -> Result<Observed, Refusal> {
        let found = match &row.kept {
            Some(body) => codec::kept_observation(body).map(Some),
            None => {
                let part = stoplog_journal::Part::Event(row.seq);
                let reading = read_one(self.store(), session, part).await;
                reading.and_then(|reading| codec::observed_at(session, &reading, row.seq))
            }
        };
        let found = found.map_err(|e| journal_refusal(e.into()))?;
        found.ok_or_else(|| {
            let message = format!("the result of `{}` is not where the journal says", row.key);
            Refusal::new(Reason::JournalCorrupt, message)
        })
    }

    /// A call without a key, asked for again while it waited.
    async fn repeated(
        &self,
        repeat: &Repeat,
        session: &SessionId,
        position: Position,
    ) -> Result<Answer, Refusal> {
        let answer = self.goes_on(session, position).await?;
        if let Came::Observed { .. } = answer.came {
            // It was told: the next one is another call.
            lock(&self.waiting).remove(repeat);
        }
        Ok(answer)
    }

    /// A call that was begun before: what came of it, or what it waits for. If it waits for nothing
    /// the crew goes on with it, and this waits for the crew.
    async fn goes_on(&self, session: &SessionId, position: Position) -> Result<Answer, Refusal> {
        let mut commits = self.host.journal.commits.0.subscribe();
        let until = Instant::now() + GOES_ON_PATIENCE;
        loop {
            let loaded = load(self.store(), session).await.map_err(journal_refusal)?;
            let Some((_, known)) = loaded else {
                let message = format!("session {session} is gone");
                return Err(Refusal::new(Reason::SessionNotFound, message));
            };
            let came = match known_of(&known, position) {
                Known::Observed(observed) => observed_before(*observed),
                Known::Waits(waiting) => Came::Waits(waiting),
                Known::GoesOn if Instant::now() < until => {
                    if !self.host.at_work.has(session) {
                        self.line.put(session);
                    }
                    let changed = async {
                        while commits
                            .recv()
                            .await
                            .is_ok_and(|changed| changed != *session)
                        {}
                    };
                    let look = tokio::time::timeout(LOOK_EVERY, changed);
                    if self.host.shutdown.run_until_cancelled(look).await.is_none() {
                        return Err(shutting_down());
                    }
                    continue;
                }
                Known::GoesOn => {
                    let message = format!("call {position} of session {session} is under way");
                    let refusal = Refusal::new(Reason::KeyInFlight, message);
                    return Err(refusal.retry_after(UNDER_WAY_RETRY_MS));
                }
            };
            let run = known.last_run();
            return Ok(Answer {
                session: session.clone(),
                position: position.to_string(),
                trace_id: run.map(|r| r.started.trace_id.clone()),
                came,
            });
        }
    }

    /// A call that nobody has asked for before.
    async fn begin_call(
        self: &Arc<Self>,
        caller: &Caller,
        ask: Ask,
        repeat: Repeat,
    ) -> Result<Answer, Refusal> {
        let inside = self.enter(&repeat.who, caller).await.map_err(refusal)?;
        let lane = inside.lane();
        let call = ClientCall {
            tool: ask.tool,
            arguments: ask.arguments,
            key: ask.key.clone(),
            program: ask.program,
        };
        let called = self.host.driver.call(&lane.journal, call).await;
        let answer = |position: Position, came| Answer {
            session: lane.session.clone(),
            position: position.to_string(),
            trace_id: Some(lane.trace_id.clone()),
            came,
        };
        let (wait, result) = match called {
            Err(error) => {
                inside.leave(None, true);
                return Err(journal_refusal(error));
            }
            Ok(None) => (None, Err(shutting_down())),
            Ok(Some((position, Dispatched::Observed(observation)))) => {
                let came = Came::Observed {
                    observed: Box::new(observation.observed().clone()),
                    replayed: false,
                };
                (None, Ok(answer(position, came)))
            }
            Ok(Some((_, Dispatched::Waits(Wait::ShuttingDown)))) => {
                (Some(Wait::ShuttingDown), Err(shutting_down()))
            }
            Ok(Some((position, Dispatched::Waits(wait)))) => {
                let known = lane.journal.read(|s| known_of(s, position));
                let Known::Waits(waiting) = known else {
                    inside.leave(Some(wait), false);
                    return Err(Refusal::internal("a call waits, and nothing says for what"));
                };
                if ask.key.is_none() {
                    self.remember(repeat, &lane.session, position);
                }
                (Some(wait), Ok(answer(position, Came::Waits(waiting))))
            }
        };
        inside.leave(wait, false);
        result
    }

    fn remember(&self, repeat: Repeat, session: &SessionId, position: Position) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_WAITING
            && let Some(other) = waiting.keys().next().cloned()
        {
            waiting.remove(&other);
        }
        waiting.insert(repeat, (session.clone(), position));
    }

    /// Takes up what a host before this one left waiting or half done, so that a repeat finds it.
    /// Reads are not: who asks for one later wants to know what is so then.
    pub(crate) fn take_up(&self, session: &Session) {
        let Some(client) = &session.started.client else {
            return;
        };
        for (position, call) in session.calls() {
            let writes = session
                .pin(&call.call.tool)
                .is_some_and(|p| p.class.writes());
            if call.observed.is_some() || call.call.provider_id.is_some() || !writes {
                continue;
            }
            let repeat = Repeat {
                who: Who {
                    tenant: session.started.tenant.clone(),
                    user: session.started.user.clone(),
                    conversation: client.conversation.clone(),
                },
                tool: call.call.tool.clone(),
                args_digest: Digest::of_json(&call.call.arguments),
            };
            self.remember(repeat, &session.started.session, position);
        }
    }
}

fn observed_before(observed: Observed) -> Came {
    Came::Observed {
        observed: Box::new(observed),
        replayed: true,
    }
}

fn shutting_down() -> Refusal {
    let message = "the host was told to stop: ask again when it is back";
    Refusal::new(Reason::ShuttingDown, message).retry_after(UNDER_WAY_RETRY_MS)
}

fn known_of(session: &Session, position: Position) -> Known {
    let Some(call) = session.call(position) else {
        return Known::GoesOn;
    };
    if let Some(parked) = &call.parked {
        return Known::Waits(Waiting::Parked {
            id: format!("{}/{position}", session.started.session),
            reason: parked.reason,
        });
    }
    if let Some(observed) = &call.observed {
        return Known::Observed(Box::new(observed.clone()));
    }
    match pending(call) {
        Some(waiting) => Known::Waits(waiting),
        None => Known::GoesOn,
    }
}

/// The approval that a call waits for, while there is time to decide.
fn pending(call: &CallState) -> Option<Waiting> {
    let state = call.approval.as_ref()?;
    let approval = state
        .is_pending(SystemClock.now_ms())
        .then_some(&state.approval)?;
    Some(Waiting::Approval {
        id: approval.id.clone(),
        preview: make_readable(&approval.preview),
        expires_at_ms: approval.expires_at_ms,
    })
}
