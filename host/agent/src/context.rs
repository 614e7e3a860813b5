//! How a conversation is kept within the context window of its model. Pure.
//!
//! Rules (requirements 67, 68, 76, 103), in this order, until the prompt is short enough:
//!
//! 1. outputs of tools are cut, the oldest first, those that are long;
//! 2. turns are left out whole, the oldest first, calls together with their results, so that no
//!    provider sees one without the other; a list of what they did stands in their place.
//!
//! Invariants:
//!
//! * The system prompt, the task and the newest turns are never touched.
//! * Nothing is left out silently: what is decided here is an event, and every later prompt is built
//!   from the events alone, so a resumed run builds the same.
//! * A decision is a function of the journal and the configuration.
//!
//! How long a prompt is, is what the provider counted for the last one, and an estimate of what has
//! come since.

use stoplog_llm::{BYTES_PER_TOKEN, Window};
use stoplog_model::Position;
use stoplog_model::event::{ContextTrimmed, OutputCut, TrimCause};
use stoplog_model::session::{CallState, Session, TurnState};

use crate::prompt::{self, Left};

/// Percent of what sets trimming off that a prompt has behind it: one that was just short enough
/// would be trimmed again in every turn, and the provider's cache would never hold.
const GOAL_PERCENT: u64 = 75;

/// Percent of a prompt that stays when the provider refused it: its own count is not known.
const REFUSED_PERCENT: u64 = 60;

/// Tokens of the prompt for the next turn.
pub(crate) fn tokens(session: &Session, system_bytes: u64) -> u64 {
    // What was left out for this very turn is not in any count yet: a run that is resumed behind it
    // must not leave out more.
    let to_be = session.iterations() + 1;
    if let Some(trim) = session.trims.last().filter(|t| t.iteration == to_be) {
        return trim.after_tokens;
    }
    let left = Left::of(session);
    let bytes = |turn: &TurnState| turn_bytes(turn, &left);
    match session.turns.last() {
        // What a provider counted, and not a script.
        Some(last) if last.turn.context_window_tokens > 0 => {
            let since = bytes(last).saturating_sub(last.turn.text.len() as u64);
            last.turn.input_tokens + last.turn.output_tokens + since / BYTES_PER_TOKEN
        }
        _ => {
            let all: u64 = session.turns.iter().map(|t| bytes(t)).sum();
            (system_bytes + session.started.task.len() as u64 + all) / BYTES_PER_TOKEN
        }
    }
}

/// What to leave out of the prompt for the next turn; none when it is short enough, or when nothing
/// can be left out.
pub(crate) fn plan(
    session: &Session,
    iteration: u32,
    system_bytes: u64,
    window: Window,
    cause: TrimCause,
) -> Option<ContextTrimmed> {
    let before = tokens(session, system_bytes);
    let limit = window.tokens * window.trim_at_percent / 100;
    let goal = match cause {
        TrimCause::Share if before <= limit => return None,
        TrimCause::Share => limit * GOAL_PERCENT / 100,
        TrimCause::Refused => before.min(window.tokens) * REFUSED_PERCENT / 100,
    };
    let mut left = Left::of(session);
    let keep = window.keep_turns.max(1) as usize;
    let old = session.turns.len().saturating_sub(keep);
    let old: Vec<&TurnState> = session.turns[..old]
        .iter()
        .map(|t| &**t)
        .filter(|t| t.turn.iteration > left.dropped_through)
        .collect();
    let mut saved = 0;
    let is_short = |saved: u64| before.saturating_sub(saved / BYTES_PER_TOKEN) <= goal;

    let mut cuts = Vec::new();
    for (position, call) in old.iter().flat_map(|t| calls(t)) {
        if is_short(saved) {
            break;
        }
        let bytes = prompt::result_bytes(position, call, &left);
        if bytes > window.keep_output_bytes + prompt::MARK_BYTES {
            saved += bytes - window.keep_output_bytes - prompt::MARK_BYTES;
            left.cut(position, window.keep_output_bytes);
            cuts.push(OutputCut {
                position,
                tool: call.call.tool.clone(),
                from_bytes: bytes,
                to_bytes: window.keep_output_bytes,
            });
        }
    }
    let mut dropped_through = left.dropped_through;
    for turn in &old {
        if is_short(saved) {
            break;
        }
        let note: u64 = calls(turn).map(|(p, c)| prompt::note_bytes(p, c)).sum();
        saved += turn_bytes(turn, &left).saturating_sub(note);
        dropped_through = turn.turn.iteration;
    }
    let is_something = !cuts.is_empty() || dropped_through > left.dropped_through;
    // Cutting what is then dropped would be told for nothing.
    cuts.retain(|c| c.position.iteration > dropped_through);
    is_something.then(|| ContextTrimmed {
        iteration,
        cause,
        window_tokens: window.tokens,
        before_tokens: before,
        after_tokens: before.saturating_sub(saved / BYTES_PER_TOKEN),
        cuts,
        dropped_through,
    })
}

fn calls(turn: &TurnState) -> impl Iterator<Item = (Position, &CallState)> {
    turn.calls.iter().map(|call| {
        let position = Position {
            iteration: turn.turn.iteration,
            ordinal: call.call.ordinal,
        };
        (position, call)
    })
}

/// Bytes of a turn in a prompt: its text, its calls, and what came of them.
fn turn_bytes(turn: &TurnState, left: &Left) -> u64 {
    if turn.turn.iteration <= left.dropped_through {
        return 0;
    }
    let calls = calls(turn).map(|(position, call)| {
        let asked = call.call.tool.len() + call.call.arguments.to_string().len();
        asked as u64 + prompt::result_bytes(position, call, left)
    });
    turn.turn.text.len() as u64 + calls.sum::<u64>()
}

#[cfg(test)]
mod tests;
