//! Questions about spans: which, sorted how, or grouped by what. Pure: a question becomes SQL over
//! the views of the trace store, and an answer becomes a table.
//!
//! Invariants: values are bound, and never part of the SQL; what a kind of span has not cannot be
//! asked of it; a call that a later run only remembers (`replayed`) is not counted again, unless the
//! question is about dispositions.

mod dimension;
mod groups;
mod list;
mod looked;

use stoplog_telemetry::{Cell, Statement};

pub use dimension::{Dimension, Kind};
pub use groups::groups;
pub use list::list;
pub use looked::{Looked, looked};

/// By what an answer is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// The slowest first; of groups, by p95.
    Latency,
    /// The dearest first.
    Cost,
    /// The latest first; of a list alone.
    Start,
    /// The largest group first.
    Count,
    /// The group with the most errors first.
    Errors,
}

impl SortBy {
    fn word(self) -> &'static str {
        match self {
            SortBy::Latency => "latency",
            SortBy::Cost => "cost",
            SortBy::Start => "start",
            SortBy::Count => "count",
            SortBy::Errors => "errors",
        }
    }
}

/// Which spans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Of which kind; None lets the question decide.
    pub kind: Option<Kind>,
    /// Began then or later, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Began before then.
    pub until_ms: Option<u64>,
    /// In each of these dimensions, one of these values.
    pub among: Vec<(Dimension, Vec<Cell>)>,
}

/// Why a question cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A kind of span has not what is asked of it.
    #[error("a {} has no {}; what has one: {}", kind.word(), dimension.word(), kinds(fitting))]
    NotOfThisKind {
        /// The kind that was asked for, or that follows from the rest.
        kind: Kind,
        /// What it has not.
        dimension: Dimension,
        /// Who has it.
        fitting: Vec<Kind>,
    },
    /// The answer cannot be sorted so.
    #[error("{what} cannot be sorted by {}; sort by {right}", by.word())]
    NotSortable {
        /// Groups, or a kind of span.
        what: String,
        /// By what.
        by: SortBy,
        /// By what they can.
        right: &'static str,
    },
}

fn kinds(kinds: &[Kind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|k| k.word()).collect();
    words.join(", ")
}

impl Filter {
    /// The kind of span that a question is about: the one that it names, else the one that has what
    /// it asks for, else runs.
    pub fn kind_for(&self, grouped_by: &[Dimension]) -> Result<Kind, QuestionError> {
        let asked = self.among.iter().map(|(d, _)| *d);
        let asked: Vec<Dimension> = asked.chain(grouped_by.iter().copied()).collect();
        let kind = self.kind.unwrap_or_else(|| {
            let candidates = [Kind::Run, Kind::LlmCall, Kind::ToolCall, Kind::Approval];
            let has_all = |kind: &Kind| asked.iter().all(|d| kind.has(*d));
            candidates.into_iter().find(has_all).unwrap_or(Kind::Run)
        });
        match asked.into_iter().find(|d| !kind.has(*d)) {
            None => Ok(kind),
            Some(dimension) => Err(QuestionError::NotOfThisKind {
                kind,
                dimension,
                fitting: Kind::ALL.into_iter().filter(|k| k.has(dimension)).collect(),
            }),
        }
    }

    /// The view to ask: that of the kind, with the model's turn where it is asked for.
    fn view(&self, kind: Kind, grouped_by: &[Dimension]) -> &'static str {
        let asked = self.among.iter().map(|(d, _)| *d);
        let by_model = asked
            .chain(grouped_by.iter().copied())
            .any(Dimension::is_of_model);
        match kind {
            Kind::ToolCall if by_model => "tool_calls_by_model",
            kind => kind.view(),
        }
    }

    /// What the filter says, joined by `AND`; empty when it says nothing.
    pub(crate) fn terms(&self) -> Statement {
        let mut said = Statement::default();
        let mut terms: Vec<String> = Vec::new();
        for (dimension, values) in &self.among {
            let marks = vec!["?"; values.len()].join(", ");
            terms.push(format!("{} IN ({marks})", dimension.column()));
            said.values.extend(values.iter().cloned());
        }
        for (bound, term) in [
            (self.since_ms, "timestamp_ms >= ?"),
            (self.until_ms, "timestamp_ms < ?"),
        ] {
            if let Some(ms) = bound {
                terms.push(term.to_owned());
                said.values.push(Cell::from(ms));
            }
        }
        said.sql = terms.join(" AND ");
        said
    }

    /// All conditions of a question about a kind, as what follows `WHERE`.
    fn conditions(&self, kind: Kind, grouped_by: &[Dimension]) -> Statement {
        let mut said = self.terms();
        let mut terms: Vec<&str> = kind.within_view().into_iter().collect();
        let asked = self.among.iter().map(|(d, _)| d).chain(grouped_by);
        if kind == Kind::ToolCall && !asked.into_iter().any(|d| *d == Dimension::Disposition) {
            terms.push("disposition <> 'replayed'");
        }
        if !said.sql.is_empty() {
            terms.push(&said.sql);
        }
        said.sql = match terms.is_empty() {
            true => "true".to_owned(),
            false => terms.join(" AND "),
        };
        said
    }
}

#[cfg(test)]
mod tests;
