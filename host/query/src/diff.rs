//! Two sessions side by side: one that went undisturbed, and one that was killed and resumed.
//!
//! Two lists come of it. What a resume brings with it (requirement 21): more runs, calls that are
//! remembered, a call whose host died, an effect that was sent again, an answer that was found by
//! asking the far side. And what differs beyond that, which of the same script should be nothing:
//! turns, calls with their arguments and results, keys, questions to people, the end, the cost.
//!
//! Not compared are names and times: ids of sessions, traces and spans, tenant and user, latencies.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stoplog_model::UsdMicros;
use stoplog_telemetry::{Decision, Detail, Outcome, Span, ToolCall};

use crate::story::Story;

/// What two sessions have in common, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Diff {
    /// How many things are the same, by kind.
    pub same: BTreeMap<&'static str, usize>,
    /// What a resume brings with it, in sentences.
    pub resume: Vec<String>,
    /// What differs beyond that.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is compared.
    pub what: String,
    /// How it is in the first session; None: it is not there.
    pub first: Option<String>,
    /// How it is in the second.
    pub second: Option<String>,
}

/// Compares.
pub fn diff(first: &Story<'_>, second: &Story<'_>) -> Diff {
    let mut diff = Diff::default();
    diff.compare("turn", turns(first), turns(second));
    diff.compare("attempt", attempts(first), attempts(second));
    diff.compare("call", calls(first), calls(second));
    diff.compare("question", questions(first), questions(second));
    diff.compare("end", end(first), end(second));
    diff.compare("cost", cost(first), cost(second));
    for (name, story) in [("the first", first), ("the second", second)] {
        diff.resume.extend(disturbances(name, story));
        diff.differences.extend(other_keys(name, story));
    }
    diff
}

/// What is compared: a name, and fields with their values.
type Things = BTreeMap<String, Vec<(&'static str, String)>>;

impl Diff {
    fn compare(&mut self, kind: &'static str, first: Things, mut second: Things) {
        for (name, fields) in first {
            let what = |field: &str| format!("{kind} {name}: {field}");
            let Some(others) = second.remove(&name) else {
                self.differences.push(Difference {
                    what: format!("{kind} {name}"),
                    first: Some(told(&fields)),
                    second: None,
                });
                continue;
            };
            let before = self.differences.len();
            for ((field, one), (_, other)) in fields.into_iter().zip(others) {
                if one != other {
                    self.differences.push(Difference {
                        what: what(field),
                        first: Some(one),
                        second: Some(other),
                    });
                }
            }
            if self.differences.len() == before {
                *self.same.entry(kind).or_default() += 1;
            }
        }
        for (name, fields) in second {
            self.differences.push(Difference {
                what: format!("{kind} {name}"),
                first: None,
                second: Some(told(&fields)),
            });
        }
    }
}

fn told(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, v)| format!("{name} {v}"))
        .collect();
    fields.join(", ")
}

/// The nth of what has the same name so far.
fn nth(things: &Things, name: String) -> String {
    let mut found = name.clone();
    let mut n = 1;
    while things.contains_key(&found) {
        n += 1;
        found = format!("{name} #{n}");
    }
    found
}

fn turns(story: &Story<'_>) -> Things {
    let mut things = Things::new();
    for (span, call) in story.turns() {
        let name = nth(&things, format!("of step {}", span.common.step_index + 1));
        let fields = vec![
            ("model_id", call.model_id.clone()),
            ("model_version", call.model_version.clone()),
            ("prompt_version_hash", call.prompt_version_hash.clone()),
            ("input_tokens", call.input_tokens.to_string()),
            ("output_tokens", call.output_tokens.to_string()),
            ("temperature", call.temperature.to_string()),
            ("finish_reason", call.finish_reason_raw.clone()),
            (
                "failure",
                call.failure.map(|f| f.as_str()).unwrap_or_default(),
            ),
            ("cost_usd", call.cost_usd_micros.to_string()),
            ("price_version", call.price_version.clone()),
        ];
        things.insert(name, fields);
    }
    things
}

/// Attempts at a model that failed while their host lived.
fn attempts(story: &Story<'_>) -> Things {
    let mut things = Things::new();
    let lived = story
        .runs
        .iter()
        .filter(|run| run.outcome() != Outcome::Crashed);
    for span in lived.flat_map(|run| &run.spans) {
        if let Detail::Retry {
            what,
            error,
            cost_usd_micros,
            ..
        } = &span.detail
            && what.starts_with("chat ")
        {
            let step = span.common.step_index + 1;
            let name = nth(&things, format!("at {what} in step {step}"));
            let cost = cost_usd_micros.to_string();
            things.insert(name, vec![("error", error.clone()), ("cost_usd", cost)]);
        }
    }
    things
}

fn calls(story: &Story<'_>) -> Things {
    let mut things = Things::new();
    for (span, call) in story.calls() {
        let step = span.common.step_index + 1;
        let name = format!(
            "of {} in step {step} with {}",
            call.tool_name,
            arguments(call)
        );
        let fields = vec![
            ("tool_version", call.tool_version.clone()),
            ("blast_radius_class", call.blast_radius_class.to_string()),
            (
                "result_status",
                format!("{:?}", call.result_status).to_lowercase(),
            ),
            ("error_code", call.error_code.clone().unwrap_or_default()),
            ("result", call.result_summary.clone()),
            (
                "idempotency_key",
                unmarked(&call.idempotency_key).to_owned(),
            ),
            (
                "annotations",
                Value::Object(call.annotations.clone()).to_string(),
            ),
            ("disposition", how(call).to_owned()),
        ];
        things.insert(nth(&things, name), fields);
    }
    things
}

/// The arguments as they are shown, without the key, which is compared by itself.
fn arguments(call: &ToolCall) -> String {
    let mut shown = call.args_redacted.clone();
    if let Value::Object(fields) = &mut shown {
        fields.shift_remove("idempotency_key");
    }
    shown.to_string()
}

/// A key without what makes it another in every session: a key of session scope has a mark of its
/// scope behind it (`~` and twelve hex digits), and a call without an act is named by its position in
/// the session (64 hex digits).
fn unmarked(key: &str) -> &str {
    let is_hex =
        |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    match key.rsplit_once('~') {
        Some((stem, mark)) if is_hex(mark, 12) => stem,
        _ if is_hex(key, 64) => "the call's own",
        _ => key,
    }
}

/// A call whose host died, and the key that it ended with: within a session it is one key.
fn other_keys(name: &str, story: &Story<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    for span in story.spans() {
        let Detail::ToolCall(died) = &span.detail else {
            continue;
        };
        if died.disposition != "in_doubt" || died.idempotency_key.is_empty() {
            continue;
        }
        let is_same = |other: &(&Span, &ToolCall)| {
            other.0.common.step_index == span.common.step_index
                && other.1.tool_name == died.tool_name
                && arguments(other.1) == arguments(died)
        };
        let ended: Vec<_> = story.calls().into_iter().filter(is_same).collect();
        let has_key = |(_, call): &(&Span, &ToolCall)| call.idempotency_key == died.idempotency_key;
        if let (Some((_, call)), false) = (ended.first(), ended.iter().any(has_key)) {
            found.push(Difference {
                what: format!(
                    "key of {} in {name}, before and after the host died",
                    died.tool_name
                ),
                first: Some(died.idempotency_key.clone()),
                second: Some(call.idempotency_key.clone()),
            });
        }
    }
    found
}

/// How a call came about, as far as a resume does not change it: that the far side was asked, and not
/// told again, is one of the ways to find out what was done.
fn how(call: &ToolCall) -> &str {
    match call.disposition.as_str() {
        "probed" => "executed",
        other => other,
    }
}

fn questions(story: &Story<'_>) -> Things {
    let mut things = Things::new();
    for span in story.spans() {
        if let Detail::HitlApproval {
            tool_name,
            decision,
            decided_by,
            ..
        } = &span.detail
            && *decision != Decision::Pending
        {
            let step = span.common.step_index + 1;
            let name = nth(&things, format!("about {tool_name} in step {step}"));
            let fields = vec![
                ("decision", format!("{decision:?}").to_lowercase()),
                ("decided_by", decided_by.clone()),
            ];
            things.insert(name, fields);
        }
    }
    things
}

fn end(story: &Story<'_>) -> Things {
    let last = story.runs.last();
    let outcome = last.map_or(Outcome::Running, |run| run.outcome());
    let fields = vec![
        ("outcome", format!("{outcome:?}").to_lowercase()),
        (
            "reason",
            last.and_then(|run| run.reason()).unwrap_or_default(),
        ),
    ];
    Things::from([("of the session".to_owned(), fields)])
}

/// What was paid, but for requests to a model whose answer died with the host: those are told apart.
fn cost(story: &Story<'_>) -> Things {
    let lost: u64 = lost_attempts(story).map(|(_, cost)| cost.0).sum();
    let paid = UsdMicros(story.cost_micros().saturating_sub(lost));
    Things::from([("in all".to_owned(), vec![("cost_usd", paid.to_string())])])
}

/// Attempts at a model in runs whose host died: nobody was there to hear the answer.
fn lost_attempts<'s>(story: &'s Story<'_>) -> impl Iterator<Item = (&'s str, UsdMicros)> + 's {
    let died = story
        .runs
        .iter()
        .filter(|run| run.outcome() == Outcome::Crashed);
    died.flat_map(|run| &run.spans)
        .filter_map(|span| match &span.detail {
            Detail::Retry {
                what,
                cost_usd_micros,
                ..
            } if what.starts_with("chat ") => Some((what.as_str(), *cost_usd_micros)),
            _ => None,
        })
}

/// What a resume has brought into a story.
fn disturbances(name: &str, story: &Story<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for (i, run) in story.runs.iter().enumerate() {
        let number = i + 1;
        match run.outcome() {
            Outcome::Crashed => told.push(format!("{name}: the host died in run {number}")),
            Outcome::Interrupt => told.push(format!(
                "{name}: run {number} stopped in order ({})",
                run.reason().unwrap_or_default()
            )),
            _ => {}
        }
        if let Some(Detail::FinalResponse { at_iteration, .. }) = run.root().map(|r| &r.detail)
            && i > 0
        {
            told.push(format!(
                "{name}: run {number} went on with iteration {at_iteration}"
            ));
        }
        let mut remembered = 0;
        for span in &run.spans {
            match &span.detail {
                Detail::ToolCall(call) => match call.disposition.as_str() {
                    "replayed" => remembered += 1,
                    "in_doubt" => told.push(format!(
                        "{name}: {} was under way when the host died",
                        call.tool_name
                    )),
                    "probed" => told.push(format!(
                        "{name}: the far side was asked what had become of {}",
                        call.tool_name
                    )),
                    _ => {}
                },
                Detail::Retry { what, .. } if !what.starts_with("chat ") => {
                    told.push(format!("{name}: the {what} was sent again"));
                }
                _ => {}
            }
        }
        if remembered > 0 {
            told.push(format!(
                "{name}: run {number} remembered {remembered} call(s), and did none of them again"
            ));
        }
    }
    for (what, cost) in lost_attempts(story) {
        told.push(format!(
            "{name}: an answer to `{what}` died with the host, and cost {cost}"
        ));
    }
    told
}

#[cfg(test)]
mod tests;
