//! A session in plain sentences, from its spans alone (requirement 56): what the model was given, what
//! it asked for, what was done, by whom it was allowed, and what nobody knew at the time.

use std::collections::BTreeSet;

use stoplog_model::UsdMicros;
use stoplog_telemetry::{Decision, Detail, LlmCall, Outcome, Span, ToolCall, ToolStatus};

use crate::story::{Run, Story};

/// Characters of a result that are told: it is for reading, and the span has the whole.
const RESULT_CHARS: usize = 160;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In which run, counted from 1.
    pub run: usize,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// In which step, counted from 1; None for what is about the run.
    pub step: Option<u32>,
    /// What.
    pub sentence: String,
}

/// Who, for whom, how much, and how it ended: one line.
pub fn headline(story: &Story<'_>) -> String {
    let (Some(any), Some(last)) = (story.any(), story.runs.last()) else {
        return String::new();
    };
    let common = &any.common;
    format!(
        "Session {} of tenant {}, user {}, workflow {}: {}, {}. {} The models cost {} dollars in all.",
        common.session_id,
        common.tenant_id,
        common.user_id,
        common.feature,
        several(story.runs.len(), "run"),
        several(steps(story), "step"),
        whole_end(last),
        UsdMicros(story.cost_micros()),
    )
}

/// What happened, in order. `time` writes a time.
pub fn events(story: &Story<'_>, time: impl Fn(u64) -> String) -> Vec<Told> {
    let mut events = Vec::new();
    for (i, run) in story.runs.iter().enumerate() {
        let mut tell = |at_ms, step, sentence| {
            events.push(Told {
                run: i + 1,
                at_ms,
                step,
                sentence,
            });
        };
        let before = i.checked_sub(1).map(|b| &story.runs[b]);
        tell(run.began_ms(), None, beginning(i + 1, run, before, &time));
        if let Some(sentence) = replayed(run) {
            tell(run.began_ms(), None, sentence);
        }
        for span in &run.spans {
            if let Some(sentence) = sentence(span, story) {
                let common = &span.common;
                tell(common.timestamp_ms, Some(common.step_index + 1), sentence);
            }
        }
        let took = run.root().map_or(0, |root| root.common.latency_ms);
        tell(run.began_ms() + took, None, ending(run));
    }
    events
}

/// All of it, one line each; what belongs to a run is indented below its beginning.
pub fn explain(story: &Story<'_>, time: impl Fn(u64) -> String) -> Vec<String> {
    let mut lines = vec![headline(story)];
    let (mut run, mut step) = (0, None);
    for told in events(story, time) {
        if told.run != run {
            (run, step) = (told.run, None);
            lines.extend([String::new(), told.sentence]);
            continue;
        }
        lines.push(match told.step {
            None => format!("  {}", told.sentence),
            // Attempts and calls stand under the number of their step.
            Some(n) if step == Some(n) => format!("          {}", told.sentence),
            Some(n) => format!("  Step {n:<2} {}", told.sentence),
        });
        step = told.step;
    }
    lines
}

fn several(n: usize, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    }
}

/// Steps that the model, or a client, took, however often a run went on with one.
fn steps(story: &Story<'_>) -> usize {
    let is_step = |span: &&Span| matches!(span.detail, Detail::LlmCall(_) | Detail::ToolCall(_));
    let steps = story.spans().filter(is_step);
    let steps: BTreeSet<u32> = steps.map(|span| span.common.step_index).collect();
    steps.len()
}

fn whole_end(last: &Run<'_>) -> &'static str {
    match last.outcome() {
        Outcome::Success => "It ended with an answer.",
        Outcome::Error => "It ended with an error.",
        Outcome::Interrupt => "It waits: its last run stopped before the end.",
        Outcome::Crashed => "Its host died, and nobody has gone on with it yet.",
        Outcome::Running => "It goes on.",
    }
}

fn beginning(
    number: usize,
    run: &Run<'_>,
    before: Option<&Run<'_>>,
    time: &impl Fn(u64) -> String,
) -> String {
    let began = format!(
        "Run {number} (trace {}) began {}",
        run.trace,
        time(run.began_ms())
    );
    let at = match run.root().map(|root| &root.detail) {
        Some(Detail::FinalResponse { at_iteration, .. }) => *at_iteration,
        _ => 1,
    };
    match before {
        None => format!("{began}."),
        Some(before) if before.outcome() == Outcome::Crashed => {
            format!(
                "{began} and went on with iteration {at}, because the host of the run before had died."
            )
        }
        Some(_) => format!("{began} and went on with iteration {at}."),
    }
}

fn replayed(run: &Run<'_>) -> Option<String> {
    let names: Vec<&str> = run
        .spans
        .iter()
        .filter_map(|span| match &span.detail {
            Detail::ToolCall(call) if call.disposition == "replayed" => {
                Some(call.tool_name.as_str())
            }
            _ => None,
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "It remembered what was done before, and did none of it again: {}.",
            names.join(", ")
        )
    })
}

/// None for what says nothing of its own: steps, runs, and what is only remembered.
fn sentence(span: &Span, story: &Story<'_>) -> Option<String> {
    let ms = span.common.latency_ms;
    match &span.detail {
        Detail::AgentStep { .. } | Detail::FinalResponse { .. } => None,
        Detail::ToolCall(call) if call.disposition == "replayed" => None,
        Detail::LlmCall(call) => Some(turn(span, call, story)),
        Detail::ToolCall(call) => Some(tool(call, ms)),
        Detail::Retry {
            what,
            attempt,
            error,
            cost_usd_micros,
            ..
        } => Some(match what.strip_prefix("chat ") {
            Some(model) => format!(
                "Attempt {attempt} at the model {model} failed after {} ({error}) and cost {cost_usd_micros} \
                 dollars.",
                duration(ms)
            ),
            None => format!(
                "The {what} was sent again, attempt {attempt}: nobody knew what had become of the one before."
            ),
        }),
        Detail::HitlApproval {
            tool_name,
            decision,
            decided_by,
            blast_radius_class,
            ..
        } => {
            let asked = format!(
                "A person was asked about {tool_name} {}",
                class(*blast_radius_class)
            );
            Some(match decision {
                Decision::Approved => {
                    format!("{asked}; after {}, {decided_by} said yes.", duration(ms))
                }
                Decision::Rejected => {
                    format!("{asked}; after {}, {decided_by} said no.", duration(ms))
                }
                Decision::Expired => {
                    format!(
                        "{asked}; nobody answered within {}, which is a no.",
                        duration(ms)
                    )
                }
                Decision::Pending => format!("{asked}, and has not answered yet."),
            })
        }
    }
}

fn turn(span: &Span, call: &LlmCall, story: &Story<'_>) -> String {
    let mut said = format!(
        "The model {} (version {}, prompt {}) read {} tokens and wrote {} in {}, for {} dollars",
        call.model_id,
        call.model_version,
        call.prompt_version_hash,
        call.input_tokens,
        call.output_tokens,
        duration(span.common.latency_ms),
        call.cost_usd_micros
    );
    if let Some(part) = call.context_utilization {
        said.push_str(&format!("; {:.0} % of its context was used", part * 100.0));
    }
    let asked = asked_for(span.common.step_index, story);
    said.push_str(&match (&call.failure, asked.as_slice()) {
        (Some(failure), _) => format!(
            ". Its answer could not be used: it stopped with `{}`, {}.",
            call.finish_reason_raw,
            failure.as_str()
        ),
        (None, []) => ". It gave its answer.".to_owned(),
        (None, asked) => format!(". It asked for {}.", asked.join(", ")),
    });
    said
}

/// The tools that the turn of a step asked for: their calls may stand in this run or a later one.
fn asked_for<'a>(step: u32, story: &Story<'a>) -> Vec<&'a str> {
    let mut ids: BTreeSet<(&str, String)> = BTreeSet::new();
    let mut asked = Vec::new();
    for span in story.spans().filter(|s| s.common.step_index == step) {
        if let Detail::ToolCall(call) = &span.detail
            && ids.insert((&call.tool_name, call.args_redacted.to_string()))
        {
            asked.push(call.tool_name.as_str());
        }
    }
    // A call that waits for its approval has no span of its own yet.
    for span in story.spans().filter(|s| s.common.step_index == step) {
        if let Detail::HitlApproval { tool_name, .. } = &span.detail
            && !asked.contains(&tool_name.as_str())
        {
            asked.push(tool_name);
        }
    }
    asked
}

fn tool(call: &ToolCall, ms: u64) -> String {
    let name = format!("{} {}", call.tool_name, class(call.blast_radius_class));
    let key = match call.idempotency_key.as_str() {
        key if call.blast_radius_class >= 2 && !key.is_empty() => format!(" under the key {key}"),
        _ => String::new(),
    };
    let code = call.error_code.as_deref().unwrap_or("unknown");
    let result: String = call.result_summary.chars().take(RESULT_CHARS).collect();
    let is_fine = call.result_status == ToolStatus::Success;
    match call.disposition.as_str() {
        "in_doubt" if key.is_empty() => {
            format!("The host died in {name}; nothing that changes anything had left.")
        }
        "in_doubt" => {
            format!("The host died in {name}, begun{key}: nobody knew then whether it was done.")
        }
        "running" => format!("{name} is under way{key}."),
        "parked" if call.result_status == ToolStatus::Waiting => {
            format!("{name} waits for a person{key}: nobody knows whether it was done ({code}).")
        }
        "parked" => format!("A person decided what became of {name}{key}: {result}"),
        "refused" => format!("The host refused {name}, and nothing was run: {code}."),
        "deduplicated" => format!(
            "{name} was not done again: it had been done before{key}, and that result was given: {result}"
        ),
        "probed" if is_fine => format!(
            "The host had not seen the answer of {name}. It asked the far side{key}: it was done: {result}"
        ),
        "probed" => format!(
            "The host had not seen the answer of {name}. It asked the far side{key}: it was not done."
        ),
        _ => match call.result_status {
            ToolStatus::Success => {
                let verb = match call.blast_radius_class {
                    0 | 1 => "answered",
                    _ => "was done",
                };
                format!("{name} {verb} in {}{key}: {result}", duration(ms))
            }
            ToolStatus::Timeout => format!("{name} ran out of time after {}{key}.", duration(ms)),
            _ => format!("{name} failed after {}{key}: {code}.", duration(ms)),
        },
    }
}

fn class(number: u8) -> String {
    let word = match number {
        0 => "pure",
        1 => "read-only",
        2 => "reversible",
        3 => "external",
        _ => "irreversible",
    };
    format!("(class {number}, {word})")
}

fn ending(run: &Run<'_>) -> String {
    let took = run.root().map_or(0, |root| root.common.latency_ms);
    let reason = run.reason();
    match (run.outcome(), reason.as_deref()) {
        (Outcome::Success, _) => format!("The run ended with an answer after {}.", duration(took)),
        (Outcome::Error, Some("unsupported_claim")) => {
            "The answer said that something was done, and no call had done it. It was not delivered: the \
             run ended with unsupported_claim."
                .to_owned()
        }
        (Outcome::Error, reason) => {
            format!("The run ended with an error: {}.", reason.unwrap_or("unknown"))
        }
        (Outcome::Interrupt, Some("shutting_down")) => {
            "The run stopped in order, because its host was told to stop.".to_owned()
        }
        (Outcome::Interrupt, reason) => format!(
            "The run stopped there, to wait for a person ({}).",
            reason.unwrap_or("interrupted")
        ),
        (Outcome::Crashed, _) => "The host died there. The run has no end.".to_owned(),
        (Outcome::Running, _) => "The run goes on.".to_owned(),
    }
}

/// A time for people: milliseconds, seconds with one decimal, or minutes.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests;
