//! Everything that a crash, a host or the far side can change: disk, hosts, wires, far side, time.
//!
//! The state of an effect on disk is that of the product: each event is applied by the real
//! `EffectState::next`, on fixed payloads; what is kept here is what differs between two states.

use std::sync::OnceLock;

use stoplog_model::event::{IntentRecorded, OutcomeRecorded};
use stoplog_model::session::{EffectEvent, EffectState, IllegalTransition};
use stoplog_model::{Aftermath, Class, Digest, Outcome, Position, Reason, Request, Response};

/// What kind of far side, tool and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) class: Class,
    /// The far side remembers keys: a key is done once, then its answer is repeated.
    pub(crate) keeps_keys: bool,
    /// It can be asked what it has under a key. Even then a question may fail.
    pub(crate) can_be_asked: bool,
    /// The tool declares a settling time, and the far side keeps to it.
    pub(crate) settles: bool,
    /// What is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
}

impl Setup {
    pub(crate) const fn new(
        class: Class,
        keeps_keys: bool,
        can_be_asked: bool,
        settles: bool,
    ) -> Setup {
        Setup {
            class,
            keeps_keys,
            can_be_asked,
            settles,
            sabotage: None,
        }
    }

    /// How often a host starts: the first, and one or two that take over. One where undoing makes
    /// the paths long: more would be visited for minutes.
    pub(crate) fn starts(&self) -> u8 {
        match (self.class, self.keeps_keys) {
            (Class::Reversible, false) => 2,
            _ => 3,
        }
    }
}

/// A host or a world that breaks one rule: the model must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Each sending carries a key of its own.
    NewKeyOnResend,
    /// Sent again without a look at the far side.
    SkipProbe,
    /// An absence is believed at once.
    BelieveAbsentAtOnce,
    /// An absence is believed when the settling time is over now, and not when it was asked for.
    BelieveStaleAbsent,
    /// The store takes what an old host writes.
    NoEpochCheck,
    /// The request leaves before its intent is durable.
    SendBeforeIntent,
    /// A resend that was refused clears up the sending before it.
    RefusalClearsDoubt,
    /// A call is taken back while its request may still be on its way.
    UndoAtOnce,
    /// A host that died behind an answered undo, before it said so, forgets the undo.
    ForgetAnsweredUndo,
    /// A person finds nothing behind an undo in doubt; the answer from before the undo counts on.
    KeepBehindUndo,
    /// Not the host's fault: the far side is slower than the tool declares.
    SlowerThanDeclared,
    /// Not the far side's fault: a host without its lease sends later than the settling time.
    ZombieSendsLate,
}

/// Which effect of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Main,
    Undo,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Came {
    Open,
    Done,
    Refused,
    Broke,
    NotSent,
    Unanswered,
}

/// The state of an effect without its payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Deed {
    pub(crate) attempt: u8,
    pub(crate) came: Came,
    pub(crate) void: bool,
    pub(crate) earlier_doubt: bool,
}

/// What may happen to an effect.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Intended { after_absent: bool },
    Settled(Came),
    TakenBack,
    FoundNotDone { denied: bool },
}

fn intent(attempt: u8) -> IntentRecorded {
    static ONE: OnceLock<IntentRecorded> = OnceLock::new();
    let one = ONE.get_or_init(|| {
        let request = Request {
            method: "POST".into(),
            url: String::new(),
            headers: vec![],
            body: vec![],
        };
        IntentRecorded {
            position: Position {
                iteration: 1,
                ordinal: 0,
            },
            label: String::new(),
            attempt: 1,
            key: String::new(),
            act_key: None,
            args_digest: Digest::of(b""),
            fingerprint: request.fingerprint(),
            request,
            approval: None,
            one_of_several: false,
        }
    });
    IntentRecorded {
        attempt: attempt.into(),
        ..one.clone()
    }
}

fn outcome(came: Came) -> Option<Outcome> {
    let answered = |status| Outcome::Answered {
        response: Response {
            status,
            headers: vec![],
            body: vec![],
        },
    };
    match came {
        Came::Open => None,
        Came::Done => Some(answered(200)),
        Came::Refused => Some(answered(409)),
        Came::Broke => Some(answered(500)),
        Came::NotSent => Some(Outcome::NotSent { why: String::new() }),
        Came::Unanswered => Some(Outcome::Unanswered { why: String::new() }),
    }
}

impl Deed {
    /// As the product has it.
    pub(crate) fn state(&self) -> EffectState {
        EffectState {
            intent: intent(self.attempt),
            touched_at_ms: 0,
            outcome: outcome(self.came),
            void: self.void,
            earlier_doubt: self.earlier_doubt,
        }
    }

    fn of(state: &EffectState) -> Deed {
        let EffectState {
            intent,
            touched_at_ms: _,
            outcome,
            void,
            earlier_doubt,
        } = state;
        let came = match outcome {
            None => Came::Open,
            Some(Outcome::Answered { response }) => match response.status {
                200 => Came::Done,
                409 => Came::Refused,
                _ => Came::Broke,
            },
            Some(Outcome::NotSent { .. }) => Came::NotSent,
            Some(Outcome::Unanswered { .. }) => Came::Unanswered,
        };
        Deed {
            attempt: intent.attempt as u8,
            came,
            void: *void,
            earlier_doubt: *earlier_doubt,
        }
    }

    pub(crate) fn aftermath(&self) -> Aftermath {
        self.state().aftermath()
    }

    /// The real function.
    pub(crate) fn next(known: Option<Deed>, change: Change) -> Result<Deed, IllegalTransition> {
        let before = known.as_ref().map(Deed::state);
        let attempt = known.map_or(0, |d| d.attempt);
        let next = match change {
            Change::Intended { after_absent } => {
                let intent = intent(attempt + 1);
                let event = EffectEvent::Intended {
                    intent: &intent,
                    at_ms: 0,
                    after_absent,
                };
                EffectState::next(before.as_ref(), &event)
            }
            Change::Settled(came) => {
                let recorded = OutcomeRecorded {
                    position: Position {
                        iteration: 1,
                        ordinal: 0,
                    },
                    label: String::new(),
                    attempt: attempt.into(),
                    outcome: outcome(came).expect("an outcome"),
                    latency_ms: 0,
                };
                let event = EffectEvent::Settled {
                    recorded: &recorded,
                    at_ms: 0,
                };
                EffectState::next(before.as_ref(), &event)
            }
            Change::TakenBack => EffectState::next(before.as_ref(), &EffectEvent::TakenBack),
            Change::FoundNotDone { denied } => {
                EffectState::next(before.as_ref(), &EffectEvent::FoundNotDone { denied })
            }
        };
        next.map(|state| Deed::of(&state))
    }
}

/// What the loop was told of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    /// It was done, the host says.
    Done,
    /// It was not done, the host says.
    Untouched,
    /// It failed behind a change.
    Changed,
    /// What a person said.
    ByPerson,
}

/// What a person says of a parked call. People look before they speak: it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    Done,
    NotDone,
}

/// The durable state of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Disk {
    pub(crate) main: Option<Deed>,
    pub(crate) undo: Option<Deed>,
    /// The last look since the last intent showed a settled absence.
    pub(crate) absent: bool,
    pub(crate) undone: u8,
    pub(crate) parked: Option<Reason>,
    /// A park was resolved as done.
    pub(crate) resolved_done: bool,
    pub(crate) told: Option<Told>,
}

impl Disk {
    pub(crate) fn deed(&mut self, what: What) -> &mut Option<Deed> {
        match what {
            What::Main => &mut self.main,
            What::Undo => &mut self.undo,
        }
    }

    pub(crate) fn in_doubt(&self) -> bool {
        let doubt = |deed: &Option<Deed>| deed.is_some_and(|d| d.state().in_doubt());
        doubt(&self.main) || doubt(&self.undo)
    }

    /// The worse of what both effects may have changed.
    pub(crate) fn believed(&self) -> Aftermath {
        let of = |deed: &Option<Deed>| deed.map_or(Aftermath::Untouched, |d| d.aftermath());
        of(&self.main).max(of(&self.undo))
    }

    pub(crate) fn undo_aftermath(&self) -> Aftermath {
        self.undo.map_or(Aftermath::Untouched, |d| d.aftermath())
    }
}

/// What a look at the far side found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Found {
    Absent,
    Once,
    Several,
    Unknown,
}

/// A cure that is decided and not yet performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Decided {
    Probe { settled: bool },
    Wait,
    Accept,
    SendAgain,
    Undo,
    GiveUp,
    Park(Reason),
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Not there, or stopped.
    Down,
    /// Has the lease and the journal.
    Ready,
    /// At the top of the loop of recovery. What was found, and whether the settling time was over
    /// when that was asked.
    Curing {
        rounds: u8,
        found: Option<(Found, bool)>,
    },
    /// Behind the decision.
    Decided { cure: Decided, rounds: u8 },
    /// Runs the tool again; effects in doubt are sent again.
    Rerun { rounds: u8 },
    /// The intent is durable, the request has not left.
    Holding { what: What, rounds: u8 },
    /// The request has left, the intent is not durable. Only by sabotage.
    Unwritten { what: What, rounds: u8 },
    /// The request has left.
    Waiting { what: What, rounds: u8 },
    /// The outcome is in memory.
    Heard { what: What, came: Came, rounds: u8 },
    /// The outcome is durable.
    Settled { what: What, rounds: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) phase: Phase,
    pub(crate) epoch: u8,
}

/// A request on its way, and the host that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Wire {
    pub(crate) undoes: bool,
    pub(crate) key: u8,
    pub(crate) waits: Option<u8>,
}

/// The far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Far {
    /// How often the effect is in force.
    pub(crate) in_force: u8,
    /// Keys that it has seen done, one bit each.
    pub(crate) keys: u8,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) disk: Disk,
    pub(crate) epoch: u8,
    pub(crate) hosts: [Host; 2],
    pub(crate) wires: Vec<Wire>,
    pub(crate) far: Far,
    /// The settling time since the last sending, or since the present run began, is over.
    pub(crate) settled: bool,
    /// How often a host may still be started.
    pub(crate) starts_left: u8,
    /// How often a tool may still trap behind an answer.
    pub(crate) traps_left: u8,
    /// How often a person may still resolve a park.
    pub(crate) words_left: u8,
    /// A host without the lease wrote.
    pub(crate) fenced_wrote: bool,
    /// A host with the lease wrote what the fold refuses.
    pub(crate) refused: bool,
}
