//! Spans for tests, of a session that refunds.

use serde_json::{Map, json};
use stoplog_model::turn::FinishReason;
use stoplog_model::{SessionId, SpanId, Tenant, TraceId, UsdMicros};
use stoplog_telemetry::{Common, Decision, Detail, LlmCall, Outcome, Span, ToolCall, ToolStatus};

/// The id of a trace, by its number.
pub(crate) fn trace(n: u32) -> TraceId {
    TraceId::new(format!("{n:032x}")).expect("trace")
}

/// A span at a step of a trace, so many milliseconds behind the beginning.
pub(crate) fn span(session: &str, n: u32, step: u32, at_ms: u64, detail: Detail) -> Span {
    let parts = [
        session,
        &n.to_string(),
        &step.to_string(),
        &at_ms.to_string(),
        detail.kind(),
    ];
    let root = matches!(detail, Detail::FinalResponse { .. });
    Span {
        common: Common {
            trace_id: trace(n),
            span_id: SpanId::derived(&parts),
            parent_span_id: (!root).then(|| SpanId::derived(&["root"])),
            tenant_id: Tenant::new("acme").expect("tenant"),
            session_id: SessionId::new(session).expect("session"),
            user_id: "suresh".into(),
            feature: "refunds".into(),
            step_index: step,
            timestamp_ms: 1_773_057_600_000 + at_ms,
            latency_ms: 20,
        },
        detail,
    }
}

pub(crate) fn turn(cost: u64) -> Detail {
    Detail::LlmCall(LlmCall {
        model_id: "m".into(),
        model_version: "m-1".into(),
        prompt_version_hash: "abc".into(),
        input_tokens: 100,
        output_tokens: 10,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: None,
        context_utilization: None,
        temperature: 0.2,
        cost_usd: cost as f64 / 1e6,
        cost_usd_micros: UsdMicros(cost),
        price_version: String::new(),
        finish_reason: FinishReason::ToolCalls,
        finish_reason_raw: "tool_use".into(),
        failure: None,
    })
}

pub(crate) fn call(
    tool: &str,
    class: u8,
    status: ToolStatus,
    disposition: &str,
    key: &str,
) -> Detail {
    Detail::ToolCall(ToolCall {
        tool_name: tool.into(),
        tool_version: "1.0.0".into(),
        args_redacted: json!({"order_id": "448200", "idempotency_key": key}),
        result_status: status,
        result_summary: r#"{"refund_id":"rf_78"}"#.into(),
        error_code: (status == ToolStatus::Error).then(|| "precondition".into()),
        blast_radius_class: class,
        disposition: disposition.into(),
        idempotency_key: key.into(),
        annotations: Map::new(),
    })
}

pub(crate) fn question(decision: Decision, by: &str) -> Detail {
    Detail::HitlApproval {
        approval_id: "ap_1".into(),
        tool_name: "refund".into(),
        decision,
        decided_by: by.into(),
        blast_radius_class: 4,
    }
}

pub(crate) fn end(
    outcome: Outcome,
    reason: Option<&str>,
    from: Option<u32>,
    at_iteration: u32,
) -> Detail {
    Detail::FinalResponse {
        outcome,
        reason: reason.map(str::to_owned),
        failure: None,
        latency_total: 20,
        cost_total: 0.0,
        cost_total_micros: UsdMicros(0),
        resumed_from: from.map(trace),
        at_iteration,
    }
}

/// A refund that waited for a person, and was done.
pub(crate) fn clean(session: &str) -> Vec<Span> {
    let s = |n, step, at, detail| span(session, n, step, at, detail);
    let fine = ToolStatus::Success;
    vec![
        s(
            1,
            0,
            0,
            end(Outcome::Interrupt, Some("approval_required"), None, 1),
        ),
        s(1, 0, 1, turn(4000)),
        s(1, 0, 2, call("orders", 1, fine, "executed", "k1")),
        s(1, 1, 3, turn(6000)),
        s(1, 1, 4, question(Decision::Approved, "Meera")),
        s(2, 1, 10, end(Outcome::Success, None, Some(1), 2)),
        s(2, 0, 10, call("orders", 1, fine, "replayed", "k1")),
        s(2, 1, 11, call("refund", 4, fine, "executed", &key(session))),
        s(2, 2, 12, turn(3000)),
    ]
}

/// The same, but the host died in the refund.
pub(crate) fn killed(session: &str) -> Vec<Span> {
    let s = |n, step, at, detail| span(session, n, step, at, detail);
    let fine = ToolStatus::Success;
    let mut spans: Vec<Span> = clean(session).into_iter().take(5).collect();
    spans.extend([
        s(2, 1, 10, end(Outcome::Crashed, None, Some(1), 2)),
        s(2, 0, 10, call("orders", 1, fine, "replayed", "k1")),
        s(
            2,
            1,
            11,
            call("refund", 4, ToolStatus::Error, "in_doubt", &key(session)),
        ),
        s(3, 1, 20, end(Outcome::Success, None, Some(2), 2)),
        s(3, 0, 20, call("orders", 1, fine, "replayed", "k1")),
        s(3, 1, 21, call("refund", 4, fine, "probed", &key(session))),
        s(3, 2, 22, turn(3000)),
    ]);
    spans
}

/// A key of session scope: its mark is another in every session.
fn key(session: &str) -> String {
    let digest = stoplog_model::Digest::of(session.as_bytes());
    format!("refund_448200~{}", &digest.as_str()[..12])
}
