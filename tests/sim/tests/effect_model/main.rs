//! Two hosts, one call, every order of crashes, answers and losses: all states are visited.
//!
//! The decisions are those of the product (`policy::recovery::cure`), and so is the state of an
//! effect (`EffectState::next`); the steps between are those of `dispatch`, written down again.
//! What the world may do:
//! * a host may die between any two steps; another may take the lease while it still runs, and
//!   then the old one goes on as a zombie whose appends are refused;
//! * an append may be durable although the host is told that it failed: then the host stops;
//! * a request may be done now, later, or never, refused, or answered with 5xx before or behind
//!   the change; its answer may be lost; a look at the far side may fail.
//!
//! What it may not do, because nobody could be safe against it without keys: a far side keeps to
//! the settling time that its tool declares, counted from the last sending or from the start of
//! the host that recovers, and what a host without the lease still sends arrives within it too.
//! One test takes these promises away and shows what comes of that. The far side's undo takes back
//! what is there, and is content when nothing is; a person looks before deciding.
//!
//! A broken rule is a parameter, [`Sabotage`]: each must be found out.

mod host;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model, Property};
use stoplog_model::{Aftermath, Class, Reason};
use world::*;

/// What a far side does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    It,
    Refuse,
    BreakBefore,
    BreakBehind,
}

/// What may happen next. Hosts and wires by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Start(usize),
    Crash(usize),
    Step(usize),
    /// The step is durable, and the host is told that it failed.
    StepAndFail(usize),
    NotSent(usize),
    HangUp(usize),
    Trap(usize),
    CannotAsk(usize),
    Arrive(usize, Does),
    Lose(usize),
    TimePasses,
    Person(Word),
}

impl Setup {
    fn host_actions(&self, world: &World, i: usize, actions: &mut Vec<Action>) {
        let phase = world.hosts[i].phase;
        let waits = world.disk.parked.is_some();
        if phase == Phase::Down {
            if world.starts_left > 0 && world.disk.told.is_none() && !waits {
                actions.push(Action::Start(i));
            }
            return;
        }
        actions.push(Action::Step(i));
        if world.starts_left > 0 {
            actions.push(Action::Crash(i));
            actions.push(Action::StepAndFail(i));
        }
        match phase {
            Phase::Holding { .. } => actions.push(Action::NotSent(i)),
            Phase::Waiting { .. } => actions.push(Action::HangUp(i)),
            Phase::Settled {
                what: What::Main, ..
            } if world.traps_left > 0 => actions.push(Action::Trap(i)),
            Phase::Decided {
                cure: Decided::Probe { .. },
                ..
            } if self.can_be_asked => actions.push(Action::CannotAsk(i)),
            _ => {}
        }
    }

    /// A request on its way, or one that a host without the lease has still to send.
    fn may_arrive(&self, world: &World) -> bool {
        let holds = |host: &Host| {
            matches!(host.phase, Phase::Holding { .. })
                && !(self.sabotage == Some(Sabotage::ZombieSendsLate) && host.epoch != world.epoch)
        };
        let on_its_way =
            !world.wires.is_empty() && self.sabotage != Some(Sabotage::SlowerThanDeclared);
        on_its_way || world.hosts.iter().any(holds)
    }

    fn arrive(&self, world: &mut World, wire: Wire, does: Does) {
        let bit = 1 << wire.key;
        let far = &mut world.far;
        let done = matches!(does, Does::It | Does::BreakBehind);
        let known = self.keeps_keys && far.keys & bit != 0;
        if done && wire.undoes {
            far.in_force = far.in_force.saturating_sub(1);
        } else if done && !known {
            far.in_force += 1;
            if self.keeps_keys {
                far.keys |= bit;
            }
        }
        let came = match does {
            Does::It => Came::Done,
            Does::Refuse => Came::Refused,
            Does::BreakBefore | Does::BreakBehind => Came::Broke,
        };
        if let Some(host) = wire.waits {
            world.hear(host.into(), came);
        }
    }

    /// A person decides, under the lease.
    fn resolve(&self, world: &mut World, word: Word) -> Option<()> {
        let reason = world.disk.parked.take()?;
        world.words_left -= 1;
        world.epoch += 1;
        let undo = world.disk.undo_aftermath() != Aftermath::Untouched
            && self.sabotage != Some(Sabotage::KeepBehindUndo);
        let denied = undo || matches!(reason, Reason::LedgerMismatch | Reason::FoundSeveral);
        match word {
            Word::Done => world.disk.resolved_done = true,
            Word::NotDone => world.disk.void_all(Change::FoundNotDone { denied })?,
        }
        Some(())
    }

    fn acted(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::Start(i) => {
                world.starts_left -= 1;
                world.epoch += 1;
                world.hosts[i] = Host {
                    phase: Phase::Ready,
                    epoch: world.epoch,
                };
                if world.disk.in_doubt() {
                    world.settled = false;
                }
            }
            Action::Crash(i) => world.stop(i),
            Action::Step(i) => self.step(world, i)?,
            Action::StepAndFail(i) => {
                self.step(world, i)?;
                world.stop(i);
            }
            Action::NotSent(i) => world.hear(i, Came::NotSent),
            Action::HangUp(i) => {
                world.leave_wires(i);
                world.hear(i, Came::Unanswered);
            }
            Action::Trap(i) => {
                let Phase::Settled { rounds, .. } = world.hosts[i].phase else {
                    return None;
                };
                // A tool that fails on its own feet behind a refusal is told as it is.
                if world.disk.believed() == Aftermath::Untouched {
                    return None;
                }
                world.traps_left -= 1;
                world.hosts[i].phase = Phase::Curing {
                    rounds: rounds + 1,
                    found: None,
                };
            }
            Action::CannotAsk(i) => {
                let Phase::Decided {
                    cure: Decided::Probe { settled },
                    rounds,
                } = world.hosts[i].phase
                else {
                    return None;
                };
                self.found(world, i, Found::Unknown, settled, rounds);
            }
            Action::Arrive(at, does) => {
                let wire = world.wires.remove(at);
                self.arrive(world, wire, does);
            }
            Action::Lose(at) => {
                world.wires.remove(at);
            }
            Action::TimePasses => world.settled = true,
            Action::Person(word) => self.resolve(world, word)?,
        }
        world.merge(self.sabotage == Some(Sabotage::NoEpochCheck));
        Some(())
    }
}

impl World {
    fn hear(&mut self, i: usize, came: Came) {
        if let Phase::Waiting { what, rounds } | Phase::Holding { what, rounds } =
            self.hosts[i].phase
        {
            self.hosts[i].phase = Phase::Heard { what, came, rounds };
        }
    }

    fn decided(&self, wanted: fn(&Decided) -> bool) -> bool {
        let is_wanted =
            |host: &Host| matches!(&host.phase, Phase::Decided { cure, .. } if wanted(cure));
        self.hosts.iter().any(is_wanted)
    }
}

impl Model for Setup {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let down = Host {
            phase: Phase::Down,
            epoch: 0,
        };
        vec![World {
            disk: Disk::default(),
            epoch: 0,
            hosts: [down, down],
            wires: Vec::new(),
            far: Far::default(),
            settled: false,
            starts_left: self.starts(),
            traps_left: 1,
            words_left: 1,
            fenced_wrote: false,
            refused: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for i in 0..2 {
            self.host_actions(world, i, actions);
        }
        for at in 0..world.wires.len() {
            // Where nobody hears the answer, it is done or it is lost.
            let heard = world.wires[at].waits.is_some();
            actions.push(Action::Arrive(at, Does::It));
            if heard {
                for does in [Does::Refuse, Does::BreakBefore, Does::BreakBehind] {
                    actions.push(Action::Arrive(at, does));
                }
            }
            actions.push(Action::Lose(at));
        }
        if self.settles && !world.settled && !self.may_arrive(world) {
            actions.push(Action::TimePasses);
        }
        if world.disk.parked.is_some()
            && world.words_left > 0
            && world.starts_left > 0
            && !self.may_arrive(world)
        {
            actions.push(Action::Person(match world.far.in_force {
                0 => Word::NotDone,
                _ => Word::Done,
            }));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.acted(&mut next, action)?;
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("in force once", |_, w: &World| w.far.in_force <= 1),
            Property::always("never silently twice", |_, w: &World| {
                w.far.in_force <= 1 || !matches!(w.disk.told, Some(Told::Done | Told::Changed))
            }),
            Property::always("untouched is not in force", |_, w: &World| {
                w.disk.told != Some(Told::Untouched) || w.far.in_force == 0
            }),
            Property::always("done is in force", |_, w: &World| {
                w.disk.told != Some(Told::Done) || w.far.in_force > 0
            }),
            Property::always("an intent before a request", |_, w: &World| {
                w.far.in_force == 0 || w.disk.main.is_some()
            }),
            Property::always("a fenced host never appends", |_, w: &World| {
                !w.fenced_wrote
            }),
            Property::always("the fold refuses nothing", |_, w: &World| !w.refused),
            Property::always("it walks the same path", |_, w: &World| {
                w.disk.parked != Some(Reason::Nondeterministic)
            }),
            Property::always("it ends, or waits for a person", |m: &Setup, w: &World| {
                let mut actions = Vec::new();
                m.actions(w, &mut actions);
                let moves = |a: Action| m.next_state(w, a).is_some();
                w.disk.told.is_some() || w.disk.parked.is_some() || actions.into_iter().any(moves)
            }),
            Property::sometimes("told-done", |_, w: &World| w.disk.told == Some(Told::Done)),
            Property::sometimes("told-untouched", |_, w: &World| {
                w.disk.told == Some(Told::Untouched)
            }),
            Property::sometimes("told-by-person", |_, w: &World| {
                w.disk.told == Some(Told::ByPerson)
            }),
            Property::sometimes("undone-and-redone", |_, w: &World| {
                w.disk.undone > 0 && w.disk.told == Some(Told::Done)
            }),
            Property::sometimes("probe", |_, w: &World| {
                w.decided(|c| matches!(c, Decided::Probe { .. }))
            }),
            Property::sometimes("wait", |_, w: &World| w.decided(|c| *c == Decided::Wait)),
            Property::sometimes("accept", |_, w: &World| {
                w.decided(|c| *c == Decided::Accept)
            }),
            Property::sometimes("send-again", |_, w: &World| {
                w.decided(|c| *c == Decided::SendAgain)
            }),
            Property::sometimes("undo", |_, w: &World| w.decided(|c| *c == Decided::Undo)),
            Property::sometimes("give-up", |_, w: &World| {
                w.decided(|c| *c == Decided::GiveUp)
            }),
            Property::sometimes("park:several", |_, w: &World| {
                w.decided(|c| *c == Decided::Park(Reason::FoundSeveral))
            }),
            Property::sometimes("park:doubt", |_, w: &World| {
                w.decided(|c| *c == Decided::Park(Reason::DoubtUnresolvable))
            }),
            Property::sometimes("park:exhausted", |_, w: &World| {
                w.decided(|c| *c == Decided::Park(Reason::ResendExhausted))
            }),
            // Never met: no far side here forgets what it answered with success.
            Property::sometimes("park:mismatch", |_, w: &World| {
                w.decided(|c| *c == Decided::Park(Reason::LedgerMismatch))
            }),
        ]
    }
}

/// Visits every state, and compares what was met with what is written: a broken promise, an end
/// or a cure that is new or gone is a failing test.
#[track_caller]
#[expect(
    clippy::print_stdout,
    reason = "how many states were visited is a result"
)]
fn check(setup: Setup, expected: &str) {
    let checker = setup.checker().spawn_bfs().join();
    println!("{setup:?}: {} states", checker.unique_state_count());
    let met = checker.discoveries();
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(',').map(|w| w.trim().to_owned());
        words.filter(|w| !w.is_empty()).collect()
    };
    let got: BTreeSet<String> = met.keys().map(|name| (*name).to_owned()).collect();
    let expected = words(expected);
    let paths: Vec<String> = got
        .difference(&expected)
        .map(|name| format!("{name}: {:?}", met[name.as_str()].clone().into_actions()))
        .collect();
    assert!(
        got == expected,
        "met: {got:?}\nnot met: {:?}\nnew:\n{}",
        expected.difference(&got).collect::<Vec<_>>(),
        paths.join("\n")
    );
}

/// A rule is broken, and the model shows a way to the promise that it kept.
#[track_caller]
fn check_breaks(sabotage: Sabotage, setup: Setup, promise: &'static str) {
    let broken = Setup {
        sabotage: Some(sabotage),
        ..setup
    };
    let seen = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = broken.checker().finish_when(seen).spawn_bfs().join();
    assert!(
        checker.discovery(promise).is_some(),
        "{sabotage:?} breaks nothing"
    );
}

/// One test a setup: class, keys kept, can be asked, settling time declared; and what is met.
macro_rules! setups {
    ($($name:ident: $class:ident $keeps:ident $asked:ident $settles:ident => $met:expr;)+) => {
        $(
            #[test]
            fn $name() {
                check(Setup::new(Class::$class, $keeps, $asked, $settles), $met);
            }
        )+

        /// Every class that writes with every kind of far side.
        #[test]
        fn no_setup_is_left_out() {
            let named = [$((Class::$class, $keeps, $asked, $settles)),+];
            for class in Class::ALL.into_iter().filter(|c| c.writes()) {
                for bits in 0..8 {
                    let setup = (class, bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
                    assert!(named.contains(&setup), "{setup:?}");
                }
            }
        }

        /// Every way to go on is taken in some setup.
        #[test]
        fn every_cure_is_met_somewhere() {
            let met = [$($met),+].join(", ");
            for name in CURES {
                assert!(met.contains(name), "{name}");
            }
        }
    };
}

/// Everything that `cure` can say to a far side that keeps its promises. Several under one key it
/// never shows: no setup does it twice.
const CURES: [&str; 8] = [
    "probe",
    "wait",
    "accept",
    "send-again",
    "undo",
    "give-up",
    "park:doubt",
    "park:exhausted",
];

// No setup breaks a promise: what would break it is the name of a property in its list.
setups! {
    class_2_keys_asked_settles: Reversible true true true => "told-done, told-untouched, told-by-person, probe, wait, accept, send-again, give-up, park:doubt, park:exhausted";
    class_2_keys_asked_no_time: Reversible true true false => "told-done, told-untouched, told-by-person, probe, accept, send-again, give-up, park:doubt, park:exhausted";
    class_2_keys_mute_settles: Reversible true false true => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_2_keys_mute_no_time: Reversible true false false => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_2_no_keys_asked_settles: Reversible false true true => "told-done, told-untouched, told-by-person, undone-and-redone, probe, wait, accept, send-again, undo, give-up, park:doubt, park:exhausted";
    class_2_no_keys_asked_no_time: Reversible false true false => "told-done, told-untouched, told-by-person, probe, accept, park:doubt";
    class_2_no_keys_mute_settles: Reversible false false true => "told-done, told-untouched, told-by-person, undone-and-redone, probe, wait, undo, park:doubt, park:exhausted";
    class_2_no_keys_mute_no_time: Reversible false false false => "told-done, told-untouched, told-by-person, probe, park:doubt";
    class_3_keys_asked_settles: External true true true => "told-done, told-untouched, told-by-person, probe, wait, accept, send-again, give-up, park:doubt, park:exhausted";
    class_3_keys_asked_no_time: External true true false => "told-done, told-untouched, told-by-person, probe, accept, send-again, give-up, park:doubt, park:exhausted";
    class_3_keys_mute_settles: External true false true => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_3_keys_mute_no_time: External true false false => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_3_no_keys_asked_settles: External false true true => "told-done, told-untouched, told-by-person, probe, wait, accept, send-again, give-up, park:doubt";
    class_3_no_keys_asked_no_time: External false true false => "told-done, told-untouched, told-by-person, probe, accept, give-up, park:doubt";
    class_3_no_keys_mute_settles: External false false true => "told-done, told-untouched, told-by-person, probe, park:doubt";
    class_3_no_keys_mute_no_time: External false false false => "told-done, told-untouched, told-by-person, probe, park:doubt";
    class_4_keys_asked_settles: Irreversible true true true => "told-done, told-untouched, told-by-person, probe, wait, accept, send-again, give-up, park:doubt, park:exhausted";
    class_4_keys_asked_no_time: Irreversible true true false => "told-done, told-untouched, told-by-person, probe, accept, send-again, give-up, park:doubt, park:exhausted";
    class_4_keys_mute_settles: Irreversible true false true => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_4_keys_mute_no_time: Irreversible true false false => "told-done, told-untouched, told-by-person, probe, send-again, park:doubt, park:exhausted";
    class_4_no_keys_asked_settles: Irreversible false true true => "told-done, told-untouched, told-by-person, probe, wait, accept, send-again, give-up, park:doubt";
    class_4_no_keys_asked_no_time: Irreversible false true false => "told-done, told-untouched, told-by-person, probe, accept, give-up, park:doubt";
    class_4_no_keys_mute_settles: Irreversible false false true => "told-done, told-untouched, told-by-person, probe, park:doubt";
    class_4_no_keys_mute_no_time: Irreversible false false false => "told-done, told-untouched, told-by-person, probe, park:doubt";
}

/// No keys, class 3: only the rules of the host stand between a crash and doing it twice.
const BARE: Setup = Setup::new(Class::External, false, true, true);

#[test]
fn a_new_key_on_a_resend_does_it_twice() {
    let keeps = Setup::new(Class::External, true, true, true);
    check_breaks(Sabotage::NewKeyOnResend, keeps, "in force once");
}

#[test]
fn a_resend_without_a_look_does_it_twice() {
    check_breaks(Sabotage::SkipProbe, BARE, "in force once");
}

#[test]
fn an_absence_believed_at_once_does_it_twice() {
    check_breaks(Sabotage::BelieveAbsentAtOnce, BARE, "in force once");
}

#[test]
fn an_absence_from_before_the_settling_time_does_it_twice() {
    check_breaks(Sabotage::BelieveStaleAbsent, BARE, "in force once");
}

#[test]
fn without_the_epoch_an_old_host_writes() {
    check_breaks(Sabotage::NoEpochCheck, BARE, "a fenced host never appends");
    check_breaks(Sabotage::NoEpochCheck, BARE, "in force once");
}

#[test]
fn a_request_before_its_intent_is_done_unseen() {
    let keeps = Setup::new(Class::External, true, true, true);
    check_breaks(
        Sabotage::SendBeforeIntent,
        keeps,
        "an intent before a request",
    );
}

#[test]
fn a_refused_resend_that_clears_the_doubt_tells_a_lie() {
    let mute = Setup::new(Class::External, true, false, false);
    check_breaks(
        Sabotage::RefusalClearsDoubt,
        mute,
        "untouched is not in force",
    );
}

#[test]
fn an_undo_before_the_settling_time_does_it_twice() {
    let mute = Setup::new(Class::Reversible, false, false, true);
    check_breaks(Sabotage::UndoAtOnce, mute, "in force once");
}

#[test]
fn a_forgotten_undo_tells_a_lie() {
    let mute = Setup::new(Class::Reversible, false, false, true);
    check_breaks(Sabotage::ForgetAnsweredUndo, mute, "done is in force");
}

#[test]
fn a_person_who_finds_it_undone_is_believed() {
    let mute = Setup::new(Class::Reversible, false, false, true);
    check_breaks(Sabotage::KeepBehindUndo, mute, "done is in force");
}

/// The limits: what no host can keep for a far side without keys.
#[test]
fn without_its_promises_the_far_side_does_it_twice() {
    for broken in [Sabotage::SlowerThanDeclared, Sabotage::ZombieSendsLate] {
        check_breaks(broken, BARE, "in force once");
    }
}
