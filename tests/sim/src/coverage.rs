//! What happened how often. A kind of operation that never happened in a run fails the run: a
//! simulation that has stopped to reach something would otherwise go on being green.

use std::collections::{BTreeMap, BTreeSet};

/// Counters by name, `kind/case`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// Counts one.
    pub fn count(&mut self, kind: &str, case: impl AsRef<str>) {
        *self
            .0
            .entry(format!("{kind}/{}", case.as_ref()))
            .or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: Coverage) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// How often.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Names and counts, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// Everything that must have happened and did not: the names in [`EXPECTED`], and a crash at
    /// each point that was reached at all, so that a new stage is asked for by being passed.
    pub fn missing(&self) -> Vec<String> {
        let listed = EXPECTED.iter().flat_map(|(kind, cases)| {
            cases
                .split_whitespace()
                .map(move |case| format!("{kind}/{case}"))
        });
        let reached = self
            .0
            .keys()
            .filter_map(|name| name.strip_prefix("reached/"))
            .filter(|point| !RARE.contains(point))
            .map(|point| format!("crash/{point}"));
        let wanted: BTreeSet<String> = listed.chain(reached).collect();
        wanted
            .into_iter()
            .filter(|name| self.of(name) == 0)
            .collect()
    }
}

/// Points at which no host need die here: only a host that works for ten seconds and more passes
/// them, and few seeds have one. The crash sweep of real processes kills at each of them.
pub const RARE: [&str; 2] = ["lease_renewed.before", "lease_renewed.after"];

/// What a run of many seeds must have done, by kind.
pub const EXPECTED: &[(&str, &str)] = &[
    (
        "event",
        "session_started run_started model_asked context_trimmed turn_taken turn_rejected model_failed approval_requested \
         approval_decided call_started read_recorded intent_recorded outcome_recorded probed \
         undone observed parked park_resolved run_ended",
    ),
    ("disposition", "executed deduplicated probed refused parked"),
    ("outcome", "answered not_sent unanswered"),
    ("finding", "absent once several unknown"),
    (
        "parked",
        "nondeterministic resend_exhausted ledger_mismatch found_several doubt_unresolvable",
    ),
    (
        "refused",
        "key_conflict key_in_flight input_schema key_unfillable unknown_tool approval_rejected \
         approval_expired",
    ),
    (
        "person",
        "approve reject never done done_output not_done abandon",
    ),
    (
        "far",
        "did remembered refused_connection said_no failed_before failed_after hung_up_before \
         hung_up_after late_silent late_failed slow too_slow garbage timed_out in_flight undid \
         nothing_to_undo twice lost looked",
    ),
    (
        "reached",
        "model_asked.before model_asked.after turn_taken.before turn_taken.after intent_durable.before intent_durable.after \
         approval_consumed.before approval_consumed.after request_sent.before request_sent.after \
         answer_received.before answer_received.after observation_durable.before \
         observation_durable.after request_under_way append.before append.after",
    ),
    // All but `open_intents`, which no host asks for: it is an operator's question.
    (
        "store",
        "append.before append.after read.before read.after lease.before lease.after \
         renew.before renew.after release.before release.after sessions.before sessions.after \
         act_key.before act_key.after",
    ),
    ("trim", "cut dropped"),
    ("zombie", "froze_in_append froze_under_way fenced"),
    (
        "how",
        "plain hide lie trap stumble stall fickle leave garble",
    ),
    ("run", "success error interrupt died"),
    ("session", "ended failed"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_named() {
        let mut coverage = Coverage::default();
        for (kind, cases) in EXPECTED {
            for case in cases.split_whitespace() {
                coverage.count(kind, case);
            }
        }
        let missing = coverage.missing();
        assert!(
            missing.iter().all(|m| m.starts_with("crash/")),
            "{missing:?}"
        );
        assert!(missing.contains(&"crash/append.before".to_owned()));
        for point in missing {
            coverage.0.insert(point, 1);
        }
        assert_eq!(coverage.missing(), Vec::<String>::new());
        coverage.0.remove("parked/found_several");
        assert_eq!(coverage.missing(), ["parked/found_several"]);
    }
}
