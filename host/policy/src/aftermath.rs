//! What is believed of a failed call: the worse of what the tool says and what the gate saw.

use stoplog_model::session::EffectState;
use stoplog_model::{Aftermath, Outcome};

/// What the gate saw of one effect.
///
/// An answer of class 2xx or 3xx changed something. A 4xx did not, whatever it is: the far side
/// says that it refused. A 5xx may come from before or behind the change. A void effect was
/// taken back or found not done.
fn seen(effect: &EffectState) -> Aftermath {
    if effect.void {
        return Aftermath::Untouched;
    }
    match &effect.outcome {
        Some(Outcome::Answered { response }) => match response.status {
            408 => Aftermath::Unknown,
            400..=499 => Aftermath::Untouched,
            500.. => Aftermath::Unknown,
            _ => Aftermath::Changed,
        },
        Some(Outcome::NotSent { .. }) => Aftermath::Untouched,
        Some(Outcome::Unanswered { .. }) | None => Aftermath::Unknown,
    }
}

/// Whether an effect may be sent again although an outcome is recorded: nobody knows what became
/// of it.
pub fn inconclusive(effect: &EffectState) -> bool {
    seen(effect) == Aftermath::Unknown
}

/// What is believed, given what the tool claims.
pub fn believed(claimed: Aftermath, effects: &[EffectState]) -> Aftermath {
    effects.iter().map(seen).fold(claimed, Aftermath::max)
}
