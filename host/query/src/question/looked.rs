//! What an empty answer says: where it looked, and which value of the question is in no span at all.

use stoplog_telemetry::{AnswerBounds, Ask, AskError, Cell, Statement};

use super::{Dimension, Filter};

/// Values of a dimension that are named.
const NAMED: usize = 20;

/// What was looked at, for a question without an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Looked {
    /// Spans in the trace store.
    pub spans: u64,
    /// Runs among them.
    pub runs: u64,
    /// Start of the first and of the last, milliseconds since the Unix epoch; None without spans.
    pub between_ms: Option<(u64, u64)>,
    /// Values of the question that no span has, with values that there are.
    pub unknown: Vec<(Dimension, String, Vec<String>)>,
}

/// Looks at what there is.
pub async fn looked(store: &dyn Ask, filter: &Filter) -> Result<Looked, AskError> {
    let all = Statement {
        sql: "SELECT count(*), sum(span_kind = 'final_response'), min(timestamp_ms),
              max(timestamp_ms) FROM all_spans"
            .to_owned(),
        values: Vec::new(),
    };
    let answer = store.ask(all, AnswerBounds::default()).await?;
    let mut looked = Looked::default();
    if let Some([spans, runs, first, last]) = answer.rows.first().map(Vec::as_slice) {
        looked.spans = spans.as_count().unwrap_or(0);
        looked.runs = runs.as_count().unwrap_or(0);
        looked.between_ms = first.as_count().zip(last.as_count());
    }
    for (dimension, values) in &filter.among {
        for value in values {
            if let Some(others) = others(store, *dimension, value).await? {
                looked.unknown.push((*dimension, plain(value), others));
            }
        }
    }
    Ok(looked)
}

/// None if some span has this value; else values that some have.
async fn others(
    store: &dyn Ask,
    dimension: Dimension,
    value: &Cell,
) -> Result<Option<Vec<String>>, AskError> {
    let column = dimension.column();
    let bounds = AnswerBounds::default();
    let is_there = Statement {
        sql: format!("SELECT 1 FROM all_spans WHERE {column} = ? LIMIT 1"),
        values: vec![value.clone()],
    };
    if !store.ask(is_there, bounds).await?.rows.is_empty() {
        return Ok(None);
    }
    let distinct = Statement {
        sql: format!(
            "SELECT DISTINCT {column} FROM all_spans WHERE {column} IS NOT NULL
             ORDER BY {column} LIMIT {NAMED}"
        ),
        values: Vec::new(),
    };
    let answer = store.ask(distinct, bounds).await?;
    let named = answer.rows.iter().filter_map(|row| row.first()).map(plain);
    Ok(Some(named.collect()))
}

fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Whole(n) => n.to_string(),
        Cell::Real(x) => x.to_string(),
        Cell::Text(text) => text.clone(),
    }
}
