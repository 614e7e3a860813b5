//! Which points a host is killed at: chosen from what it passed when it was left alone.
//!
//! Every step of the call is there, before and after, for each of its effects; and each commit
//! around an effect. Leases, snapshots and shutdowns are the host's own business, and its own tests
//! kill it there.

use std::collections::HashMap;

use stoplog_model::port::{Moment, Stage};

use super::trap::{Mark, Point};

/// Points of one case at most; a call of many effects is killed at some of each. 64 are three calls'
/// worth, and take a few seconds.
pub(super) const MAX_POINTS: usize = 64;

/// The steps of a call.
const STEPS: [Stage; 8] = [
    Stage::TurnTaken,
    Stage::IntentDurable,
    Stage::ApprovalConsumed,
    Stage::RequestSent,
    Stage::AnswerReceived,
    Stage::OutcomeSettled,
    Stage::ObservationDurable,
    Stage::ReplyGiven,
];

/// The points of a call that passed these stages, and how many there would be without a limit.
pub(super) fn all(passed: &[(Stage, Moment)]) -> (Vec<Point>, usize) {
    let mut points = steps(passed);
    let effects = count(&points, Stage::IntentDurable, Moment::Before);
    for nth in 1..=effects {
        for behind in [
            (Stage::IntentDurable, Moment::Before),
            (Stage::AnswerReceived, Moment::After),
        ] {
            points.extend(commits(behind, nth));
        }
    }
    let wanted = points.len();
    (spread(points, MAX_POINTS), wanted)
}

/// The worst moments alone: for a case whose call goes the way of another that was killed
/// everywhere.
pub(super) fn worst(passed: &[(Stage, Moment)]) -> Vec<Point> {
    let worst = [
        (Stage::IntentDurable, Moment::After),
        (Stage::RequestSent, Moment::After),
        (Stage::ObservationDurable, Moment::Before),
    ];
    let all = steps(passed).into_iter();
    let points = all.filter(|p| worst.contains(&(p.at.stage, p.at.moment)));
    spread(points.collect(), MAX_POINTS / 4)
}

fn count(points: &[Point], stage: Stage, moment: Moment) -> u32 {
    let of_stage = points
        .iter()
        .filter(|p| (p.at.stage, p.at.moment) == (stage, moment));
    u32::try_from(of_stage.count()).unwrap_or(u32::MAX)
}

/// From the turn to the reply behind the first observation.
fn steps(passed: &[(Stage, Moment)]) -> Vec<Point> {
    let mut seen: HashMap<(Stage, Moment), u32> = HashMap::new();
    let mut points = Vec::new();
    let mut is_observed = false;
    for &(stage, moment) in passed {
        let nth = seen.entry((stage, moment)).or_insert(0);
        *nth += 1;
        if STEPS.contains(&stage) {
            points.push(Point {
                at: Mark {
                    stage,
                    moment,
                    nth: *nth,
                },
                behind: None,
            });
        }
        is_observed |= (stage, moment) == (Stage::ObservationDurable, Moment::After);
        if is_observed && (stage, moment) == (Stage::ReplyGiven, Moment::After) {
            break;
        }
    }
    points
}

fn commits(behind: (Stage, Moment), nth: u32) -> Vec<Point> {
    let mut points = Vec::new();
    for stage in [Stage::BatchAppended, Stage::TransactionCommitted] {
        for moment in [Moment::Before, Moment::After] {
            let at = Mark {
                stage,
                moment,
                nth: 1,
            };
            let (stage, moment) = behind;
            let behind = Some(Mark { stage, moment, nth });
            points.push(Point { at, behind });
        }
    }
    points
}

/// So many of them at most, evenly.
fn spread(points: Vec<Point>, most: usize) -> Vec<Point> {
    let all = points.len();
    if all <= most {
        return points;
    }
    (0..most).map(|i| points[i * all / most]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(effects: usize) -> Vec<(Stage, Moment)> {
        let both = |stage| [(stage, Moment::Before), (stage, Moment::After)];
        let mut passed = vec![(Stage::LeaseTaken, Moment::Before)];
        passed.extend(both(Stage::TurnTaken));
        for _ in 0..effects {
            passed.extend(both(Stage::IntentDurable));
            passed.extend(both(Stage::RequestSent));
        }
        passed.extend(both(Stage::ObservationDurable));
        passed.extend(both(Stage::ReplyGiven));
        passed.extend(both(Stage::TurnTaken));
        passed
    }

    #[test]
    fn every_step_of_every_effect_is_there_and_nothing_behind_the_reply() {
        let (points, wanted) = all(&passed(2));
        assert_eq!(points.len(), 2 + 8 + 4 + 16);
        assert_eq!(wanted, points.len());
        let has = |text: &str| points.iter().any(|p| p.to_string() == text);
        assert!(has("request_sent:after:2"));
        assert!(has("turn_taken:before:1") && !has("turn_taken:before:2"));
        assert!(has("transaction_committed:after:1/answer_received:after:2"));
        assert!(!has("lease_taken:before:1"));
        assert_eq!(worst(&passed(2)).len(), 5);
    }

    #[test]
    fn many_effects_are_killed_at_some_of_their_points() {
        let (points, wanted) = all(&passed(40));
        assert_eq!(points.len(), MAX_POINTS);
        assert!(wanted > MAX_POINTS);
    }

    #[test]
    fn a_point_is_read_as_it_is_written() {
        for point in all(&passed(1)).0 {
            let text = point.to_string();
            let mut marks = text.split('/').map(|m| m.parse::<Mark>().expect("mark"));
            assert_eq!(marks.next(), Some(point.at));
            assert_eq!(marks.next(), point.behind);
        }
    }
}
