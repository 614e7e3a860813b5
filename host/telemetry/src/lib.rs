//! Spans: made from events, and from nothing else.
//!
//! * [`Span`] has its required fields without `Option`: a span without a tenant cannot be built.
//! * [`SpanMaker`] folds the records of a session and is the only maker of spans. The same records
//!   give the same spans with the same ids, so whatever holds spans can be rebuilt.
//! * [`Projector`] follows the journal and fills a [`TraceStore`], which people ask; what is not
//!   over yet is in there too, and is never a success.
//! * [`Signals`] counts what is committed, for Prometheus.
//! * [`Ask`] is how people's questions reach it: SQL over documented views, bounded.
//! * [`otlp`] sends them to a collector, with the names of OpenTelemetry's conventions.
//! * [`log`] makes a line of a log at the end of each step and each run.
//! * [`Jsonl`] writes them as lines with the literal field names of requirements 28 to 34.
//!
//! Redaction happens when a span is made (requirement 60): what `x-disclosure` hides never
//! reaches a sink. A call whose host died has a span too: the next run makes it.

mod ask;
mod jsonl;
pub mod log;
mod maker;
mod makers;
pub mod otlp;
mod projector;
mod row;
mod signals;
mod span;
#[cfg(test)]
mod tests;
mod traces;

pub use ask::{Answer, AnswerBounds, Ask, AskError, Cell, Statement};
pub use jsonl::{Jsonl, JsonlError, Rotation};
pub use maker::{SpanMaker, spans};
pub use projector::{Bounds, ProjectError, Projector, Stepped};
pub use row::SpanRow;
pub use signals::{
    Answered, MODELS_MAX, OTHER, Saturation, Signals, SignalsError, TENANTS_MAX, TOOLS_MAX, UNKNOWN,
};
pub use span::{
    Common, Decision, Detail, LlmCall, Outcome, Span, StepStatus, ToolCall, ToolStatus,
};
pub use traces::{
    Advance, BrokenSession, Finished, OpenRun, OpenSpans, Progress, Scope, TraceError, TraceStore,
};
