//! What changed between the tool in the lock and the one that is to take its place, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::Value;
use stoplog_model::Contract;

use super::{Locked, Shown};

/// A tool on one side of a change.
pub(crate) struct Side<'a> {
    /// As the lock has it, or would have it.
    pub(crate) locked: &'a Locked,
    /// Its contract, where it can be read.
    pub(crate) contract: Option<&'a Contract>,
}

/// One line for each difference: what it is of, and what became of it. `+` is more than before.
pub(crate) fn changes(old: &Side<'_>, new: &Side<'_>) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    let (a, b) = (old.locked, new.locked);
    lines.word("version", &a.version, &b.version);
    lines.word("class", a.class, b.class);
    lines.word("component", a.component.short(), b.component.short());
    lines.word("contract", a.contract.short(), b.contract.short());
    lines.list("asks for", &a.egress, &b.egress);
    lines.list("secrets", &a.secrets, &b.secrets);
    lines.word("keeps state", yes_no(a.state), yes_no(b.state));
    if let (Some(a), Some(b)) = (old.contract, new.contract) {
        contract(&mut lines, a, b);
    }
    let of_old = a.disclosure.clone().or_else(|| old.contract.map(Shown::of));
    if let (Some(a), Some(b)) = (of_old, &b.disclosure) {
        shown(&mut lines, &a, b);
    }
    lines.0
}

fn contract(lines: &mut Lines, a: &Contract, b: &Contract) {
    let rule = |c: &Contract| match &c.key {
        None => "none".to_owned(),
        Some(rule) => format!("{} ({:?} scope)", rule.template, rule.scope),
    };
    lines.word("key", rule(a), rule(b));
    lines.word("keeps keys", a.keeps_keys, b.keeps_keys);
    lines.word("settles", ms(a.settles_within_ms), ms(b.settles_within_ms));
    lines.word("timeout", ms(a.timeout_ms), ms(b.timeout_ms));
    if a.description != b.description {
        lines.push("description", "changed: the model reads another text");
    }
    for (what, a, b) in [
        ("input", &a.input_schema, &b.input_schema),
        ("output", &a.output_schema, &b.output_schema),
    ] {
        if a != b {
            schema(lines, what, a, b);
        }
    }
}

/// Which fields of a schema came, went, or are something else.
fn schema(lines: &mut Lines, what: &str, a: &Value, b: &Value) {
    let fields = |schema: &Value| -> BTreeMap<String, Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten();
        properties.map(|(n, v)| (n.clone(), v.clone())).collect()
    };
    let (a, b) = (fields(a), fields(b));
    let before = lines.0.len();
    for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        match (a.get(name), b.get(name)) {
            (None, _) => lines.push(what, format!("+ {name}")),
            (_, None) => lines.push(what, format!("- {name}")),
            (Some(a), Some(b)) if a != b => lines.push(what, format!("{name} changed")),
            _ => {}
        }
    }
    if lines.0.len() == before {
        lines.push(what, "its schema changed");
    }
}

fn shown(lines: &mut Lines, a: &Shown, b: &Shown) {
    fn words(shown: &Shown) -> BTreeMap<&str, &'static str> {
        let lists = [
            ("audit", &shown.audit),
            ("personal", &shown.personal),
            ("secret", &shown.secret),
        ];
        lists
            .into_iter()
            .flat_map(|(word, list)| list.iter().map(move |field| (field.as_str(), word)))
            .collect()
    }
    let (a, b) = (words(a), words(b));
    for (field, word) in &b {
        if let Some(before) = a.get(field).filter(|before| *before != word) {
            lines.push("shown", format!("{field}: {before} -> {word}"));
        }
    }
}

fn yes_no(yes: bool) -> &'static str {
    match yes {
        true => "yes",
        false => "no",
    }
}

fn ms(ms: u32) -> String {
    format!("{ms} ms")
}

/// The lines so far.
struct Lines(Vec<String>);

impl Lines {
    fn push(&mut self, what: &str, change: impl Display) {
        self.0.push(format!("{what:<12} {change}"));
    }

    fn word(&mut self, what: &str, a: impl Display, b: impl Display) {
        let (a, b) = (a.to_string(), b.to_string());
        if a != b {
            self.push(what, format!("{a} -> {b}"));
        }
    }

    fn list(&mut self, what: &str, a: &[String], b: &[String]) {
        for came in b.iter().filter(|x| !a.contains(x)) {
            self.push(what, format!("+ {came}"));
        }
        for went in a.iter().filter(|x| !b.contains(x)) {
            self.push(what, format!("- {went}"));
        }
    }
}
