//! Spans in groups: how many, how many went wrong, how slow, how dear.
//!
//! Percentiles are exact, by nearest rank: p95 is the smallest latency that 95 of 100 spans do not
//! exceed. Latencies are whole milliseconds, so what is ranked is how often each occurs; SQLite sorts
//! in temporary files, and memory does not grow with the spans.
//!
//! `error_rate` is the part of those that ended as success or error; an interrupt, where a person is
//! asked, is neither (requirement 106a). What runs or waits is in no group.

use stoplog_telemetry::{Cell, Statement};

use super::{Dimension, Filter, QuestionError, SortBy};
use crate::table::Column;

/// The words of `status` that are errors.
const ERRORS: &str = "('error', 'timeout', 'crashed')";

/// Groups by these dimensions: what to ask, and the columns of the answer. One row more than the
/// limit tells that there are more.
pub fn groups(
    filter: &Filter,
    by: &[Dimension],
    sort_by: SortBy,
    limit: usize,
) -> Result<(Statement, Vec<Column>), QuestionError> {
    let kind = filter.kind_for(by)?;
    let order = match sort_by {
        SortBy::Latency => "p95_ms DESC",
        SortBy::Cost if kind.costs() => "cost_usd_micros DESC",
        SortBy::Count => "\"count\" DESC",
        SortBy::Errors => "errors DESC, \"count\" DESC",
        by => {
            return Err(QuestionError::NotSortable {
                what: format!("groups of {}", kind.word()),
                by,
                right: match kind.costs() {
                    true => "latency, cost, count or errors",
                    false => "latency, count or errors",
                },
            });
        }
    };
    let names: Vec<&str> = by.iter().map(|d| d.column()).collect();
    let names = names.join(", ");
    let cost = match kind.costs() {
        true => "sum(cost_usd_micros)",
        false => "0",
    };
    let mut said = filter.conditions(kind, by);
    said.sql = format!(
        "WITH seen AS (
    SELECT {names}, latency_ms, count(*) AS n, sum(status IN {ERRORS}) AS bad,
           sum(status = 'success') AS good, {cost} AS cost
    FROM {view} WHERE {conditions} AND status NOT IN ('running', 'waiting')
    GROUP BY {names}, latency_ms
), ranked AS (
    SELECT *, sum(n) OVER (PARTITION BY {names} ORDER BY latency_ms) AS upto,
           sum(n) OVER (PARTITION BY {names}) AS of_all
    FROM seen
)
SELECT {names}, sum(n) AS \"count\", sum(bad) AS errors,
       CASE WHEN sum(bad) + sum(good) > 0 THEN 1.0 * sum(bad) / (sum(bad) + sum(good)) END
           AS error_rate,
       min(CASE WHEN upto * 100 >= of_all * 50 THEN latency_ms END) AS p50_ms,
       min(CASE WHEN upto * 100 >= of_all * 95 THEN latency_ms END) AS p95_ms,
       min(CASE WHEN upto * 100 >= of_all * 99 THEN latency_ms END) AS p99_ms,
       sum(cost) AS cost_usd_micros
FROM ranked GROUP BY {names} ORDER BY {order}, {names} LIMIT ?",
        view = filter.view(kind, by),
        conditions = said.sql,
    );
    said.values.push(Cell::from(limit as u64 + 1));
    let mut columns: Vec<Column> = by.iter().map(|d| Column::plain(d.column())).collect();
    columns.extend([
        Column::plain("count"),
        Column::plain("errors"),
        Column::share("error_rate"),
        Column::plain("p50_ms"),
        Column::plain("p95_ms"),
        Column::plain("p99_ms"),
        Column::money("cost_usd"),
    ]);
    Ok((said, columns))
}
