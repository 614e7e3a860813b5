//! What was measured, as a table and as JSON.

use comfy_table::Table;
use serde_json::{Value, json};

use crate::rounds::Compared;

/// What a measure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Only stated.
    Stated,
}

impl Goal {
    fn text(self) -> String {
        match self {
            Goal::AtMost(n) => format!("<= {}", short(n)),
            Goal::AtLeast(n) => format!(">= {}", short(n)),
            Goal::Stated => "stated".to_owned(),
        }
    }

    fn met(self, number: f64) -> Option<bool> {
        match self {
            Goal::AtMost(n) => Some(number <= n),
            Goal::AtLeast(n) => Some(number >= n),
            Goal::Stated => None,
        }
    }
}

/// One line.
pub(crate) struct Measure {
    name: String,
    unit: &'static str,
    value: f64,
    compared: Option<Compared>,
    goal: Goal,
    note: String,
}

impl Measure {
    /// A number that stands for itself; the goal is about it.
    pub(crate) fn alone(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        goal: Goal,
    ) -> Measure {
        Measure {
            name: name.into(),
            unit,
            value,
            compared: None,
            goal,
            note: String::new(),
        }
    }

    /// A number beside its floor; the goal is about their ratio.
    pub(crate) fn beside(
        name: impl Into<String>,
        unit: &'static str,
        compared: Compared,
        goal: Goal,
    ) -> Measure {
        Measure {
            name: name.into(),
            unit,
            value: compared.product.median,
            compared: Some(compared),
            goal,
            note: String::new(),
        }
    }

    /// The same, with something to be said about it.
    pub(crate) fn noted(mut self, note: impl Into<String>) -> Measure {
        self.note = note.into();
        self
    }

    fn judged(&self) -> f64 {
        self.compared.map_or(self.value, |c| c.ratio.median)
    }

    fn verdict(&self) -> &'static str {
        match self.goal.met(self.judged()) {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "floor": self.compared.map(|c| c.floor.median),
            "ratio": self.compared.map(|c| json!({
                "median": c.ratio.median, "min": c.ratio.min, "max": c.ratio.max,
                "rounds": c.rounds,
            })),
            "goal": self.goal.text(),
            "met": self.goal.met(self.judged()),
            "note": self.note,
        })
    }
}

/// Three digits that count.
pub(crate) fn short(n: f64) -> String {
    match n.abs() {
        x if x >= 100.0 => format!("{n:.0}"),
        x if x >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

/// The table for people.
pub(crate) fn table(measures: &[Measure]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "measure", "value", "unit", "floor", "ratio", "min..max", "goal", "",
    ]);
    for m in measures {
        let (floor, ratio, range) = match &m.compared {
            None => (String::new(), String::new(), String::new()),
            Some(c) => (
                short(c.floor.median),
                short(c.ratio.median),
                format!("{}..{}", short(c.ratio.min), short(c.ratio.max)),
            ),
        };
        table.add_row([
            m.name.clone(),
            short(m.value),
            m.unit.to_owned(),
            floor,
            ratio,
            range,
            m.goal.text(),
            m.verdict().to_owned(),
        ]);
    }
    let notes: Vec<String> = measures
        .iter()
        .filter(|m| !m.note.is_empty())
        .map(|m| format!("{}: {}", m.name, m.note))
        .collect();
    format!("{table}\n\n{}", notes.join("\n"))
}

/// The same for machines.
pub(crate) fn json(machine: Value, measures: &[Measure]) -> Value {
    let all: Vec<Value> = measures.iter().map(Measure::json).collect();
    json!({ "machine": machine, "measures": all })
}
