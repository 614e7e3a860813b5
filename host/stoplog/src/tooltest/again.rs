//! Running an export outside of a session: once more on the record of a call, or with the rights of
//! a look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stoplog_dispatch::StateRecord;
use stoplog_egress::{Egress, Grant, Vetted};
use stoplog_model::class::is_safe_method;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::event::Pin;
use stoplog_model::key::{CallKey, effect_key};
use stoplog_model::port::{CallInfo, Entry, Gate, Job, Ran, Runner};
use stoplog_model::session::CallState;
use stoplog_model::state::{StateGot, StateOp, StateRefused};
use stoplog_model::{Digest, Position, Reason};

use super::trial;
use crate::error::CliError;

/// Longest part of a body that is shown.
const SHOWN_CHARS: usize = 160;

/// The first call of the session.
pub(super) const FIRST: Position = Position {
    iteration: 1,
    ordinal: 0,
};

/// Runs one export as the host would for the first call of a case.
pub(super) async fn run(
    runner: &Arc<dyn Runner>,
    pin: &Pin,
    entry: Entry,
    started_at_ms: u64,
    attempt: u32,
    gate: Arc<dyn Gate>,
) -> Result<Ran, CliError> {
    let (tenant, session) = trial::names()?;
    let contract = &pin.contract;
    let key = CallKey::new(&tenant, &session, FIRST, contract.name.as_str());
    let timeout_ms = u64::from(contract.timeout_ms);
    let job = Job {
        component: pin.component.clone(),
        class: pin.class,
        entry,
        info: CallInfo {
            tenant: tenant.to_string(),
            session: session.to_string(),
            call_id: key.to_string(),
            attempt,
            started_at_ms,
            scheduled_for_ms: None,
            deadline_ms: started_at_ms.saturating_add(timeout_ms),
        },
        timeout_ms,
        seed: key.seed(),
    };
    Ok(runner.run(job, gate).await)
}

/// Looks, and changes nothing: the rights of `probe` and `preview`. It finds nothing in the tool's
/// state: what a call in doubt has written is not kept yet.
pub(super) struct Looking {
    pub(super) state: StateRecord,
    pub(super) egress: Egress,
    pub(super) grants: Vec<Grant>,
    pub(super) secrets: Vec<String>,
    pub(super) deadline: Duration,
}

impl Looking {
    async fn vet(&self, request: &Request) -> Result<Vetted, EffectError> {
        self.egress.vet(request, &self.grants, &self.secrets).await
    }

    async fn look(&self, request: Request) -> Result<Response, EffectError> {
        let vetted = self.vet(&request).await?;
        let safe = vetted
            .into_safe()
            .map_err(|_| EffectError::denied(Reason::MethodRefused, "only safe methods here"))?;
        self.egress.read(safe, self.deadline, &[]).await
    }
}

fn no_permit() -> EffectError {
    EffectError::denied(Reason::MethodRefused, "there is no permit in this run")
}

#[async_trait]
impl Gate for Looking {
    fn key(&self, _: &str) -> String {
        String::new()
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Err("there is no permit in this run".into())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        Err(no_permit())
    }

    async fn fetch(&self, request: Request) -> Result<Response, EffectError> {
        match is_safe_method(&request.method) {
            true => self.look(request).await,
            false => Err(no_permit()),
        }
    }

    async fn state(&self, op: StateOp) -> Result<StateGot, StateRefused> {
        let got = self.state.perform(op).await;
        got.unwrap_or_else(|strayed| Err(StateRefused::Stopped(strayed)))
    }
}

/// Answers from the record of a call. What it does not hold is written down, and refused.
pub(super) struct Record {
    looking: Looking,
    state: StateRecord,
    header_key: String,
    may_write: bool,
    left: Mutex<Left>,
}

struct Left {
    effects: Vec<(Request, Result<Response, EffectError>)>,
    reads: Vec<(Digest, Response)>,
    strayed: Option<Strayed>,
}

/// Where the second run left the way of the first.
#[derive(Debug, Clone)]
pub(super) struct Strayed {
    pub(super) expected: String,
    pub(super) seen: String,
}

/// A request in one line.
pub(super) fn shown(request: &Request) -> String {
    let body = String::from_utf8_lossy(&request.body);
    let short: String = body.chars().take(SHOWN_CHARS).collect();
    let dots = if short.len() < body.len() { "..." } else { "" };
    let line = format!("{} {} {short}{dots}", request.method, request.url);
    line.trim_end().to_owned()
}

impl Record {
    /// The record of a call that ended.
    pub(super) fn of(
        call: &CallState,
        header_key: String,
        may_write: bool,
        looking: Looking,
    ) -> Record {
        let effects = call.effects.iter().filter_map(|effect| {
            let outcome = effect.outcome.as_ref()?;
            Some((effect.intent.request.clone(), outcome.result()))
        });
        let reads = call
            .reads
            .iter()
            .map(|read| (read.fingerprint.clone(), read.response.clone()));
        Record {
            looking,
            state: StateRecord::of(call, FIRST),
            header_key,
            may_write,
            left: Mutex::new(Left {
                effects: effects.collect(),
                reads: reads.collect(),
                strayed: None,
            }),
        }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the run left the record: something else was asked for, or something was not.
    pub(super) fn strayed(&self) -> Option<Strayed> {
        let left = self.left();
        let missing = || {
            let (request, _) = left.effects.first()?;
            Some(Strayed {
                expected: shown(request),
                seen: "the run ended without it".into(),
            })
        };
        left.strayed.clone().or_else(missing)
    }

    async fn effect(&self, request: &Request) -> Result<Response, EffectError> {
        if let Some(recorded) = self.recorded(request) {
            return recorded;
        }
        // What the gate refused has no record; it refuses it again.
        if !self.may_write {
            return Err(no_permit());
        }
        self.looking.vet(request).await?;
        let mut left = self.left();
        let expected = left.effects.first().map_or_else(
            || "no further effect".to_owned(),
            |(request, _)| shown(request),
        );
        let seen = shown(request);
        left.strayed.get_or_insert(Strayed { expected, seen });
        Err(EffectError::denied(
            Reason::Nondeterministic,
            "the first run did not ask for this",
        ))
    }

    fn recorded(&self, request: &Request) -> Option<Result<Response, EffectError>> {
        let mut left = self.left();
        let fingerprint = request.fingerprint();
        let same = left
            .effects
            .iter()
            .position(|(known, _)| known.fingerprint() == fingerprint);
        same.map(|i| left.effects.remove(i).1)
    }

    /// The recorded answer to a read; none when no reads are recorded any more.
    fn read(&self, request: &Request) -> Option<Result<Response, EffectError>> {
        let mut left = self.left();
        if left.reads.is_empty() {
            return None;
        }
        let fingerprint = request.fingerprint();
        let same = left.reads.iter().position(|(f, _)| *f == fingerprint);
        Some(match same {
            Some(i) => Ok(left.reads.remove(i).1),
            None => {
                let strayed = Strayed {
                    expected: "the reads of the first run".into(),
                    seen: shown(request),
                };
                left.strayed.get_or_insert(strayed);
                Err(EffectError::denied(
                    Reason::Nondeterministic,
                    "the first run did not read this",
                ))
            }
        })
    }
}

#[async_trait]
impl Gate for Record {
    fn key(&self, label: &str) -> String {
        effect_key(&self.header_key, label)
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn perform(&self, _: &str, request: Request) -> Result<Response, EffectError> {
        self.effect(&request).await
    }

    async fn fetch(&self, request: Request) -> Result<Response, EffectError> {
        if !is_safe_method(&request.method) {
            return self.effect(&request).await;
        }
        match self.read(&request) {
            Some(recorded) => recorded,
            None => self.looking.look(request).await,
        }
    }

    async fn state(&self, op: StateOp) -> Result<StateGot, StateRefused> {
        match self.state.perform(op).await {
            Ok(got) => got,
            Err(seen) => {
                let strayed = Strayed {
                    expected: "the looks at its state of the first run".into(),
                    seen: seen.clone(),
                };
                self.left().strayed.get_or_insert(strayed);
                Err(StateRefused::Stopped(seen))
            }
        }
    }
}
