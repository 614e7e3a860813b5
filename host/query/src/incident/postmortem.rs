//! The postmortem's template, with everything filled in that spans and journal know. What only people
//! know is left to them, and says so.
//!
//! Among the rows is one for each inference of the model (requirement 134): what it saw, what it could
//! choose, what it chose. A run that follows its runbook from a wrong inference fails with every span a
//! success.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use stoplog_telemetry::{Detail, Span};

use super::Facts;
use crate::explain;
use crate::story::Story;

const TO_FILL_IN: &str = "_To be filled in by a person._";

/// Characters of a value in a row.
const CELL_CHARS: usize = 300;

pub(super) fn text(
    facts: &Facts<'_>,
    story: &Story<'_>,
    versions: &Value,
    time: impl Fn(u64) -> String,
) -> String {
    let mut out = String::new();
    head(&mut out, facts, story, &time);
    impact(&mut out, story);
    timeline(&mut out, story, &time);
    inferences(&mut out, facts, story);
    reasons(&mut out, story);
    listed(&mut out, versions);
    let _ = write!(
        out,
        "## Causes\n\n{TO_FILL_IN} Not who, but what made it possible: which check was missing, which \
         signal was not looked at.\n\n\
         ## What went well, and where we were lucky\n\n{TO_FILL_IN}\n\n\
         ## What we change\n\n| what | who | until |\n|---|---|---|\n| | | |\n\n\
         ## Evidence\n\n`spans.jsonl` has every span of the session, `journal.jsonl` its events as far \
         as they may be shown{}. `stoplog verify` of this folder says whether it is what was exported. \
         Raw texts are in the journal alone.\n",
        match facts.journal {
            Some(_) => "",
            None => " (it is not here: the journal has the session no more)",
        }
    );
    out
}

fn head(out: &mut String, facts: &Facts<'_>, story: &Story<'_>, time: &impl Fn(u64) -> String) {
    let _ = write!(out, "# Postmortem of trace {}\n\n", facts.trace);
    let _ = write!(out, "{}\n\n", cell(&explain::headline(story)));
    let _ = writeln!(out, "| | |\n|---|---|");
    let (first, last) = (story.runs.first(), story.runs.last());
    if let (Some(first), Some(last)) = (first, last) {
        let took = last.root().map_or(0, |root| root.common.latency_ms);
        let _ = writeln!(out, "| began | {} |", time(first.began_ms()));
        let _ = writeln!(out, "| ended | {} |", time(last.began_ms() + took));
        let reason = last.reason().unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(out, "| reason | {} |", code(&reason));
    }
    let _ = writeln!(out, "| exported | {} |", time(facts.exported_at_ms));
    let _ = write!(
        out,
        "\n## Summary\n\n{TO_FILL_IN} What happened, who noticed it and how, how long it went on.\n\n"
    );
}

/// What changed outside, or may have.
fn impact(out: &mut String, story: &Story<'_>) {
    let _ = writeln!(
        out,
        "## Impact\n\nWhat was done outside, or may have been:\n"
    );
    let _ = writeln!(out, "| step | tool | class | how | status | key | result |");
    let _ = writeln!(out, "|---|---|---|---|---|---|---|");
    let mut any = false;
    for span in story.spans() {
        let Detail::ToolCall(call) = &span.detail else {
            continue;
        };
        if call.blast_radius_class < 2 || call.disposition == "replayed" {
            continue;
        }
        any = true;
        let status = word(serde_json::to_value(call.result_status));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {status} | {} | {} |",
            span.common.step_index + 1,
            cell(&call.tool_name),
            call.blast_radius_class,
            cell(&call.disposition),
            code(&call.idempotency_key),
            cell(&call.result_summary),
        );
    }
    if !any {
        let _ = writeln!(out, "| - | nothing | | | | | |");
    }
    let _ = write!(
        out,
        "\n{TO_FILL_IN} Who was affected, and what it cost them.\n\n"
    );
}

fn timeline(out: &mut String, story: &Story<'_>, time: &impl Fn(u64) -> String) {
    let _ = writeln!(out, "## Timeline\n\nFrom the spans. Times are UTC.\n");
    let _ = writeln!(out, "| time | run | step | what |\n|---|---|---|---|");
    for told in explain::events(story, time) {
        let step = told.step.map_or(String::new(), |step| step.to_string());
        let (at, what) = (time(told.at_ms), cell(&told.sentence));
        let _ = writeln!(out, "| {at} | {} | {step} | {what} |", told.run);
    }
    out.push('\n');
}

/// One row a turn of the model.
fn inferences(out: &mut String, facts: &Facts<'_>, story: &Story<'_>) {
    let _ = writeln!(
        out,
        "## The model's inferences\n\nFor each turn: what the model saw, what it could choose, and what it \
         chose. Texts are in the journal.\n"
    );
    let could = facts.journal.map_or_else(
        || "not known: the journal has the session no more".to_owned(),
        |(_, session)| {
            let names = session
                .started
                .tools
                .iter()
                .map(|pin| pin.contract.name.as_str());
            format!("an answer, or {}", names.collect::<Vec<_>>().join(", "))
        },
    );
    let _ = writeln!(
        out,
        "| step | saw | could choose | chose |\n|---|---|---|---|"
    );
    for (span, call) in story.turns() {
        let step = span.common.step_index;
        let seen: Vec<String> = story
            .calls()
            .into_iter()
            .filter(|(s, _)| s.common.step_index < step)
            .map(|(_, c)| {
                format!(
                    "{} {}",
                    c.tool_name,
                    word(serde_json::to_value(c.result_status))
                )
            })
            .collect();
        let seen = match seen.as_slice() {
            [] => "the task".to_owned(),
            seen => format!("the task; {}", seen.join(", ")),
        };
        let window = call.context_utilization.map_or(String::new(), |part| {
            format!(", {:.0} % of its context", part * 100.0)
        });
        let saw = format!(
            "{seen} ({} tokens{window}; prompt {})",
            call.input_tokens, call.prompt_version_hash
        );
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            step + 1,
            cell(&saw),
            cell(&could),
            cell(&chose(span, story))
        );
    }
    let _ = write!(
        out,
        "\n{TO_FILL_IN} Was each inference right, given what it saw? Where not: what would have had to be \
         in front of it, or what would have had to stop it?\n\n"
    );
}

/// The calls of a turn with their arguments as they may be seen, or how it ended otherwise.
fn chose(turn: &Span, story: &Story<'_>) -> String {
    let step = turn.common.step_index;
    let mut chosen: Vec<String> = Vec::new();
    for span in story.spans().filter(|s| s.common.step_index == step) {
        let said = match &span.detail {
            Detail::ToolCall(call) => {
                let mut arguments = call.args_redacted.clone();
                if let Value::Object(fields) = &mut arguments {
                    fields.shift_remove("idempotency_key");
                }
                format!("{} {arguments}", call.tool_name)
            }
            _ => continue,
        };
        if !chosen.contains(&said) {
            chosen.push(said);
        }
    }
    match (&turn.detail, chosen.is_empty()) {
        (Detail::LlmCall(call), _) if call.failure.is_some() => {
            format!(
                "nothing that could be used: it stopped with {}",
                call.finish_reason_raw
            )
        }
        (Detail::LlmCall(call), true)
            if word(serde_json::to_value(call.finish_reason)) == "stop" =>
        {
            "its answer".to_owned()
        }
        (_, true) => "calls that were not begun".to_owned(),
        (_, false) => chosen.join("; "),
    }
}

fn reasons(out: &mut String, story: &Story<'_>) {
    let mut counted: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (_, call) in story.turns() {
        let reason = word(serde_json::to_value(call.finish_reason));
        *counted
            .entry((reason, &call.finish_reason_raw))
            .or_default() += 1;
    }
    let _ = writeln!(
        out,
        "## Finish reasons\n\n| reason | the provider's word | turns |\n|---|---|---|"
    );
    for ((reason, raw), turns) in counted {
        let _ = writeln!(out, "| {} | {} | {turns} |", cell(&reason), code(raw));
    }
    out.push('\n');
}

fn listed(out: &mut String, versions: &Value) {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => cell(text),
        other => cell(&other.to_string()),
    };
    let _ = writeln!(
        out,
        "## Versions\n\n| what | version | digest |\n|---|---|---|"
    );
    for model in versions["models"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "| model {} | {} | prompt `{}` |",
            text(&model["model_id"]),
            text(&model["model_version"]),
            text(&model["prompt_version_hash"])
        );
    }
    for tool in versions["tools"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "| tool {} (class {}) | {} | `{}` |",
            text(&tool["name"]),
            text(&tool["class"]),
            text(&tool["version"]),
            text(&tool["component_sha256"])
        );
    }
    for (name, key) in [
        ("configuration, now", "config_sha256_now"),
        ("lock file, now", "lock_sha256_now"),
    ] {
        let _ = writeln!(out, "| {name} | | `{}` |", text(&versions[key]));
    }
    let _ = writeln!(out, "| stoplog | {} | |\n", text(&versions["stoplog"]));
}

fn word(value: Result<Value, serde_json::Error>) -> String {
    match value {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A text as code in a cell of a table.
fn code(text: &str) -> String {
    let mut shown = String::from("`");
    for c in text.chars().take(CELL_CHARS) {
        match c {
            '`' => shown.push('\''),
            '|' => shown.push_str("\\|"),
            c if c.is_control() => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown.push('`');
    shown
}

/// A text as a cell of a table: one line, no markup of its own.
fn cell(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(CELL_CHARS) {
        match c {
            '|' | '`' | '*' | '[' | ']' | '\\' => shown.extend(['\\', c]),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            c if c.is_control() => shown.push(' '),
            c => shown.push(c),
        }
    }
    if text.chars().count() > CELL_CHARS {
        shown.push_str("...");
    }
    shown
}
