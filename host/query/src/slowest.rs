//! The slowest spans: was it the model, a tool, or a person (requirement 65)?
//!
//! Runs and steps are made of the others and are left out; a call that a later run only remembers
//! took no time.

use stoplog_telemetry::{Answer, Cell, Statement};

use crate::question::Filter;
use crate::table::{Column, Table};

/// What takes time by itself.
const KINDS: &str = "('llm_call', 'tool_call', 'hitl_approval', 'retry')";

/// The slowest spans, one a row.
pub fn spans(filter: &Filter, limit: usize) -> (Statement, Vec<Column>) {
    let mut said = conditions(filter);
    said.sql = format!(
        "SELECT latency_ms, span_kind, coalesce(tool_name, model_id) AS name, status, disposition,
       started, step_index, tenant_id, session_id, trace_id
FROM all_spans WHERE {} ORDER BY latency_ms DESC, timestamp_ms LIMIT ?",
        said.sql
    );
    said.values.push(Cell::from(limit as u64 + 1));
    let names = [
        "latency_ms",
        "span_kind",
        "name",
        "status",
        "disposition",
        "started",
        "step_index",
        "tenant_id",
        "session_id",
        "trace_id",
    ];
    (said, names.map(Column::plain).into())
}

/// Where the time of the same spans went, one row a kind.
pub fn sums(filter: &Filter) -> (Statement, Vec<Column>) {
    let mut said = conditions(filter);
    said.sql = format!(
        "SELECT span_kind, count(*) AS \"count\", sum(latency_ms) AS total_ms,
       max(latency_ms) AS longest_ms
FROM all_spans WHERE {} GROUP BY span_kind ORDER BY total_ms DESC, span_kind",
        said.sql
    );
    let names = ["span_kind", "count", "total_ms", "longest_ms"];
    (said, names.map(Column::plain).into())
}

fn conditions(filter: &Filter) -> Statement {
    let mut said = filter.terms();
    let own = format!("span_kind IN {KINDS} AND coalesce(disposition, '') <> 'replayed'");
    said.sql = match said.sql.is_empty() {
        true => own,
        false => format!("{own} AND {}", said.sql),
    };
    said
}

/// The answer to "model or tool?" in one sentence. None without spans.
pub fn verdict(slowest: &Table, sums: &Answer) -> Option<String> {
    let [latency, kind, name, ..] = slowest.rows.first()?.as_slice() else {
        return None;
    };
    let mut parts = Vec::new();
    for row in &sums.rows {
        if let [kind, count, total, _] = row.as_slice() {
            let (kind, count) = (kind.as_text()?, count.as_count()?);
            parts.push(format!("{count} {kind} took {} ms", total.as_count()?));
        }
    }
    Some(format!(
        "slowest: {} {} with {} ms; in all, {}",
        kind.as_text()?,
        name.as_text().unwrap_or("-"),
        latency.as_count()?,
        parts.join(", ")
    ))
}
