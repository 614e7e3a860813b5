//! Spans one by one: the slowest, the dearest, the latest.

use stoplog_telemetry::{Cell, Statement};

use super::{Dimension, Filter, Kind, QuestionError, SortBy};
use crate::table::Column;

/// A list of spans: what to ask, and the columns of the answer. One row more than the limit tells
/// that there are more.
pub fn list(
    filter: &Filter,
    sort_by: SortBy,
    limit: usize,
) -> Result<(Statement, Vec<Column>), QuestionError> {
    let kind = filter.kind_for(&[])?;
    let order = match sort_by {
        SortBy::Latency => "latency_ms DESC, timestamp_ms DESC",
        SortBy::Cost if kind.costs() => "cost_usd_micros DESC, timestamp_ms DESC",
        SortBy::Start => "timestamp_ms DESC",
        by => {
            return Err(QuestionError::NotSortable {
                what: format!("a list of {}", kind.word()),
                by,
                right: match kind.costs() {
                    true => "latency, cost or start",
                    false => "latency or start",
                },
            });
        }
    };
    let mut said = filter.conditions(kind, &[]);
    let columns = columns(kind);
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let view = filter.view(kind, &[]);
    let names = names.join(", ");
    said.sql = match sort_by == SortBy::Start && comes_in_order(filter, kind) {
        // Read in this order until there are enough: nothing is sorted.
        true => format!(
            "SELECT {names} FROM {view} WHERE {} ORDER BY {order} LIMIT ?",
            said.sql
        ),
        // Chosen by little, and looked up when chosen: a row is wide, and most are left out.
        false => format!(
            "SELECT {names} FROM {view} WHERE span_id IN \
             (SELECT span_id FROM {view} WHERE {} ORDER BY {order} LIMIT ?) ORDER BY {order}",
            said.sql
        ),
    };
    said.values.push(Cell::from(limit as u64 + 1));
    Ok((
        said,
        columns.into_iter().map(|(_, column)| column).collect(),
    ))
}

/// Whether every index that the trace store has for these conditions leads to the spans in the order
/// of time: for calls with one status of one tool.
fn comes_in_order(filter: &Filter, kind: Kind) -> bool {
    let has_one = |dimension| {
        let values = filter.among.iter().find(|(d, _)| *d == dimension);
        values.is_some_and(|(_, values)| values.len() == 1)
    };
    let by_model = filter.among.iter().any(|(d, _)| d.is_of_model());
    kind == Kind::ToolCall && !by_model && has_one(Dimension::Tool) && has_one(Dimension::Status)
}

/// What is shown of a kind: the view's column, and the answer's.
fn columns(kind: Kind) -> Vec<(&'static str, Column)> {
    let names: &[&str] = match kind {
        Kind::Run => &[
            "started",
            "latency_ms",
            "status",
            "error_code",
            "cost_usd_micros",
            "tenant_id",
            "user_id",
            "feature",
            "session_id",
            "trace_id",
            "resumed_from",
        ],
        Kind::Step => &[
            "started",
            "latency_ms",
            "status",
            "tenant_id",
            "session_id",
            "trace_id",
            "step_index",
        ],
        Kind::LlmCall => &[
            "started",
            "latency_ms",
            "status",
            "error_code",
            "finish_reason",
            "model_id",
            "model_version",
            "prompt_version_hash",
            "input_tokens",
            "output_tokens",
            "cost_usd_micros",
            "tenant_id",
            "session_id",
            "trace_id",
            "step_index",
        ],
        Kind::ToolCall => &[
            "started",
            "latency_ms",
            "tool_name",
            "status",
            "error_code",
            "disposition",
            "blast_radius_class",
            "idempotency_key",
            "result_summary",
            "tenant_id",
            "session_id",
            "trace_id",
            "step_index",
        ],
        Kind::Retry => &[
            "started",
            "latency_ms",
            "what",
            "error_code",
            "cost_usd_micros",
            "tenant_id",
            "session_id",
            "trace_id",
            "step_index",
        ],
        Kind::Approval => &[
            "started",
            "latency_ms",
            "tool_name",
            "blast_radius_class",
            "decision",
            "decided_by",
            "approval_id",
            "tenant_id",
            "session_id",
            "trace_id",
            "step_index",
        ],
    };
    let column = |name: &&'static str| match *name {
        "cost_usd_micros" => (*name, Column::money("cost_usd")),
        name => (name, Column::plain(name)),
    };
    names.iter().map(column).collect()
}
