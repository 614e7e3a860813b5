//! What is believed of a failed call: the worse of what the tool says and what the gate saw
//! ([`EffectState::aftermath`]).

use stoplog_model::Aftermath;
use stoplog_model::session::EffectState;

/// Whether an effect may be sent again although an outcome is recorded: nobody knows what became
/// of it.
pub fn inconclusive(effect: &EffectState) -> bool {
    effect.aftermath() == Aftermath::Unknown
}

/// What is believed, given what the tool claims.
pub fn believed(claimed: Aftermath, effects: &[EffectState]) -> Aftermath {
    effects
        .iter()
        .map(EffectState::aftermath)
        .fold(claimed, Aftermath::max)
}
