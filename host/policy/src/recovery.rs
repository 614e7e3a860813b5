//! What cures a call whose effect is in doubt: ask, send again, take back and do again, or park.
//!
//! | far side            | class 2          | class 3 and 4 |
//! |---------------------|------------------|---------------|
//! | found once          | accept           | accept        |
//! | absent, settled     | send again       | send again    |
//! | unknown, keeps keys | send again       | send again    |
//! | unknown, forgets    | undo, then again | park          |
//! | several             | park             | park          |
//!
//! `absent` is believed only when the settling time had passed as the far side was asked; where it
//! keeps keys, sending again is safe at once. Nothing is taken back before that time either, or
//! without one: a request that is done behind its undo stays. Resends are bounded, then the call parks.

use stoplog_model::outcome::Finding;
use stoplog_model::{Class, Reason};

/// How often one effect is sent, the first time included, before a person must look.
/// Three: one for a passing fault, one for bad luck; more would hammer a far side that is down.
pub const SEND_LIMIT: u32 = 3;

/// How often a call is undone before a person must look.
pub const UNDO_LIMIT: u32 = 2;

/// What is known about the doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Class of the tool.
    pub class: Class,
    /// The far side remembers keys.
    pub keeps_keys: bool,
    /// Its settling time, milliseconds.
    pub settles_within_ms: u64,
    /// When the effect may last have been under way, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Wall clock, milliseconds since the Unix epoch. With a finding: as it was when the far side
    /// was asked, because what it showed then says nothing about the time since.
    pub now_ms: u64,
    /// How often the effect was sent.
    pub sent: u32,
    /// Every effect of the call was answered: what is lost is its output alone.
    pub answered: bool,
    /// The call has more effects than this one: an output found by probe cannot stand for all.
    pub one_of_several: bool,
    /// How often the call was undone.
    pub undone: u32,
    /// What a look at the far side found, since the last sending.
    pub finding: Option<Finding>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cure {
    /// Ask the far side.
    Probe,
    /// Wait until this time, then ask again. Milliseconds since the Unix epoch.
    WaitUntil(u64),
    /// It was done: this is its output.
    Accept(String),
    /// Run the call again; the effect in doubt is sent again under the same key.
    SendAgain,
    /// Take it back, then run the call again.
    Undo,
    /// The far side shows nothing, and it was tried often enough: told to the model if that can be
    /// believed, else parked.
    GiveUp,
    /// A person must look.
    Park(Reason, String),
}

/// Decides. Pure.
pub fn cure(doubt: &Doubt) -> Cure {
    let settled_at = doubt.since_ms.saturating_add(doubt.settles_within_ms);
    match &doubt.finding {
        None => Cure::Probe,
        Some(Finding::Several { times }) => Cure::Park(
            Reason::FoundSeveral,
            format!("the far side has it {times} times under one key"),
        ),
        Some(Finding::Once { output }) if !doubt.one_of_several => Cure::Accept(output.clone()),
        Some(Finding::Once { .. }) if doubt.keeps_keys => bounded(doubt),
        Some(Finding::Once { .. }) => Cure::Park(
            Reason::DoubtUnresolvable,
            "the far side has this effect, but its answer is lost, the call has further effects, \
             and the far side keeps no keys"
                .into(),
        ),
        Some(Finding::Absent) if doubt.sent >= SEND_LIMIT && doubt.now_ms >= settled_at => {
            Cure::GiveUp
        }
        Some(Finding::Absent) if doubt.keeps_keys && doubt.sent < SEND_LIMIT => Cure::SendAgain,
        // A slow far side shows nothing while it is still at it: without keys there, and without
        // a settling time declared, sending again might do it twice.
        Some(Finding::Absent) if !doubt.keeps_keys && doubt.settles_within_ms == 0 => Cure::Park(
            Reason::DoubtUnresolvable,
            "the far side shows nothing, keeps no keys, and declares no settling time".into(),
        ),
        Some(Finding::Absent) if doubt.now_ms < settled_at => Cure::WaitUntil(settled_at),
        Some(Finding::Absent) => bounded(doubt),
        Some(Finding::Unknown { .. }) if doubt.keeps_keys => bounded(doubt),
        // Without a settling time nobody knows when it can be taken back: a request that is done
        // behind its undo stays, and the next one is one too many.
        Some(Finding::Unknown { .. })
            if doubt.class == Class::Reversible && doubt.settles_within_ms == 0 =>
        {
            Cure::Park(
                Reason::DoubtUnresolvable,
                "the far side keeps no keys and declares no settling time, so it cannot be undone \
                 safely"
                    .into(),
            )
        }
        Some(Finding::Unknown { .. }) if doubt.class == Class::Reversible => {
            if doubt.undone < UNDO_LIMIT && doubt.now_ms < settled_at {
                // Taken back too early, it would be done behind the undo, and then once more.
                Cure::WaitUntil(settled_at)
            } else if doubt.undone < UNDO_LIMIT {
                Cure::Undo
            } else {
                Cure::Park(
                    Reason::ResendExhausted,
                    format!("undone {UNDO_LIMIT} times, and in doubt again"),
                )
            }
        }
        Some(Finding::Unknown { why }) => Cure::Park(
            Reason::DoubtUnresolvable,
            format!("the far side keeps no keys and cannot be asked ({why})"),
        ),
    }
}

fn bounded(doubt: &Doubt) -> Cure {
    if doubt.sent < SEND_LIMIT {
        Cure::SendAgain
    } else if doubt.answered {
        // It was not sent again: its answer was replayed, and the tool failed at the same place.
        Cure::Park(
            Reason::DoubtUnresolvable,
            "every effect was answered, and each time the tool fails before it gives its output"
                .into(),
        )
    } else {
        Cure::Park(
            Reason::ResendExhausted,
            format!(
                "sent {} times, and nobody knows whether it was done",
                doubt.sent
            ),
        )
    }
}

/// Milliseconds to wait before an effect is sent once more: nothing after a crash, then half a
/// second, then two, so that a far side that is restarting gets a chance.
pub fn pause_before_sending_ms(sent: u32, after_crash: bool) -> u64 {
    match (sent, after_crash) {
        (_, true) | (0, _) => 0,
        (1, _) => 500,
        _ => 2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(class: Class, keeps_keys: bool, finding: Option<Finding>) -> Doubt {
        Doubt {
            class,
            keeps_keys,
            settles_within_ms: 1000,
            since_ms: 0,
            now_ms: 5000,
            sent: 1,
            answered: false,
            one_of_several: false,
            undone: 0,
            finding,
        }
    }

    fn once() -> Option<Finding> {
        Some(Finding::Once {
            output: "{}".into(),
        })
    }

    fn unknown() -> Option<Finding> {
        Some(Finding::Unknown { why: "no".into() })
    }

    /// A client that knows no permits, in a tool that fails behind its effect.
    #[test]
    fn what_was_answered_is_not_told_as_sent_too_often() {
        let lost = Doubt {
            answered: true,
            one_of_several: true,
            sent: SEND_LIMIT,
            ..doubt(Class::External, true, once())
        };
        assert!(matches!(
            cure(&lost),
            Cure::Park(Reason::DoubtUnresolvable, _)
        ));
        let sent = Doubt {
            answered: false,
            ..lost
        };
        assert!(matches!(
            cure(&sent),
            Cure::Park(Reason::ResendExhausted, _)
        ));
    }

    #[test]
    fn nothing_is_undone_without_a_settling_time() {
        let untimed = Doubt {
            settles_within_ms: 0,
            ..doubt(Class::Reversible, false, unknown())
        };
        assert!(matches!(
            cure(&untimed),
            Cure::Park(Reason::DoubtUnresolvable, _)
        ));
    }

    #[test]
    fn the_table_of_the_design() {
        use Class::{External, Irreversible, Reversible};
        for class in [Reversible, External, Irreversible] {
            for keeps in [true, false] {
                assert_eq!(cure(&doubt(class, keeps, None)), Cure::Probe);
                assert_eq!(
                    cure(&doubt(class, keeps, once())),
                    Cure::Accept("{}".into())
                );
                assert_eq!(
                    cure(&doubt(class, keeps, Some(Finding::Absent))),
                    Cure::SendAgain
                );
                let several = Some(Finding::Several { times: 2 });
                assert!(matches!(
                    cure(&doubt(class, keeps, several)),
                    Cure::Park(Reason::FoundSeveral, _)
                ));
            }
            assert_eq!(cure(&doubt(class, true, unknown())), Cure::SendAgain);
        }
        assert_eq!(cure(&doubt(Reversible, false, unknown())), Cure::Undo);
        for class in [External, Irreversible] {
            assert!(matches!(
                cure(&doubt(class, false, unknown())),
                Cure::Park(Reason::DoubtUnresolvable, _)
            ));
        }
    }

    #[test]
    fn absent_is_believed_only_when_it_had_time_to_show() {
        let early = Doubt {
            now_ms: 10,
            ..doubt(Class::External, false, Some(Finding::Absent))
        };
        assert_eq!(cure(&early), Cure::WaitUntil(1000));
        let keeps = Doubt {
            keeps_keys: true,
            ..early
        };
        assert_eq!(cure(&keeps), Cure::SendAgain);
    }

    #[test]
    fn nothing_is_taken_back_while_it_may_still_be_done() {
        let early = Doubt {
            now_ms: 999,
            ..doubt(Class::Reversible, false, unknown())
        };
        assert_eq!(cure(&early), Cure::WaitUntil(1000));
        let over = Doubt {
            now_ms: 1000,
            ..early.clone()
        };
        assert_eq!(cure(&over), Cure::Undo);
        let often = Doubt {
            undone: UNDO_LIMIT,
            ..early
        };
        assert!(matches!(
            cure(&often),
            Cure::Park(Reason::ResendExhausted, _)
        ));
    }

    #[test]
    fn absent_without_keys_and_without_a_settling_time_is_not_believed() {
        let d = Doubt {
            settles_within_ms: 0,
            ..doubt(Class::External, false, Some(Finding::Absent))
        };
        assert!(matches!(cure(&d), Cure::Park(Reason::DoubtUnresolvable, _)));
        let keeps = Doubt {
            keeps_keys: true,
            ..d
        };
        assert_eq!(cure(&keeps), Cure::SendAgain);
    }

    #[test]
    fn sending_is_bounded_for_every_class_and_finding() {
        for class in [Class::Reversible, Class::External, Class::Irreversible] {
            for keeps in [true, false] {
                for finding in [once(), unknown(), Some(Finding::Absent)] {
                    for several in [true, false] {
                        let d = Doubt {
                            sent: SEND_LIMIT,
                            one_of_several: several,
                            undone: UNDO_LIMIT,
                            ..doubt(class, keeps, finding.clone())
                        };
                        assert_ne!(cure(&d), Cure::SendAgain, "{d:?}");
                        assert_ne!(cure(&d), Cure::Undo, "{d:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_output_of_one_effect_never_stands_for_a_call_of_several() {
        let d = Doubt {
            one_of_several: true,
            ..doubt(Class::External, false, once())
        };
        assert!(matches!(cure(&d), Cure::Park(..)));
        let d = Doubt {
            one_of_several: true,
            ..doubt(Class::External, true, once())
        };
        assert_eq!(cure(&d), Cure::SendAgain);
    }
}
