//! Spans to a request of OTLP (`ExportTraceServiceRequest`, opentelemetry-proto 1.x).
//!
//! Invariant: pure. The same spans give the same bytes, with the ids that they have everywhere else.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Wired, SpanFlags, Status,
};
use prost::Message;
use stoplog_model::{SpanId, TraceId};

use super::attributes::{Attributes, told};
use crate::span::{Detail, Span};

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;

/// What of the operator's is in every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// `service.name`.
    pub service_name: String,
    /// `service.version`.
    pub service_version: String,
    /// Further attributes of the resource, such as `deployment.environment.name`.
    pub resource: Vec<(String, String)>,
    /// Whether idempotency keys are told. The conventions say that they should not be; people on call
    /// find an act at the far side by them.
    pub idempotency_keys: bool,
}

impl Encoding {
    /// The message.
    pub fn request(&self, spans: &[Span]) -> ExportTraceServiceRequest {
        let mut attributes = Attributes::default();
        attributes.text("service.name", &self.service_name);
        attributes.text("service.version", &self.service_version);
        for (name, value) in &self.resource {
            attributes.text(name, value);
        }
        let resource = Resource {
            attributes: attributes.into_inner(),
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "stoplog".to_owned(),
            version: self.service_version.clone(),
            ..InstrumentationScope::default()
        };
        let spans = spans.iter().map(|span| self.span(span)).collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    /// The same, as it is sent.
    pub fn bytes(&self, spans: &[Span]) -> Vec<u8> {
        self.request(spans).encode_to_vec()
    }

    fn span(&self, span: &Span) -> Wired {
        let common = &span.common;
        let told = told(span, self.idempotency_keys);
        let kind = match span.detail {
            Detail::LlmCall(_) => SpanKind::Client,
            _ => SpanKind::Internal,
        };
        let start = common.timestamp_ms.saturating_mul(NANOS);
        let took = common.latency_ms.saturating_mul(NANOS);
        let (parent, is_remote) = parent(span);
        let seen = common.remote_trace_id.as_ref().unwrap_or(&common.trace_id);
        let mut flags = SpanFlags::ContextHasIsRemoteMask as u32 | SAMPLED;
        if is_remote {
            flags |= SpanFlags::ContextIsRemoteMask as u32;
        }
        Wired {
            trace_id: bytes(seen.as_str()),
            span_id: bytes(common.span_id.as_str()),
            parent_span_id: parent.map(|id| bytes(id.as_str())).unwrap_or_default(),
            flags,
            name: told.name,
            kind: kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(took),
            attributes: told.attributes.into_inner(),
            links: link(span).into_iter().collect(),
            status: Some(match told.error {
                Some(message) => Status {
                    code: StatusCode::Error.into(),
                    message,
                },
                None => Status::default(),
            }),
            ..Wired::default()
        }
    }
}

/// The W3C flag: every span is told.
const SAMPLED: u32 = 1;

/// The parent, and whether it is somebody else's.
fn parent(span: &Span) -> (Option<SpanId>, bool) {
    match &span.detail {
        Detail::FinalResponse {
            remote_parent_span_id: Some(remote),
            ..
        } => (Some(remote.clone()), true),
        _ => (span.common.parent_span_id.clone(), false),
    }
}

/// A run that went on with a session is linked to the run before.
fn link(span: &Span) -> Option<Link> {
    let Detail::FinalResponse {
        resumed_from: Some(own),
        resumed_from_remote,
        ..
    } = &span.detail
    else {
        return None;
    };
    let seen: &TraceId = resumed_from_remote.as_ref().unwrap_or(own);
    let mut attributes = Attributes::default();
    attributes.text("stoplog.link.kind", "resumed_from");
    Some(Link {
        trace_id: bytes(seen.as_str()),
        span_id: bytes(SpanId::of_run(own).as_str()),
        attributes: attributes.into_inner(),
        flags: SAMPLED,
        ..Link::default()
    })
}

/// The bytes of an id. Ids are hex digits, an even number of them.
fn bytes(hex: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(text, 16).unwrap_or_default()
    };
    hex.as_bytes().chunks(2).map(pair).collect()
}
