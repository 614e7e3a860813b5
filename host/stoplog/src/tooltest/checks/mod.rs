//! What is looked at, one file a question.

mod declared;
mod killed;
mod outcome;
mod probe;
mod record;
mod twice;
mod undo;

pub(super) use declared::{CASE as DECLARED, check as declared};
pub(super) use killed::{check as killed, lost_answer, under_way};
pub(super) use outcome::check as outcome;
pub(super) use probe::{check as probe, preview};
pub(super) use record::check as record;
pub(super) use twice::check as twice;
pub(super) use undo::check as undo;

use stoplog_model::event::CallResult;
use stoplog_model::session::CallState;

/// How a call ended, in one line.
fn ended(call: &CallState) -> String {
    if let Some(parked) = &call.parked {
        return format!("parked ({}): {}", parked.reason, parked.detail);
    }
    match call.observed.as_ref().map(|o| &o.result) {
        None => "the call did not end".into(),
        Some(CallResult::Ok(output)) => format!("output {output}"),
        Some(CallResult::Err(error)) => match error.reason {
            Some(reason) => format!(
                "error {} ({reason}): {}",
                error.code.as_str(),
                error.message
            ),
            None => format!("error {}: {}", error.code.as_str(), error.message),
        },
    }
}

/// `1 effect`, `2 effects`.
fn effects(n: usize) -> String {
    match n {
        1 => "1 effect".into(),
        n => format!("{n} effects"),
    }
}
