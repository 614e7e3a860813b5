//! Golden signals: latency, traffic, errors and saturation, counted as things become durable, and
//! written in Prometheus' text format. `docs/metrics.md` says what each name means.
//!
//! Invariants:
//! * what is counted is committed: counters are a fold of the records that this process wrote, and
//!   begin at zero with it;
//! * nothing here blocks a call: counting is atomic additions, and a lock that is held for a look into
//!   a map; what has to be asked for (saturation) is handed in by whoever asks;
//! * the number of series has an end ([`TENANTS_MAX`], [`TOOLS_MAX`], [`MODELS_MAX`]); no session, no
//!   trace, no user, and no word of a model or a client is ever a label.
//!
//! What may go wrong: the process dies, and what it counted is gone. The next one begins at zero, as
//! every reader of counters knows; what has to be exact is asked of the trace store.

mod families;
mod fold;
mod names;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Registry, TextEncoder};
use stoplog_journal::OnCommit;
use stoplog_model::event::SessionStarted;
use stoplog_model::{Record, SessionId};

use families::Families;
use fold::Followed;
use names::Names;
pub use names::{MODELS_MAX, OTHER, TENANTS_MAX, TOOLS_MAX, UNKNOWN};

/// A family is declared wrongly, or its text cannot be written: a defect of this file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metrics: {0}")]
pub struct SignalsError(String);

impl From<prometheus::Error> for SignalsError {
    fn from(error: prometheus::Error) -> SignalsError {
        SignalsError(error.to_string())
    }
}

/// An answer to an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The route as it is written in the OpenAPI document; empty for none.
    pub route: &'a str,
    /// The method, in capitals.
    pub method: &'a str,
    /// Its status.
    pub status: u16,
    /// The reason code of a problem.
    pub reason: Option<&'a str>,
    /// Until its head was there.
    pub took: Duration,
}

/// How full the host is, and what waits: asked for when it is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Saturation {
    /// Calls that have a place.
    pub calls: u32,
    /// Places for calls.
    pub calls_limit: u32,
    /// Calls in line, by tenant.
    pub calls_waiting: Vec<(String, u32)>,
    /// Requests that have a place at the doors.
    pub requests: u32,
    /// Requests in line there, by tenant.
    pub requests_waiting: Vec<(String, u32)>,
    /// Sessions at work.
    pub runs: u32,
    /// Sessions that may be at work.
    pub runs_limit: u32,
    /// Sessions that could go on and are not at work.
    pub runs_waiting: u32,
    /// Batches that wait for the journal's writer.
    pub writer_waiting: u32,
    /// Instances in the sandbox.
    pub instances: u32,
    /// Instances that it has room for.
    pub instances_limit: u32,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Sessions that wait for an approval, and for how long the first of them has, milliseconds.
    pub approvals: (u32, u64),
    /// The same of sessions with a parked call.
    pub parked: (u32, u64),
    /// Conditions of being ready.
    pub ready: Vec<(&'static str, bool)>,
    /// Tokens that a tenant may use in a day.
    pub tokens_per_day: Option<u64>,
    /// Dollars that 95 of 100 runs may cost.
    pub run_cost_usd: Option<f64>,
    /// Resident memory of the process, bytes.
    pub memory_bytes: u64,
    /// Its open files.
    pub open_files: u64,
}

/// See the module.
pub struct Signals {
    registry: Registry,
    all: Families,
    tenants: Names,
    tools: Names,
    models: Names,
    /// Sessions that this process writes to.
    followed: Mutex<HashMap<SessionId, Followed>>,
    /// Held while gauges are set and read: two who ask at once would mix.
    asked: Mutex<()>,
}

impl Signals {
    /// All at zero, of a process of this version that began at this time.
    pub fn new(version: &str, began_ms: u64) -> Result<Signals, SignalsError> {
        let registry = Registry::new();
        let all = Families::new(&registry)?;
        all.build.with_label_values(&[version]).set(1);
        all.started.set(began_ms as f64 / 1e3);
        fold::from_the_start(&all);
        Ok(Signals {
            registry,
            all,
            tenants: Names::new(TENANTS_MAX),
            tools: Names::new(TOOLS_MAX),
            models: Names::new(MODELS_MAX),
            followed: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    /// Takes up a session that is there, so that what comes has its tenant. Nothing that it did
    /// before is counted: whoever wrote that has.
    pub fn prime(&self, started: &SessionStarted) {
        let (id, followed) = Followed::of(started);
        self.of_all_sessions().insert(id, followed);
    }

    /// A commit of the journal took so long.
    pub fn committed_in(&self, took: Duration) {
        self.all.commit_duration.observe(took.as_secs_f64());
    }

    /// A request was answered.
    pub fn answered(&self, answered: Answered<'_>) {
        let route = match answered.route {
            "" => UNKNOWN,
            route => route,
        };
        // A client may send any word as its method.
        let method = match answered.method {
            known @ ("GET" | "POST" | "DELETE" | "HEAD" | "OPTIONS" | "PUT" | "PATCH") => known,
            _ => OTHER,
        };
        let status = answered.status.to_string();
        let labels = [route, method, &status];
        self.all.requests.with_label_values(&labels).inc();
        let first_byte = self.all.first_byte.with_label_values(&[route]);
        first_byte.observe(answered.took.as_secs_f64());
        if let Some(reason) = answered.reason {
            self.all.errors.with_label_values(&["http", reason]).inc();
        }
    }

    /// An event stream ended: `whole`, `left` by its client, or `cut` by the host.
    pub fn stream_ended(&self, end: &'static str) {
        self.all.streams.with_label_values(&[end]).inc();
    }

    /// Everything, as text.
    pub fn text(&self, now: &Saturation) -> Result<String, SignalsError> {
        let _one = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(now);
        let mut text = String::new();
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn set(&self, now: &Saturation) {
        let all = &self.all;
        for (gauge, value) in [
            (&all.calls_held, now.calls),
            (&all.calls_limit, now.calls_limit),
            (&all.requests_held, now.requests),
            (&all.runs_held, now.runs),
            (&all.runs_limit, now.runs_limit),
            (&all.runs_waiting, now.runs_waiting),
            (&all.writer_waiting, now.writer_waiting),
            (&all.instances, now.instances),
            (&all.instances_limit, now.instances_limit),
            (&all.approvals_waiting, now.approvals.0),
            (&all.parked_waiting, now.parked.0),
        ] {
            gauge.set(i64::from(value));
        }
        all.approvals_oldest.set(now.approvals.1 as f64 / 1e3);
        all.parked_oldest.set(now.parked.1 as f64 / 1e3);
        for (gauge, bytes) in [
            (&all.journal_bytes, now.journal_bytes),
            (&all.memory, now.memory_bytes),
            (&all.files, now.open_files),
        ] {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        // Tenants come and go: who has nobody in line any more is not told of.
        for (family, waiting) in [
            (&all.calls_waiting, &now.calls_waiting),
            (&all.requests_waiting, &now.requests_waiting),
        ] {
            family.reset();
            family.with_label_values(&[OTHER]).set(0);
            for (tenant, n) in waiting {
                let tenant = self.tenants.label(tenant);
                family.with_label_values(&[tenant]).add(i64::from(*n));
            }
        }
        for (condition, holds) in &now.ready {
            all.ready
                .with_label_values(&[condition])
                .set(i64::from(*holds));
        }
        if let Some(tokens) = now.tokens_per_day {
            let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
            all.token_budget.with_label_values::<&str>(&[]).set(tokens);
        }
        if let Some(usd) = now.run_cost_usd {
            all.run_cost_target.with_label_values::<&str>(&[]).set(usd);
        }
    }

    fn of_all_sessions(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnCommit for Signals {
    fn committed(&self, session: &SessionId, records: &[Record]) {
        let mut followed = self.of_all_sessions();
        if let Some((id, begun)) = fold::started(records.first()).map(Followed::of) {
            self.begun(&begun, records.first());
            followed.insert(id, begun);
        }
        let Some(of) = followed.get_mut(session) else {
            return;
        };
        let mut is_over = false;
        for record in records {
            is_over = self.count(of, record);
        }
        if is_over {
            followed.remove(session);
        }
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
