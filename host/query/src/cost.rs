//! What was paid, by whom and for what.
//!
//! Invariants: sums are whole micro-dollars, and equal the sum over the spans exactly; what was paid
//! for an attempt that failed, or for a stream that nobody read to its end, is counted where it was
//! paid; days are those of UTC.

use stoplog_telemetry::{Answer, Cell, Statement};

use crate::question::{Dimension, Filter};
use crate::table::{Column, Table};

/// The dimensions that money is asked by.
pub const BY: [Dimension; 10] = [
    Dimension::Tenant,
    Dimension::Feature,
    Dimension::User,
    Dimension::ModelId,
    Dimension::ModelVersion,
    Dimension::PromptVersionHash,
    Dimension::PriceVersion,
    Dimension::Session,
    Dimension::Trace,
    Dimension::Day,
];

/// Stands for a price that came from no price table: from a script, or from the configuration.
pub const NO_TABLE: &str = "none";

/// Between versions of price tables, where a sum has several.
const MIXED: &str = " + ";

const SUMS: [&str; 6] = [
    "llm_calls",
    "failed_attempts",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
];

/// What to ask, by these dimensions of [`BY`].
pub fn statement(filter: &Filter, by: &[Dimension]) -> Statement {
    let mut said = filter.terms();
    let conditions = match said.sql.is_empty() {
        true => "true",
        false => &said.sql,
    };
    let names: Vec<&str> = by.iter().map(|d| d.column()).collect();
    let names = names.join(", ");
    said.sql = format!(
        "SELECT {names}, sum(span_kind = 'llm_call') AS llm_calls,
       sum(span_kind = 'retry') AS failed_attempts,
       sum(coalesce(input_tokens, 0)) AS input_tokens,
       sum(coalesce(output_tokens, 0)) AS output_tokens,
       sum(coalesce(cache_read_tokens, 0)) AS cache_read_tokens,
       sum(coalesce(cache_write_tokens, 0)) AS cache_write_tokens,
       sum(cost_usd_micros) AS cost_usd_micros,
       json_group_array(DISTINCT coalesce(price_version, '{NO_TABLE}'))
           FILTER (WHERE span_kind = 'llm_call') AS price_versions
FROM costs WHERE {conditions} GROUP BY {names} ORDER BY {names}"
    );
    said
}

/// The answer as a table. Versions of price tables are in the order of their names.
pub fn table(by: &[Dimension], answer: Answer) -> Table {
    let mut columns: Vec<Column> = by.iter().map(|d| Column::plain(d.column())).collect();
    columns.extend(SUMS.map(Column::plain));
    columns.push(Column::money("cost_usd"));
    columns.push(Column::plain("price_versions"));
    let mut rows = answer.rows;
    for row in &mut rows {
        if let Some(Cell::Text(versions)) = row.last_mut() {
            let mut each: Vec<String> = serde_json::from_str(versions).unwrap_or_default();
            each.sort_unstable();
            *versions = each.join(MIXED);
        }
    }
    Table { columns, rows }
}

/// A last line for people: the sums over all rows, under the same columns.
pub fn total(table: &Table, by: usize) -> Vec<Cell> {
    let mut row = vec![Cell::Null; table.columns.len()];
    for (i, cell) in row.iter_mut().enumerate().skip(by).take(SUMS.len() + 1) {
        let sum = table.rows.iter().map(|r| match r[i] {
            Cell::Whole(n) => n,
            _ => 0,
        });
        *cell = Cell::Whole(sum.fold(0, i64::saturating_add));
    }
    if let Some(first) = row.first_mut() {
        *first = Cell::from("TOTAL");
    }
    row
}

#[cfg(test)]
mod tests;
