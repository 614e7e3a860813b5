//! Runs that are begun and followed, traces, and whether all is ready.

use std::time::Duration;

use serde_json::{Value, json};
use stoplog_journal::{JournalError, SessionJournal, load};
use stoplog_model::event::SessionStarted;
use stoplog_model::port::Clock;
use stoplog_model::session::Status;
use stoplog_model::{Digest, Reason, SessionId};
use stoplog_serve::{Admitted, Caller, Condition, Found, Progress, Refusal, RunAsk};
use tokio::time::Instant;

use super::{Front, journal_refusal, lock, refusal};
use crate::error::CliError;
use crate::host::SystemClock;

/// What a client that finds the line full is told to wait, milliseconds.
const BUSY_RETRY_MS: u64 = 5000;

/// How long a failed model makes the host unready, milliseconds: long enough to be seen, short
/// enough that it is asked again.
const MODEL_FAILED_MS: u64 = 30_000;

/// The session that `/ready` writes nothing to: it takes its lease, and gives it back.
const READY: &str = "stoplog_ready";

/// How often it is tried.
const READY_EVERY: Duration = Duration::from_secs(1);

/// How long that may take.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Whether a run has its place from now on, or had it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Taken,
    Had,
}

impl Front {
    /// Begins a session, durably, and puts it in line.
    pub(super) async fn admit(&self, caller: &Caller, ask: RunAsk) -> Result<Admitted, Refusal> {
        let id = run_id(caller, ask.key.as_deref()).map_err(refusal)?;
        let plain = self.started(caller, id.clone());
        let started = SessionStarted {
            user: ask.user.unwrap_or(plain.user),
            feature: ask.feature.unwrap_or(plain.feature),
            task: ask.task,
            system_prompt: self.plan.system_prompt.clone(),
            ..plain
        };
        let asked = (
            started.task.clone(),
            started.user.clone(),
            started.feature.clone(),
        );
        let place = self.take_place(caller, &id)?;
        let begun = self.begin_run(started).await;
        if begun.is_err() && place == Place::Taken {
            lock(&self.runs).remove(&id);
        }
        match begun {
            Ok(()) => {
                if let Some(remote) = ask.trace {
                    self.host.begun_by(&id, remote);
                }
                self.line.put(&id);
                let before = false;
                Ok(Admitted {
                    session: id,
                    before,
                })
            }
            Err(JournalError::Exists(_)) => {
                let loaded = load(self.store(), &id).await.map_err(journal_refusal)?;
                let same = loaded.is_some_and(|(_, s)| {
                    (&s.started.task, &s.started.user, &s.started.feature)
                        == (&asked.0, &asked.1, &asked.2)
                });
                match same {
                    true => Ok(Admitted {
                        session: id,
                        before: true,
                    }),
                    false => {
                        let message = "this key was given to another run";
                        Err(Refusal::new(Reason::KeyConflict, message))
                    }
                }
            }
            Err(error) => Err(journal_refusal(error)),
        }
    }

    /// Counts a run in, or says that the tenant has too many.
    fn take_place(&self, caller: &Caller, id: &SessionId) -> Result<Place, Refusal> {
        let mut runs = lock(&self.runs);
        if runs.contains_key(id) {
            return Ok(Place::Had);
        }
        let own = runs.values().filter(|t| **t == caller.tenant).count();
        if own >= self.plan.runs {
            let message = format!("tenant {} has {own} runs in line or at work", caller.tenant);
            return Err(Refusal::new(Reason::HostBusy, message).retry_after(BUSY_RETRY_MS));
        }
        runs.insert(id.clone(), caller.tenant.clone());
        Ok(Place::Taken)
    }

    async fn begin_run(&self, started: SessionStarted) -> Result<(), JournalError> {
        let opening = self.host.journal.opening(self.host.watch.clone());
        let session = SessionJournal::create(opening, started).await?;
        session.close().await
    }

    /// A session of the caller's tenant.
    pub(super) async fn find(&self, caller: &Caller, id: &SessionId) -> Result<Found, Refusal> {
        let loaded = load(self.store(), id).await.map_err(journal_refusal)?;
        let own = loaded.filter(|(_, s)| s.started.tenant == caller.tenant);
        let Some((records, session)) = own else {
            let message = format!("there is no session {id}");
            return Err(Refusal::new(Reason::SessionNotFound, message));
        };
        let progress = match session.status() == Status::Active || self.host.at_work.has(id) {
            true => Progress::AtWork,
            false => Progress::AtRest,
        };
        Ok(Found {
            records,
            session,
            progress,
        })
    }

    pub(super) async fn trace(&self, caller: &Caller, what: &str) -> Result<Vec<Value>, Refusal> {
        let found = stoplog_query::find(self.store(), what).await;
        let found = found.map_err(journal_refusal)?;
        let own = found.filter(|l| l.session.started.tenant == caller.tenant);
        let Some(loaded) = own else {
            let message = format!("there is no session and no trace {what}");
            return Err(Refusal::new(Reason::SessionNotFound, message));
        };
        let spans = stoplog_telemetry::spans(&loaded.records);
        let spans = spans.map_err(|e| journal_refusal(e.into()))?;
        let is_session = loaded.session.started.session.as_str() == what;
        let told = spans
            .iter()
            .filter(|s| is_session || s.common.trace_id.as_str() == what);
        Ok(told.map(|span| json!(span)).collect())
    }

    /// The four conditions of being ready (requirement 87a).
    pub(in crate::host) async fn ready(&self) -> Vec<Condition> {
        let condition = |name, problem: Option<String>, fine: String| Condition {
            name,
            holds: problem.is_none(),
            said: problem.unwrap_or(fine),
        };
        let written = self.unwritable().await;
        let now_ms = SystemClock.now_ms();
        let failed = lock(&self.model_failed_at_ms)
            .filter(|at| now_ms.saturating_sub(*at) < MODEL_FAILED_MS)
            .map(|_| "the last run could not ask it".to_owned());
        let draining = self.host.shutdown.is_cancelled();
        vec![
            condition("journal", written, "it commits".into()),
            condition("tools", None, format!("{} loaded", self.tools.len())),
            condition("model", failed, self.plan.model.clone()),
            condition(
                "accepting",
                draining.then(|| "the host was told to stop".to_owned()),
                "not draining".into(),
            ),
        ]
    }

    /// Why the journal cannot be written, if it cannot. Anybody may ask, so it is tried once a second
    /// at most, however many do.
    async fn unwritable(&self) -> Option<String> {
        let mut known = self.written.lock().await;
        if let Some((at, why)) = &*known
            && at.elapsed() < READY_EVERY
        {
            return why.clone();
        }
        let why = match tokio::time::timeout(READY_WITHIN, self.can_write()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no commit within {READY_WITHIN:?}")),
        };
        *known = Some((Instant::now(), why.clone()));
        why
    }

    /// Commits something that means nothing.
    async fn can_write(&self) -> Result<(), String> {
        let id = SessionId::new(READY).map_err(|e| e.to_string())?;
        let (store, now_ms) = (self.store(), SystemClock.now_ms());
        let lease = store.lease(&id, READY, now_ms, 1, true).await;
        let lease = lease.map_err(|e| e.to_string())?;
        store.release(&lease).await.map_err(|e| e.to_string())
    }
}

/// The session of a run: named by the client's key, so that the journal itself sees to it that there
/// is one.
fn run_id(caller: &Caller, key: Option<&str>) -> Result<SessionId, CliError> {
    let id = match key {
        Some(key) => {
            let parts = [caller.tenant.as_str(), &caller.name, key];
            let digest = Digest::of_parts("stoplog/run1", &parts);
            format!("run_{}", &digest.as_str()[..32])
        }
        None => format!("run_{}", uuid::Uuid::now_v7().simple()),
    };
    SessionId::new(id).map_err(|e| CliError::internal(e.to_string()))
}
