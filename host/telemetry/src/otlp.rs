//! Spans to a collector, over OTLP.
//!
//! * [`Encoding`] makes a request of spans: the conventions of OpenTelemetry for generative AI where
//!   there are any, `stoplog.*` for what has none.
//! * [`Exporter`] sends what is over, in batches, from a place that survives kills.
//! * [`Wire`] is the edge: who carries the bytes is handed in, so nothing here opens a connection.
//!
//! The SDK of OpenTelemetry is not used: it makes ids of its own, keeps what it has not sent in
//! memory, and its exporters open connections and hide what the collector said. Of its project are the
//! messages.

mod answer;
mod attributes;
mod encode;
mod exporter;

pub use answer::{Said, Verdict};
pub use encode::Encoding;
pub use exporter::{Export, Exporter, OTLP, Wire};
