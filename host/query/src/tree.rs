//! Traces as trees, for people.

use std::fmt::Write;

use stoplog_telemetry::{Detail, Span};

/// The traces of these spans, one tree each, in the order of their runs. `only` picks one trace.
pub fn render(spans: &[Span], only: Option<&str>) -> String {
    let mut traces: Vec<&str> = Vec::new();
    for span in spans {
        let id = span.common.trace_id.as_str();
        if !traces.contains(&id) && only.is_none_or(|o| o == id) {
            traces.push(id);
        }
    }
    let mut out = String::new();
    for trace in traces {
        let own: Vec<&Span> = spans
            .iter()
            .filter(|s| s.common.trace_id.as_str() == trace)
            .collect();
        one(&mut out, &own);
    }
    out
}

fn one(out: &mut String, spans: &[&Span]) {
    let Some(first) = spans.first() else { return };
    let root = spans.iter().find(|s| s.common.parent_span_id.is_none());
    let common = &first.common;
    let _ = writeln!(
        out,
        "trace {}  session {}  tenant {}  feature {}",
        common.trace_id, common.session_id, common.tenant_id, common.feature
    );
    match root {
        Some(root) => {
            let mut lines = Vec::new();
            children(spans, Some(root.common.span_id.as_str()), 0, &mut lines);
            for (depth, line) in lines {
                let _ = writeln!(out, "{}{line}", "  ".repeat(depth + 1));
            }
            let _ = writeln!(out, "  {}", describe(root));
        }
        // The run goes on, or died and was not resumed yet: what is there, in order.
        None => {
            for span in spans {
                let _ = writeln!(out, "  {}", describe(span));
            }
            let _ = writeln!(out, "  (this run has not ended)");
        }
    }
}

fn children(spans: &[&Span], parent: Option<&str>, depth: usize, out: &mut Vec<(usize, String)>) {
    let mut own: Vec<&&Span> = spans
        .iter()
        .filter(|s| s.common.parent_span_id.as_ref().map(|p| p.as_str()) == parent)
        .collect();
    own.sort_by_key(|s| (rank(&s.detail), s.common.step_index, s.common.timestamp_ms));
    for span in own {
        out.push((depth, describe(span)));
        children(spans, Some(span.common.span_id.as_str()), depth + 1, out);
    }
}

/// Within a step: what was asked before, then the model, then calls, then the next step.
fn rank(detail: &Detail) -> u8 {
    match detail {
        Detail::Retry { .. } => 0,
        Detail::LlmCall(_) => 1,
        Detail::HitlApproval { .. } => 2,
        Detail::ToolCall(_) => 3,
        Detail::AgentStep { .. } => 4,
        Detail::FinalResponse { .. } => 5,
    }
}

/// The word of one of the span's own enums.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn describe(span: &Span) -> String {
    let ms = span.common.latency_ms;
    match &span.detail {
        Detail::AgentStep { status } => {
            format!(
                "agent_step {}  {}  {ms} ms",
                span.common.step_index,
                word(status)
            )
        }
        Detail::LlmCall(call) => format!(
            "llm_call {}  {} in, {} out  ${}  {ms} ms",
            call.model_id, call.input_tokens, call.output_tokens, call.cost_usd_micros
        ),
        Detail::ToolCall(call) => {
            let status = word(call.result_status);
            let mut line = format!(
                "tool_call {}  class {}  {status}  {}  {ms} ms",
                call.tool_name, call.blast_radius_class, call.disposition
            );
            if call.blast_radius_class >= 2 {
                let _ = write!(line, "  key {}", call.idempotency_key);
            }
            let _ = write!(line, "  {}", call.result_summary);
            line
        }
        Detail::Retry {
            what,
            attempt,
            error,
            ..
        } => {
            format!("retry {what}  attempt {attempt}  {error}  {ms} ms")
        }
        Detail::HitlApproval {
            approval_id,
            tool_name,
            decision,
            decided_by,
            ..
        } => format!(
            "hitl_approval {tool_name}  {}  by {decided_by}  {approval_id}  {ms} ms",
            word(decision)
        ),
        Detail::FinalResponse {
            outcome,
            reason,
            cost_total_micros,
            resumed_from,
            at_iteration,
            ..
        } => {
            let mut line = format!("final_response  {}", word(outcome));
            if let Some(reason) = reason {
                let _ = write!(line, " ({reason})");
            }
            let _ = write!(line, "  cost {cost_total_micros}  {ms} ms");
            if let Some(trace) = resumed_from {
                let _ = write!(line, "  resumed at iteration {at_iteration} from {trace}");
            }
            line
        }
    }
}
