//! Golden files of both encoders: a span of every kind as a line, and as a collector gets it. The lines
//! are in both; `STOPLOG_BLESS=1` writes what is expected anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message;

use crate::otlp::Encoding;
use crate::span::Span;

fn golden(name: &str) -> PathBuf {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/golden");
    golden.join(name)
}

fn check(name: &str, got: &[u8]) {
    if std::env::var_os("STOPLOG_BLESS").is_some() {
        fs::write(golden(name), got).expect("written");
    }
    let expected = fs::read(golden(name)).expect("a golden file");
    let same = expected == got;
    assert!(
        same,
        "{name} is not what it was:\n{}",
        String::from_utf8_lossy(got)
    );
}

fn spans() -> Vec<Span> {
    let text = fs::read_to_string(golden("spans.jsonl")).expect("a golden file");
    let parsed = text.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().expect("spans")
}

fn encoding(idempotency_keys: bool) -> Encoding {
    Encoding {
        service_name: "refunds".into(),
        service_version: "0.1.0".into(),
        resource: vec![("deployment.environment.name".into(), "test".into())],
        idempotency_keys,
    }
}

/// Every kind is there, and is read and written with the names of requirements 28 to 34.
#[test]
fn lines_are_what_they_were() {
    let spans = spans();
    let kinds = ["agent_step", "llm_call", "tool_call", "tool_span", "retry"];
    for kind in kinds.iter().chain(&["hitl_approval", "final_response"]) {
        assert!(spans.iter().any(|s| s.detail.kind() == *kind), "{kind}");
    }
    let mut lines = String::new();
    for span in &spans {
        lines += &serde_json::to_string(span).expect("a line");
        lines.push('\n');
    }
    check("spans.jsonl", lines.as_bytes());
}

#[test]
fn requests_are_what_they_were() {
    let bytes = encoding(true).bytes(&spans());
    check("otlp.pb", &bytes);
    let kept = fs::read(golden("otlp.pb")).expect("a golden file");
    let read = ExportTraceServiceRequest::decode(&kept[..]).expect("a request");
    check("otlp.txt", told(&read).as_bytes());
}

/// Where keys are switched off they are nowhere in the request, whatever field had them.
#[test]
fn without_keys_there_is_none() {
    let key = b"refund_448100_delay";
    let has = |bytes: &[u8]| bytes.windows(key.len()).any(|w| w == key);
    assert!(has(&encoding(true).bytes(&spans())));
    assert!(!has(&encoding(false).bytes(&spans())));
}

/// A request as text: one line a field.
fn told(request: &ExportTraceServiceRequest) -> String {
    let mut text = String::new();
    for of in &request.resource_spans {
        let resource = of.resource.as_ref().expect("a resource");
        text += "resource\n";
        attributes(&mut text, &resource.attributes);
        for scope in &of.scope_spans {
            let named = scope.scope.as_ref().expect("a scope");
            let _ = writeln!(text, "scope {} {}", named.name, named.version);
            for span in &scope.spans {
                let status = span.status.clone().unwrap_or_default();
                let _ = writeln!(text, "\nspan {:?} kind {}", span.name, span.kind);
                let _ = writeln!(text, "  trace {}", hex(&span.trace_id));
                let _ = writeln!(
                    text,
                    "  id {} below {}",
                    hex(&span.span_id),
                    hex(&span.parent_span_id)
                );
                let _ = writeln!(
                    text,
                    "  from {} to {}",
                    span.start_time_unix_nano, span.end_time_unix_nano
                );
                let _ = writeln!(
                    text,
                    "  flags {:#x}, status {} {:?}",
                    span.flags, status.code, status.message
                );
                attributes(&mut text, &span.attributes);
                for link in &span.links {
                    let _ = writeln!(
                        text,
                        "  link {} {}",
                        hex(&link.trace_id),
                        hex(&link.span_id)
                    );
                    attributes(&mut text, &link.attributes);
                }
            }
        }
    }
    text
}

fn attributes(text: &mut String, all: &[KeyValue]) {
    for one in all {
        let value = one.value.as_ref().map(shown).unwrap_or_default();
        let _ = writeln!(text, "    {} = {value}", one.key);
    }
}

fn shown(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::DoubleValue(x)) => format!("{x:?}"),
        Some(Value::ArrayValue(all)) => {
            let all: Vec<String> = all.values.iter().map(shown).collect();
            format!("[{}]", all.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
