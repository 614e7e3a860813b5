//! Records to numbers: what each event adds.

use std::io;

use serde_json::Value;
use stoplog_model::effect::Outcome;
use stoplog_model::event::{
    CallResult, Event, Observed, OutcomeRecorded, ProbePurpose, RunEnded, RunOutcome,
    SessionStarted, TrimCause, Verdict,
};
use stoplog_model::outcome::{Disposition, ToolError};
use stoplog_model::turn::{FailedAttempt, Turn};
use stoplog_model::{Reason, Record, SessionId};

use super::Signals;
use super::families::Families;
use super::names::UNKNOWN;

/// What is known of a session that is written to.
pub(super) struct Followed {
    tenant: String,
    /// A client takes its turns: nobody pays for a model, and it has no run that anybody waits for.
    is_clients: bool,
    run: Option<Run>,
}

/// What the run did so far.
struct Run {
    began_ms: u64,
    model_calls: u32,
    tool_calls: u32,
    cost_usd: f64,
}

impl Followed {
    /// A session that begins, or is gone on with.
    pub(super) fn of(started: &SessionStarted) -> (SessionId, Followed) {
        let followed = Followed {
            tenant: started.tenant.to_string(),
            is_clients: started.client.is_some(),
            run: None,
        };
        (started.session.clone(), followed)
    }
}

pub(super) fn started(first: Option<&Record>) -> Option<&SessionStarted> {
    match &first?.event {
        Event::SessionStarted(started) => Some(started),
        _ => None,
    }
}

/// The words of closed lists, so that their series are there before anything happens.
const OUTCOMES: [RunOutcome; 3] = [
    RunOutcome::Success,
    RunOutcome::Error,
    RunOutcome::Interrupt,
];
const TOKEN_KINDS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];
const RESULTS: [&str; 3] = ["success", "error", "timeout"];

/// Makes what needs no name from outside.
pub(super) fn from_the_start(all: &Families) {
    for outcome in OUTCOMES {
        all.run_duration.with_label_values(&[outcome_word(outcome)]);
    }
    for end in ["whole", "left", "cut"] {
        all.streams.with_label_values(&[end]);
    }
    for failure in [
        "malformed_tool_call",
        "truncated_output",
        "refusal",
        "content_filtered",
    ] {
        all.rejected_turns.with_label_values(&[failure]);
    }
    for outcome in ["answered", "not_sent", "unanswered"] {
        all.effects.with_label_values(&[outcome]);
    }
    for purpose in ["recovery", "confirm"] {
        for finding in ["absent", "once", "several", "unknown"] {
            all.probes.with_label_values(&[purpose, finding]);
        }
    }
    for cause in ["share", "refused"] {
        all.trims.with_label_values(&[cause]);
    }
    for after in ["crash", "order"] {
        all.resumes.with_label_values(&[after]);
    }
    for step in ["requested", "approved", "rejected", "expired"] {
        all.approvals.with_label_values(&[step]);
    }
    for reason in [Reason::DoubtUnresolvable, Reason::LedgerMismatch] {
        all.parked.with_label_values(&[reason.code()]);
    }
    for (place, reason) in [
        ("call", Reason::OutputSchema),
        ("http", Reason::HostBusy),
        ("run", Reason::ModelUnavailable),
    ] {
        all.errors.with_label_values(&[place, reason.code()]);
    }
}

fn outcome_word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Success => "success",
        RunOutcome::Error => "error",
        RunOutcome::Interrupt => "interrupt",
    }
}

/// A word of ours as serde writes it.
fn word<T: serde::Serialize>(of: T) -> String {
    match serde_json::to_value(of) {
        Ok(Value::String(word)) => word,
        _ => UNKNOWN.to_owned(),
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

impl Signals {
    /// A session was begun: its series are there before anything of it is counted.
    pub(super) fn begun(&self, followed: &Followed, first: Option<&Record>) {
        let all = &self.all;
        let tenant = self.tenants.label(&followed.tenant);
        let voice = match followed.is_clients {
            true => "client",
            false => "model",
        };
        all.sessions.with_label_values(&[tenant, voice]).inc();
        if !followed.is_clients {
            for outcome in OUTCOMES {
                all.runs.with_label_values(&[tenant, outcome_word(outcome)]);
            }
            for kind in TOKEN_KINDS {
                all.tokens.with_label_values(&[tenant, kind]);
            }
        }
        for pin in started(first).into_iter().flat_map(|s| &s.tools) {
            let tool = self.tools.label(pin.contract.name.as_str());
            all.call_duration.with_label_values(&[tool]);
            for result in RESULTS {
                all.calls
                    .with_label_values(&[tool, Disposition::Executed.as_str(), result]);
            }
        }
    }

    /// Counts a record. Whether the run is over with it: whoever goes on takes the session up anew.
    pub(super) fn count(&self, of: &mut Followed, record: &Record) -> bool {
        let all = &self.all;
        match &record.event {
            Event::RunStarted(started) => {
                of.run = Some(Run {
                    began_ms: record.at_ms,
                    model_calls: 0,
                    tool_calls: 0,
                    cost_usd: 0.0,
                });
                let after = if started.after_crash {
                    "crash"
                } else {
                    "order"
                };
                if started.resumed_from.is_some() {
                    all.resumes.with_label_values(&[after]).inc();
                }
            }
            Event::TurnTaken(turn) => self.turn(of, turn),
            Event::TurnRejected(rejected) => {
                self.turn(of, &rejected.turn);
                let failure = rejected.failure.as_str();
                all.rejected_turns.with_label_values(&[failure]).inc();
            }
            Event::ContextTrimmed(trimmed) => {
                let cause = match trimmed.cause {
                    TrimCause::Share => "share",
                    TrimCause::Refused => "refused",
                };
                all.trims.with_label_values(&[cause]).inc();
            }
            Event::ModelFailed(failed) => self.attempts(of, &failed.attempts, &failed.model_id),
            Event::ApprovalRequested(_) => all.approvals.with_label_values(&["requested"]).inc(),
            Event::ApprovalDecided(decided) => {
                let step = match decided.verdict {
                    Verdict::Approved => "approved",
                    Verdict::Rejected => "rejected",
                    Verdict::Expired => "expired",
                };
                all.approvals.with_label_values(&[step]).inc();
            }
            Event::IntentRecorded(intent) if intent.attempt > 1 => all.resends.inc(),
            Event::OutcomeRecorded(outcome) => self.outcome(outcome),
            Event::Probed(probed) => {
                let purpose = match probed.purpose {
                    ProbePurpose::Recovery => "recovery",
                    ProbePurpose::Confirm => "confirm",
                };
                let labels = [purpose, probed.finding.word()];
                all.probes.with_label_values(&labels).inc();
            }
            Event::Observed(observed) => self.observed(of, observed),
            Event::Parked(parked) => {
                all.parked.with_label_values(&[parked.reason.code()]).inc();
            }
            Event::RunEnded(ended) => {
                self.ended(of, ended, record.at_ms);
                return true;
            }
            _ => {}
        }
        false
    }

    fn turn(&self, of: &mut Followed, turn: &Turn) {
        if of.is_clients {
            return;
        }
        self.attempts(of, &turn.failed_attempts, &turn.model_id);
        let all = &self.all;
        let tenant = self.tenants.label(&of.tenant);
        let name = match turn.model_version.as_str() {
            "" => &turn.model_id,
            version => version,
        };
        let model = self.models.label(name);
        let duration = all.provider_duration.with_label_values(&[model]);
        duration.observe(seconds(turn.latency_ms));
        let finish = word(turn.finish);
        all.finishes.with_label_values(&[model, &finish]).inc();
        let counts = [
            turn.input_tokens,
            turn.output_tokens,
            turn.cache_read_tokens,
            turn.cache_write_tokens,
        ];
        for (kind, count) in TOKEN_KINDS.into_iter().zip(counts) {
            all.tokens.with_label_values(&[tenant, kind]).inc_by(count);
        }
        let share = all.context_share.with_label_values(&[model]);
        if turn.context_window_tokens > 0 {
            let used = (turn.input_tokens + turn.output_tokens) as f64;
            share.observe(used / turn.context_window_tokens as f64);
        }
        // What failed attempts cost is in the turn's cost, and was counted with them.
        let failed: u64 = turn.failed_attempts.iter().map(|a| a.cost.0).sum();
        self.pay(of, model, turn.cost.0.saturating_sub(failed));
        if let Some(run) = &mut of.run {
            run.model_calls += 1;
        }
    }

    fn attempts(&self, of: &mut Followed, attempts: &[FailedAttempt], model: &str) {
        let model = self.models.label(model);
        for failed in attempts {
            let labels = ["provider", &failed.failure.as_str()];
            self.all.errors.with_label_values(&labels).inc();
            self.pay(of, model, failed.cost.0);
            if let Some(run) = &mut of.run {
                run.model_calls += 1;
            }
        }
    }

    fn pay(&self, of: &mut Followed, model: &str, usd_micros: u64) {
        let usd = usd_micros as f64 / 1e6;
        let tenant = self.tenants.label(&of.tenant);
        self.all
            .cost
            .with_label_values(&[tenant, model])
            .inc_by(usd);
        if let Some(run) = &mut of.run {
            run.cost_usd += usd;
        }
    }

    fn outcome(&self, outcome: &OutcomeRecorded) {
        let word = match outcome.outcome {
            Outcome::Answered { .. } => "answered",
            Outcome::NotSent { .. } => "not_sent",
            Outcome::Unanswered { .. } => "unanswered",
        };
        self.all.effects.with_label_values(&[word]).inc();
        let duration = seconds(outcome.latency_ms);
        self.all.effect_duration.observe(duration);
    }

    fn observed(&self, of: &mut Followed, observed: &Observed) {
        let all = &self.all;
        let error = match &observed.result {
            CallResult::Ok(_) => None,
            CallResult::Err(error) => Some(error),
        };
        // The model may write any name: one that is no tool's is no label.
        let tool = match error.and_then(|e| e.reason) {
            Some(Reason::UnknownTool) => UNKNOWN,
            _ => self.tools.label(&observed.tool),
        };
        let result = match error {
            None => "success",
            Some(_) if observed.timed_out => "timeout",
            Some(_) => "error",
        };
        let labels = [tool, observed.disposition.as_str(), result];
        all.calls.with_label_values(&labels).inc();
        if observed.disposition == Disposition::Executed {
            let duration = all.call_duration.with_label_values(&[tool]);
            duration.observe(seconds(observed.latency_ms));
        }
        match &observed.result {
            CallResult::Ok(output) => {
                let bytes = all.output_bytes.with_label_values(&[tool]);
                bytes.observe(json_bytes(output) as f64);
            }
            CallResult::Err(error) => {
                let labels = ["call", code_of(error)];
                all.errors.with_label_values(&labels).inc();
            }
        }
        if let Some(run) = &mut of.run {
            run.tool_calls += 1;
        }
    }

    fn ended(&self, of: &mut Followed, ended: &RunEnded, at_ms: u64) {
        let run = of.run.take();
        if of.is_clients {
            return;
        }
        let all = &self.all;
        let outcome = outcome_word(ended.outcome);
        let tenant = self.tenants.label(&of.tenant);
        all.runs.with_label_values(&[tenant, outcome]).inc();
        if let Some(run) = run {
            let duration = all.run_duration.with_label_values(&[outcome]);
            duration.observe(seconds(at_ms.saturating_sub(run.began_ms)));
            all.run_cost.observe(run.cost_usd);
            all.run_model_calls.observe(f64::from(run.model_calls));
            all.run_tool_calls.observe(f64::from(run.tool_calls));
        }
        if ended.outcome == RunOutcome::Error {
            let failure = ended.failure.map(|f| f.as_str());
            let reason = ended.reason.map_or(failure.as_deref(), |r| Some(r.code()));
            let labels = ["run", reason.unwrap_or("internal")];
            all.errors.with_label_values(&labels).inc();
        }
    }
}

fn code_of(error: &ToolError) -> &'static str {
    error.reason.map_or(error.code.as_str(), |r| r.code())
}

/// How long a value is as JSON, without writing it.
fn json_bytes(value: &Value) -> usize {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut length, value);
    length.0
}
