//! One run of a call's tool, and what is believed afterwards.

use std::sync::Arc;
use std::time::Duration;

use stoplog_admission::Place;
use stoplog_journal::JournalError;
use stoplog_model::Reason;
use stoplog_model::event::{CallResult, CallStarted, Event, Observed};
use stoplog_model::key::CallKey;
use stoplog_model::outcome::{Aftermath, Disposition, ErrorCode, ToolError};
use stoplog_model::port::{CallInfo, Entry, Job, Ran, Returned, RunError};
use stoplog_policy::{Clearance, aftermath};

use crate::dispatcher::{Dispatched, Dispatcher, Passage};
use crate::gate::{CallGate, Parts, Rights, Stop};

/// How a run treats effects that are in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Recorded answers are replayed; there is no doubt.
    Replay,
    /// Effects in doubt are sent again under their keys.
    SendAgain,
}

/// How a run ended.
pub(crate) enum Executed {
    /// The call is observed, or parked.
    Over(Dispatched),
    /// Nobody knows whether an effect was done; the tool's error, if it gave one.
    Doubt(Option<ToolError>),
}

impl Dispatcher {
    /// Runs one export with these rights, in this place. Comes back when its requests are over too.
    pub(crate) async fn run_entry(
        &self,
        passage: &Passage,
        entry: Entry,
        rights: Rights,
        place: Place,
    ) -> (Ran, CallGate) {
        let contract = &passage.pin.contract;
        let now_ms = self.clock.now_ms();
        let timeout_ms = u64::from(contract.timeout_ms);
        let (tenant, session, trace) = passage.journal.read(|s| {
            let context = s
                .last_run()
                .map(|run| run.started.context_of_call(passage.position));
            let headers = context.map(|c| c.headers(&s.started.session));
            (
                s.started.tenant.clone(),
                s.started.session.clone(),
                headers.unwrap_or_default(),
            )
        });
        let tool = &passage.call.call.tool;
        let call_key = CallKey::new(&tenant, &session, passage.position, tool);
        let gate = CallGate::new(
            Parts {
                journal: passage.journal.clone(),
                egress: self.egress.clone(),
                access: self.access.get(tool).cloned().unwrap_or_default(),
                secrets: contract.secrets.clone(),
                class: passage.pin.class,
                position: passage.position,
                header_key: passage.header_key.clone(),
                deadline: Duration::from_millis(timeout_ms),
                trace,
                call: &passage.call,
                may_write: entry.may_write(),
            },
            rights,
        );
        let started_at_ms = passage.call.started_at_ms.unwrap_or(now_ms);
        let job = Job {
            component: passage.pin.component.clone(),
            class: passage.pin.class,
            entry,
            info: CallInfo {
                tenant: tenant.to_string(),
                session: session.to_string(),
                call_id: call_key.to_string(),
                attempt: passage.call.starts + 1,
                started_at_ms,
                scheduled_for_ms: None,
                deadline_ms: started_at_ms.saturating_add(timeout_ms),
            },
            timeout_ms,
            seed: call_key.seed(),
        };
        let ran = self.runner.run(job, Arc::new(gate.clone())).await;
        gate.drain().await;
        drop(place);
        (ran, gate)
    }

    /// Runs `call`, and observes, parks, or reports doubt.
    pub(crate) async fn execute(
        &self,
        passage: &mut Passage,
        clearance: Clearance,
        mode: Mode,
        place: Place,
    ) -> Result<Executed, JournalError> {
        let began_ms = self.clock.now_ms();
        let started_at_ms = passage.call.started_at_ms.unwrap_or(began_ms);
        passage.call.started_at_ms = Some(started_at_ms);
        let started = CallStarted {
            position: passage.position,
            started_at_ms,
        };
        passage.journal.stage(Event::CallStarted(started));
        let rights = if passage.pin.class.writes() {
            Rights::Write {
                clearance,
                send_again: mode == Mode::SendAgain,
            }
        } else {
            Rights::Look
        };
        let input = passage.call.call.arguments.to_string();
        let entry = Entry::Call { input };
        let (ran, gate) = self.run_entry(passage, entry, rights, place).await;

        match gate.stop() {
            Some(Stop::Journal(error)) => return Err(error),
            Some(Stop::ActTaken(row)) => {
                return Ok(Executed::Over(self.observe_claimed(passage, &row).await?));
            }
            Some(Stop::Diverged(what)) => {
                let parked = self.park(passage, Reason::Nondeterministic, what).await?;
                return Ok(Executed::Over(parked));
            }
            None => {}
        }
        if let Some(label) = gate.missed() {
            let what = format!("the effect `{label}` was sent before, and is not asked for now");
            let parked = self.park(passage, Reason::Nondeterministic, what).await?;
            return Ok(Executed::Over(parked));
        }

        let (result, timed_out, own_word) = self.result_of(passage, &ran);
        let effects = gate.effects();
        let claimed = match &result {
            CallResult::Ok(_) => Aftermath::Untouched,
            CallResult::Err(error) => error.aftermath,
        };
        let believed = aftermath::believed(claimed, &effects);
        let result = match result {
            CallResult::Err(error) => {
                // A tool that failed on its own feet behind a change has lost the output; so has
                // one whose effect nobody knows. Both are cured, and neither is told as it is.
                let lost = believed == Aftermath::Changed && !own_word;
                if believed == Aftermath::Unknown || lost {
                    return Ok(Executed::Doubt(Some(error)));
                }
                CallResult::Err(error.with_aftermath(believed))
            }
            ok if believed == Aftermath::Unknown => {
                tracing::warn!(position = %passage.position, "the tool hid an effect in doubt");
                drop(ok);
                return Ok(Executed::Doubt(None));
            }
            ok => ok,
        };
        // An error keeps nothing, whatever was written before it.
        let state = match &result {
            CallResult::Ok(_) => gate.state_writes().await,
            CallResult::Err(_) => Vec::new(),
        };
        let observed = Observed {
            state,
            latency_ms: self.clock.now_ms().saturating_sub(began_ms),
            timed_out,
            log: ran.log,
            annotations: ran.annotations,
            spans: ran.spans,
            ..self.observed(passage, Disposition::Executed, result, started_at_ms)
        };
        let observation = passage.journal.observe(observed).await?;
        Ok(Executed::Over(Dispatched::Observed(observation)))
    }

    /// The frame of an observation of this call.
    pub(crate) fn observed(
        &self,
        passage: &Passage,
        disposition: Disposition,
        result: CallResult,
        started_at_ms: u64,
    ) -> Observed {
        Observed {
            position: passage.position,
            tool: passage.call.call.tool.clone(),
            disposition,
            result,
            key: passage.header_key.clone(),
            act_key: passage.act_key.clone(),
            args_digest: passage.args_digest.clone(),
            started_at_ms,
            latency_ms: 0,
            timed_out: false,
            log: String::new(),
            annotations: Vec::new(),
            spans: Vec::new(),
            state: Vec::new(),
        }
    }

    /// The result as the model would see it, whether time ran out, and whether an error is the
    /// tool's own word (and not the host's about the tool).
    fn result_of(&self, passage: &Passage, ran: &Ran) -> (CallResult, bool, bool) {
        let host = |code, reason, message: String| {
            (
                CallResult::Err(ToolError::of_host(code, reason, message)),
                false,
                false,
            )
        };
        match &ran.result {
            Ok(Returned::Text(text)) => match self.schemas.output(&passage.pin, text) {
                Ok(value) => (CallResult::Ok(value), false, true),
                Err(problem) => host(ErrorCode::Internal, Reason::OutputSchema, problem),
            },
            Ok(Returned::Error(error)) => (CallResult::Err(error.clone()), false, true),
            Ok(Returned::Finding(_)) => host(
                ErrorCode::Internal,
                Reason::OutputSchema,
                "call gave a finding".into(),
            ),
            Err(error @ RunError::Timeout(_)) => {
                let (result, _, own) = host(
                    ErrorCode::Transient,
                    Reason::SandboxTimeout,
                    error.to_string(),
                );
                (result, true, own)
            }
            Err(error @ RunError::Limit(_)) => {
                host(ErrorCode::Internal, Reason::SandboxLimit, error.to_string())
            }
            Err(error @ RunError::Trapped(_)) => {
                host(ErrorCode::Internal, Reason::SandboxTrap, error.to_string())
            }
            Err(error @ RunError::NotLoaded(_)) => {
                host(ErrorCode::Internal, Reason::ToolMissing, error.to_string())
            }
        }
    }
}
