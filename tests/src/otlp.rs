//! A real collector beside a host: a process that decodes the protobuf, is killed, and comes again at
//! its address.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Map, Value, json};

use crate::{Bins, wait_for};

/// A collector.
pub struct Receiver {
    bins: Bins,
    dir: PathBuf,
    child: Child,
    /// Where it listens, and will again.
    pub address: SocketAddr,
}

impl Receiver {
    /// Starts one that keeps what it gets in a directory.
    pub fn start(bins: Bins, dir: &Path) -> anyhow::Result<Receiver> {
        let (child, address) = spawn(bins, dir, None)?;
        Ok(Receiver {
            bins,
            dir: dir.to_owned(),
            child,
            address,
        })
    }

    /// Kills it, if it has not died.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Starts it anew, at its address.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        (self.child, self.address) = spawn(self.bins, &self.dir, Some(self.address))?;
        Ok(())
    }

    /// What it does with the next requests.
    pub fn next(&self, faults: &[Value]) -> anyhow::Result<()> {
        let faults = json!(faults);
        nimbus_pay::client::ask(self.address, "POST", "/admin/next", Some(&faults)).map(|_| ())
    }

    /// Every request that it got, in the order in which they came.
    pub fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let kept = fs::read_to_string(self.dir.join("collected.jsonl")).unwrap_or_default();
        let parse = |line| serde_json::from_str(line).context("a line of the collector");
        kept.lines().map(parse).collect()
    }

    /// Every span of every request, as often as it came.
    pub fn all_spans(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        for request in self.requests()? {
            for resource in request["resources"].as_array().into_iter().flatten() {
                all.extend(resource["spans"].as_array().cloned().unwrap_or_default());
            }
        }
        Ok(all)
    }

    /// The spans by their ids. It is an error if one came again and was not the same.
    pub fn spans(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
        for span in self.all_spans()? {
            let id = span["span_id"].as_str().context("an id")?.to_owned();
            if let Some(before) = by_id.insert(id, span.clone()) {
                ensure!(before == span, "it came again as another: {before} {span}");
            }
        }
        Ok(by_id)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(bins: Bins, dir: &Path, at: Option<SocketAddr>) -> anyhow::Result<(Child, SocketAddr)> {
    let port_file = dir.join("otlp-receiver.port");
    let _ = fs::remove_file(&port_file);
    let child = Command::new(bins.receiver)
        .arg(dir.join("collected.jsonl"))
        .arg(&port_file)
        .args(at.map(|address| address.to_string()))
        .stdin(Stdio::null())
        .spawn()?;
    let text = wait_for("the collector's port", || {
        fs::read_to_string(&port_file).ok()
    })?;
    Ok((child, text.parse()?))
}

/// A request as JSON: resources with their attributes and spans.
pub fn told(request: &ExportTraceServiceRequest) -> Value {
    let resource = |of: &opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let attributes = of.resource.as_ref().map(|r| attributes(&r.attributes));
        let spans = of.scope_spans.iter().flat_map(|scope| &scope.spans);
        json!({"attributes": attributes, "spans": spans.map(span).collect::<Vec<_>>()})
    };
    request.resource_spans.iter().map(resource).collect()
}

fn span(span: &Span) -> Value {
    let link = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| json!({"trace_id": hex(&link.trace_id), "span_id": hex(&link.span_id)});
    let status = span.status.clone().unwrap_or_default();
    json!({
        "trace_id": hex(&span.trace_id),
        "span_id": hex(&span.span_id),
        "parent_span_id": hex(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": {"code": status.code, "message": status.message},
        "attributes": attributes(&span.attributes),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
    })
}

fn attributes(all: &[KeyValue]) -> Map<String, Value> {
    let one = |pair: &KeyValue| {
        let value = pair.value.as_ref().map(value).unwrap_or_default();
        (pair.key.clone(), value)
    };
    all.iter().map(one).collect()
}

fn value(of: &AnyValue) -> Value {
    match &of.value {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::IntValue(n)) => json!(n),
        Some(any_value::Value::DoubleValue(x)) => json!(x),
        Some(any_value::Value::BoolValue(b)) => json!(b),
        Some(any_value::Value::ArrayValue(all)) => all.values.iter().map(value).collect(),
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
