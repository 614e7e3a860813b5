//! A model that answers at once, always with the next call, and notes when it was asked.
//!
//! The time between two questions is one call, whole: the turn made durable, the call run, its
//! observation made durable, the next question put together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stoplog_llm::{Model, ModelError, TurnRequest};
use stoplog_model::port::Clock;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, UsdMicros};
use tokio::sync::Barrier;

use crate::tools::Kind;

tokio::task_local! {
    /// The pace of the session that this task runs.
    pub(crate) static PACE: Arc<Pace>;
}

/// What one session does, and when it did it.
pub(crate) struct Pace {
    /// Which call, again and again.
    pub(crate) kind: Kind,
    /// Start of the names of its calls: they must be new in the whole run.
    pub(crate) prefix: String,
    /// How many calls.
    pub(crate) calls: u32,
    /// Passed before the first call and behind the last by all sessions of a round at once, so
    /// that neither beginnings nor ends are measured.
    pub(crate) gate: Arc<Barrier>,
    marks: Mutex<Vec<Instant>>,
}

impl Pace {
    /// A pace that nothing was noted of yet.
    pub(crate) fn new(kind: Kind, prefix: String, calls: u32, gate: Arc<Barrier>) -> Pace {
        Pace {
            kind,
            prefix,
            calls,
            gate,
            marks: Mutex::default(),
        }
    }

    /// Notes that a call begins, or that the last one ended.
    pub(crate) fn mark(&self) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.push(Instant::now());
    }

    /// What was noted.
    pub(crate) fn marks(&self) -> Vec<Instant> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.clone()
    }

    /// The name of a call, of the same length for each.
    pub(crate) fn name(&self, iteration: u32) -> String {
        format!("{}-{iteration:05}", self.prefix)
    }
}

/// One round: how long all calls took together, and each of them.
pub(crate) struct Round {
    /// From the first call's beginning to the last one's end.
    pub(crate) window: Duration,
    /// Each call, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Round {
    /// What the sessions of a round noted.
    pub(crate) fn of(paces: &[Arc<Pace>]) -> Round {
        let marks: Vec<Vec<Instant>> = paces.iter().map(|pace| pace.marks()).collect();
        let first = marks.iter().filter_map(|m| m.first()).min();
        let last = marks.iter().filter_map(|m| m.last()).max();
        let window = match (first, last) {
            (Some(first), Some(last)) => last.duration_since(*first),
            _ => Duration::ZERO,
        };
        let between = |m: &Vec<Instant>| -> Vec<Duration> {
            m.windows(2).map(|w| w[1].duration_since(w[0])).collect()
        };
        let mut latencies: Vec<Duration> = marks.iter().flat_map(between).collect();
        latencies.sort();
        Round { window, latencies }
    }

    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.window.as_secs_f64()
    }

    /// The middle latency, microseconds.
    pub(crate) fn p50_us(&self) -> f64 {
        self.percentile_us(50)
    }

    /// A latency that so many of a hundred are below, microseconds.
    pub(crate) fn percentile_us(&self, hundredth: usize) -> f64 {
        let at = self.latencies.len() * hundredth / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .map_or(0.0, |d| d.as_secs_f64() * 1e6)
    }
}

/// The model.
pub(crate) struct Paced;

#[async_trait]
impl Model for Paced {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let pace = PACE.get();
        let is_over = request.iteration > pace.calls;
        if request.iteration == 1 {
            pace.gate.wait().await;
        }
        pace.mark();
        if is_over {
            pace.gate.wait().await;
        }
        let call = Call {
            ordinal: 0,
            tool: pace.kind.tool().to_owned(),
            arguments: pace.kind.arguments(&pace.name(request.iteration)),
            provider_id: Some(format!("call_{:05}", request.iteration)),
        };
        Ok(Turn {
            iteration: request.iteration,
            text: if is_over {
                "done".into()
            } else {
                String::new()
            },
            calls: if is_over { Vec::new() } else { vec![call] },
            finish: if is_over {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            },
            finish_raw: if is_over { "stop" } else { "tool_calls" }.to_owned(),
            model_id: "paced".to_owned(),
            model_version: "paced-1".to_owned(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: 0,
            input_tokens: 1000,
            output_tokens: 50,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: 0,
            price_version: String::new(),
            cost: UsdMicros(1000),
            started_at_ms: clock.now_ms(),
            latency_ms: 0,
            failed_attempts: Vec::new(),
        })
    }

    fn model_id(&self) -> &str {
        "paced"
    }
}
