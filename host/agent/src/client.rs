//! A session whose calls come from a client, and not from a model of ours.
//!
//! Invariants:
//! * each call is a turn of its own, with a number that no other call of the session has;
//! * a call goes the way of every call; the driver only sees to it that a run is there for it;
//! * nothing is begun once the shutdown is asked for.
//!
//! What may be lost with the process is what was staged alone: a turn that had caused nothing. Its
//! client has no answer then, and asks again.

use std::sync::Arc;

use serde_json::Value;
use stoplog_dispatch::{Dispatched, Wait};
use stoplog_journal::{JournalError, SessionJournal};
use stoplog_model::event::{Event, RunStarted};
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, Position, UsdMicros};

use crate::driver::{Driver, Ended, RunSpec, success};

/// What stands where a model's name would.
const MODEL_ID: &str = "client";

/// A call that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCall {
    /// The tool.
    pub tool: String,
    /// Its input.
    pub arguments: Value,
    /// The client's own key of the call, if it gave one.
    pub key: Option<String>,
    /// Name and version of the client's program, as it says itself.
    pub program: String,
}

impl ClientCall {
    fn turn(self, iteration: u32, at_ms: u64) -> Turn {
        Turn {
            iteration,
            text: String::new(),
            calls: vec![Call {
                ordinal: 0,
                tool: self.tool,
                arguments: self.arguments,
                provider_id: self.key,
            }],
            finish: FinishReason::ToolCalls,
            finish_raw: String::new(),
            model_id: MODEL_ID.to_owned(),
            model_version: self.program,
            prompt_version_hash: String::new(),
            temperature_milli: 0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: 0,
            cost: UsdMicros(0),
            price_version: String::new(),
            started_at_ms: at_ms,
            latency_ms: 0,
            failed_attempts: Vec::new(),
        }
    }
}

impl Driver {
    /// Begins the run of a new session of a client. It is durable with what first follows from it.
    pub fn open(&self, journal: &Arc<SessionJournal>, spec: RunSpec) {
        let at_iteration = journal.read(|s| s.current_iteration());
        journal.stage(Event::RunStarted(RunStarted {
            trace_id: spec.trace_id,
            host: spec.host,
            resumed_from: None,
            at_iteration,
            after_crash: false,
        }));
    }

    /// Takes a call as the next turn, as far as it gets. Calls of one session may be under way
    /// beside each other. None: the host is shutting down, and it was not begun.
    pub async fn call(
        &self,
        journal: &Arc<SessionJournal>,
        call: ClientCall,
    ) -> Result<Option<(Position, Dispatched)>, JournalError> {
        if self.is_shutting_down() {
            return Ok(None);
        }
        let at_ms = journal.now_ms();
        let iteration = journal.take_next_turn(|iteration| call.turn(iteration, at_ms));
        let position = Position {
            iteration,
            ordinal: 0,
        };
        let dispatched = self.run_call(journal, position).await?;
        Ok(dispatched.map(|dispatched| (position, dispatched)))
    }

    /// Ends the run of a client's session in which nothing is under way: for good, or until what
    /// a call waits for has come.
    pub async fn end_calls(
        &self,
        journal: &Arc<SessionJournal>,
        wait: Option<Wait>,
    ) -> Result<Ended, JournalError> {
        match wait {
            Some(wait) => self.interrupt(journal, wait).await,
            None => self.end(journal, success(String::new()), None).await,
        }
    }
}
