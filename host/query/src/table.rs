//! An answer as people and machines read it: one set of columns, three forms.
//!
//! Invariants: a value is the same in each form; money is micro-dollars until it is written, and has
//! six decimals then. In CSV a text that a spreadsheet would run as a formula begins with `'`:
//! names of users and workflows come from outside.

use serde_json::{Map, Value, json};
use stoplog_model::UsdMicros;
use stoplog_telemetry::Cell;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Plain,
    /// Micro-dollars, as dollars with six decimals.
    Money,
    /// A part of one, with four decimals.
    Share,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The same in every form.
    pub name: String,
    /// How its values are written.
    pub form: Form,
}

impl Column {
    /// A column whose values are written as they are.
    pub fn plain(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            form: Form::Plain,
        }
    }

    /// A column of micro-dollars.
    pub fn money(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            form: Form::Money,
        }
    }

    /// A column of parts of one.
    pub fn share(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            form: Form::Share,
        }
    }
}

/// Columns and rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Names of the columns.
    pub fn header(&self) -> Vec<&str> {
        self.columns.iter().map(|c| c.name.as_str()).collect()
    }

    /// Each row as texts; nothing is the empty text.
    pub fn texts(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        self.rows.iter().map(|row| {
            let cells = row.iter().zip(&self.columns);
            cells
                .map(|(cell, column)| text(cell, column.form))
                .collect()
        })
    }

    /// A list of objects.
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let cells = row.iter().zip(&self.columns);
            let fields = cells.map(|(cell, c)| (c.name.clone(), value(cell, c.form)));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    /// A header and a line for each row, as RFC 4180 has it, with plain line ends.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        // Writing to memory does not fail.
        let _ = writer.write_record(self.header());
        for (row, texts) in self.rows.iter().zip(self.texts()) {
            let fields = row.iter().zip(texts).map(|(cell, text)| match cell {
                Cell::Text(_) => harmless(text),
                _ => text,
            });
            let _ = writer.write_record(fields);
        }
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// A text that a spreadsheet takes for a text.
fn harmless(text: String) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text,
    }
}

fn text(cell: &Cell, form: Form) -> String {
    match (cell, form) {
        (Cell::Null, _) => String::new(),
        (Cell::Whole(n), Form::Money) => dollars(*n),
        (Cell::Real(x), Form::Share) => format!("{x:.4}"),
        (Cell::Whole(n), _) => n.to_string(),
        (Cell::Real(x), _) => x.to_string(),
        (Cell::Text(text), _) => text.clone(),
    }
}

/// Micro-dollars as a decimal; a sum is never negative.
fn dollars(micros: i64) -> String {
    UsdMicros(u64::try_from(micros).unwrap_or(0)).to_string()
}

fn value(cell: &Cell, form: Form) -> Value {
    match (cell, form) {
        (Cell::Null, _) => Value::Null,
        (Cell::Whole(n), Form::Money) => json!(*n as f64 / 1e6),
        (Cell::Whole(n), _) => json!(n),
        (Cell::Real(x), _) => json!(x),
        (Cell::Text(text), _) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec![
                Column::plain("user_id"),
                Column::money("cost_usd"),
                Column::share("error_rate"),
            ],
            rows: vec![
                vec![Cell::from("priya"), Cell::Whole(18_000), Cell::Real(0.025)],
                vec![Cell::from("=cmd|' /C calc'!A0"), Cell::Whole(0), Cell::Null],
                vec![
                    Cell::from("a \"b\", c\nd"),
                    Cell::Whole(2_000_001),
                    Cell::Real(1.0),
                ],
            ],
        }
    }

    #[test]
    fn one_answer_has_three_forms() {
        let told = table().to_json();
        assert_eq!(
            told[0],
            json!({"user_id": "priya", "cost_usd": 0.018, "error_rate": 0.025})
        );
        assert_eq!(told[1]["error_rate"], Value::Null);
        assert_eq!(told[2]["cost_usd"], json!(2.000_001));
        let texts: Vec<Vec<String>> = table().texts().collect();
        assert_eq!(texts[0], ["priya", "0.018000", "0.0250"]);
        assert_eq!(
            table().to_csv(),
            "user_id,cost_usd,error_rate\npriya,0.018000,0.0250\n\
             '=cmd|' /C calc'!A0,0.000000,\n\"a \"\"b\"\", c\nd\",2.000001,1.0000\n"
        );
    }

    #[test]
    fn a_negative_number_is_no_formula() {
        let table = Table {
            columns: vec![Column::plain("n"), Column::plain("t")],
            rows: vec![vec![Cell::Whole(-1), Cell::from("-1")]],
        };
        assert_eq!(table.to_csv(), "n,t\n-1,'-1\n");
    }
}
