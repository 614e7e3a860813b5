//! Where the host is killed: for each stage the scene that passes it, and the places in it.
//!
//! `visits` matches on [`Stage`] without a wildcard: a new stage does not compile until a scene is
//! named for it. That the host really dies there is checked when it is killed: `World::host_dies`
//! is an error if it does not.

use serde_json::{Value, json};
use stoplog_model::port::{Moment, Stage};

/// What happens around the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scene {
    /// A read in iteration 1, the write in iteration 2.
    Write,
    /// The write waits for a person, who approves; the host that goes on is killed.
    Approved,
    /// A write, more reads than fit between two snapshots, and a second write.
    Long,
    /// The far side holds the answer for longer than a lease goes without renewal.
    Slow,
}

/// Who visits a stage.
pub(crate) enum Visits {
    /// The sweep: a scene, and the points in it. `{}` stands for the moment.
    Sweep(Scene, &'static [&'static str]),
    /// Another test, whose source names the point.
    Test {
        /// Its source.
        source: &'static str,
        /// What stands there, with `{}` for the moment.
        names: &'static str,
    },
}

/// Every stage, and who visits it. Commits are counted from the step that they belong to: how many
/// there were before depends on which of them were joined.
pub(crate) fn visits(stage: Stage) -> Visits {
    use Scene::{Approved, Long, Slow, Write};
    match stage {
        Stage::ModelAsked => Visits::Test {
            source: include_str!("../models/killed.rs"),
            names: "model_asked:{}:1",
        },
        Stage::TurnTaken => Visits::Sweep(Write, &["turn_taken:{}:2"]),
        Stage::IntentDurable => Visits::Sweep(Write, &["intent_durable:{}:1"]),
        Stage::ApprovalConsumed => Visits::Sweep(Approved, &["approval_consumed:{}:1"]),
        Stage::RequestSent => Visits::Sweep(Write, &["request_sent:{}:1"]),
        Stage::AnswerReceived => Visits::Sweep(Write, &["answer_received:{}:1"]),
        Stage::OutcomeSettled => Visits::Sweep(Write, &["outcome_settled:{}:1"]),
        Stage::ObservationDurable => Visits::Sweep(Write, &["observation_durable:{}:2"]),
        Stage::ReplyGiven => Visits::Sweep(Write, &["reply_given:{}:2"]),
        Stage::BatchAppended => Visits::Sweep(
            Write,
            &[
                "batch_appended:{}:1/intent_durable:before:1",
                "batch_appended:{}:1/answer_received:after:1",
            ],
        ),
        Stage::TransactionCommitted => Visits::Sweep(
            Write,
            &[
                "transaction_committed:{}:1/intent_durable:before:1",
                "transaction_committed:{}:1/answer_received:after:1",
                "transaction_committed:{}:1/reply_given:after:2",
            ],
        ),
        Stage::FileSynced => Visits::Sweep(
            Write,
            &[
                "file_synced:{}:1/intent_durable:before:1",
                "file_synced:{}:1/answer_received:after:1",
            ],
        ),
        Stage::LeaseTaken => Visits::Sweep(Write, &["lease_taken:{}:1"]),
        Stage::LeaseRenewed => Visits::Sweep(Slow, &["lease_renewed:{}:1"]),
        Stage::LeaseReleased => Visits::Sweep(Write, &["lease_released:{}:1"]),
        Stage::SnapshotWritten => Visits::Sweep(Long, &["snapshot_written:{}:1"]),
        Stage::SessionsPruned => Visits::Test {
            source: include_str!("prune.rs"),
            names: "\"sessions_pruned:{}:1\"",
        },
        Stage::ShutdownStep => Visits::Test {
            source: include_str!("../shutdown.rs"),
            names: "shutdown_step:{moment}:",
        },
    }
}

/// The word that a point has for it.
pub(crate) fn word(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

/// Every point of the sweep.
pub(crate) fn all() -> Vec<(Scene, String)> {
    let mut points = Vec::new();
    for stage in Stage::ALL {
        let Visits::Sweep(scene, templates) = visits(stage) else {
            continue;
        };
        for moment in [Moment::Before, Moment::After] {
            let filled = |t: &&str| (scene, t.replace("{}", &word(&json!(moment))));
            points.extend(templates.iter().map(filled));
        }
    }
    points
}

/// A point under a stage's arm names that stage, and the other tests name theirs.
#[test]
fn every_stage_is_visited() {
    for stage in Stage::ALL {
        match visits(stage) {
            Visits::Sweep(_, templates) => {
                assert!(!templates.is_empty(), "nobody dies at {stage:?}");
                for template in templates {
                    let own = format!("{}:{{}}:", word(&json!(stage)));
                    assert!(template.starts_with(&own), "{template} is not {own}");
                }
            }
            Visits::Test { source, names } => {
                for moment in [Moment::Before, Moment::After] {
                    let said = names.replace("{}", &word(&json!(moment)));
                    assert!(source.contains(&said), "no test says {said}");
                }
            }
        }
    }
}
