//! Sends what is over to a collector, in the order in which it ended.
//!
//! Invariants:
//! * the place up to which spans were taken is in the trace store, and moves only behind an answer
//!   that says so; a kill in between sends a batch again, with the same ids: nothing is lost, and who
//!   counts by span id counts nothing twice;
//! * what is not sent yet waits in the trace store, and for as long as spans are kept there; in memory
//!   is one batch;
//! * nobody waits for it but who ends the host, and not for long.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answer::{Said, Verdict};
use super::encode::Encoding;
use crate::span::Span;
use crate::traces::{TraceError, TraceStore};

/// The name of the place in the trace store.
pub const OTLP: &str = "otlp";

/// Spans of a batch: as many as the SDKs of OpenTelemetry send at once.
const BATCH: u32 = 512;

/// Bytes of a batch's spans as lines, about twice those of the request; one span may be larger.
/// Collectors take 4 MiB over gRPC.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// First pause behind a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Carries a request to the collector, once, and brings its answer.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends it.
    async fn send(&self, request: Vec<u8>) -> Said;
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// There is nothing to send.
    Idle,
    /// So many spans are with the collector, and so many it will not take.
    Sent {
        /// Taken.
        taken: u64,
        /// Not taken, and not sent again.
        rejected: u64,
        /// Why not.
        why: String,
    },
    /// Try again behind this pause.
    Later {
        /// How long.
        pause: Duration,
        /// Why.
        why: String,
    },
}

/// Sends spans.
pub struct Exporter {
    traces: Arc<dyn TraceStore>,
    wire: Arc<dyn Wire>,
    encoding: Encoding,
    failures: u32,
    /// Spans of the next batch; fewer when the collector found one too large.
    batch: u32,
}

impl Exporter {
    /// Over an open trace store. What ended before somebody first exported from it is not sent: the
    /// place is noted here, before anything else ends.
    pub async fn begin(
        traces: Arc<dyn TraceStore>,
        wire: Arc<dyn Wire>,
        encoding: Encoding,
    ) -> Result<Exporter, TraceError> {
        if traces.sent(OTLP).await?.is_none() {
            let last = traces.last_place().await?;
            traces.note_sent(OTLP, last).await?;
        }
        Ok(Exporter {
            traces,
            wire,
            encoding,
            failures: 0,
            batch: BATCH,
        })
    }

    /// Sends one batch.
    pub async fn step(&mut self) -> Result<Export, TraceError> {
        let after = self.traces.sent(OTLP).await?.unwrap_or(0);
        let mut spans: Vec<Span> = Vec::new();
        let mut place = after;
        let mut unreadable = 0;
        let mut bytes = 0;
        for finished in self.traces.finished(after, self.batch).await? {
            if bytes > 0 && bytes + finished.body.len() > BATCH_BYTES {
                break;
            }
            bytes += finished.body.len();
            place = finished.place;
            match serde_json::from_str(&finished.body) {
                Ok(span) => spans.push(span),
                // A line of another version: the trace store is being made anew.
                Err(_) => unreadable += 1,
            }
        }
        if place == after {
            return Ok(Export::Idle);
        }
        if spans.is_empty() {
            self.traces.note_sent(OTLP, place).await?;
            return Ok(sent(0, unreadable, "their lines cannot be read".to_owned()));
        }
        let said = self.wire.send(self.encoding.bytes(&spans)).await;
        let count = spans.len() as u64;
        match said.verdict() {
            Verdict::Taken { rejected, why } => {
                let rejected = rejected.min(count);
                self.taken(place).await?;
                Ok(sent(count - rejected, rejected + unreadable, why))
            }
            Verdict::Again { after, why } => Ok(self.later(after, why)),
            Verdict::Smaller(why) if spans.len() > 1 => {
                self.batch = (self.batch.min(count as u32) / 2).max(1);
                Ok(Export::Later {
                    pause: Duration::ZERO,
                    why,
                })
            }
            Verdict::Smaller(why) | Verdict::Never(why) => {
                self.taken(place).await?;
                Ok(sent(0, count + unreadable, why))
            }
        }
    }

    async fn taken(&mut self, place: u64) -> Result<(), TraceError> {
        self.failures = 0;
        self.batch = self.batch.saturating_mul(2).min(BATCH);
        self.traces.note_sent(OTLP, place).await
    }

    fn later(&mut self, after: Option<Duration>, why: String) -> Export {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        let pause = after.unwrap_or_else(|| doubled.min(LAST_PAUSE));
        Export::Later { pause, why }
    }
}

fn sent(taken: u64, rejected: u64, why: String) -> Export {
    Export::Sent {
        taken,
        rejected,
        why,
    }
}
