//! The steps of a host, as `dispatch` takes them: decide by the real `cure`, journal, then do.

use stoplog_model::outcome::Finding;
use stoplog_model::{Aftermath, Reason};
use stoplog_policy::recovery::{Cure, Doubt, cure};

use crate::world::*;

/// The settling time that tools declare here, milliseconds.
const SETTLES_WITHIN_MS: u32 = 1000;

/// What is appended in one commit.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Changed(What, Change),
    Probed { absent: bool },
    Undone,
    Observed(Told),
    Parked(Reason),
}

impl Setup {
    fn has(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// One step of a host. `None`: it cannot take one now.
    pub(crate) fn step(&self, world: &mut World, i: usize) -> Option<()> {
        match world.hosts[i].phase {
            Phase::Down | Phase::Waiting { .. } => return None,
            Phase::Ready => self.dispatch(world, i),
            Phase::Curing { rounds, found } => self.decide(world, i, rounds, found),
            Phase::Decided { cure, rounds } => return self.perform(world, i, cure, rounds),
            Phase::Rerun { rounds } => self.run_tool(world, i, true, rounds),
            Phase::Holding { what, rounds } => {
                self.fire(world, i, what);
                world.hosts[i].phase = Phase::Waiting { what, rounds };
            }
            Phase::Unwritten { what, rounds } => {
                let after_absent = world.disk.absent;
                let entry = Entry::Changed(what, Change::Intended { after_absent });
                if self.append(world, i, entry) {
                    world.hosts[i].phase = Phase::Waiting { what, rounds };
                }
            }
            Phase::Heard { what, came, rounds } => {
                if self.append(world, i, Entry::Changed(what, Change::Settled(came))) {
                    world.hosts[i].phase = Phase::Settled { what, rounds };
                }
            }
            Phase::Settled { what, rounds } => self.after_effect(world, i, what, rounds),
        }
        Some(())
    }

    /// `Dispatcher::run`: what is in doubt is cured before anything runs.
    fn dispatch(&self, world: &mut World, i: usize) {
        let disk = &world.disk;
        let undo_answered =
            disk.undo_aftermath() == Aftermath::Changed && !self.has(Sabotage::ForgetAnsweredUndo);
        world.hosts[i].phase = if disk.told.is_some() || disk.parked.is_some() {
            Phase::Down
        } else if disk.resolved_done {
            return self.end(world, i, Entry::Observed(Told::ByPerson));
        } else if disk.in_doubt() || undo_answered {
            Phase::Curing {
                rounds: 1,
                found: None,
            }
        } else {
            return self.run_tool(world, i, false, 0);
        };
    }

    /// `CallGate::plan` for the call's one effect, and what follows.
    fn run_tool(&self, world: &mut World, i: usize, send_again: bool, rounds: u8) {
        let what = What::Main;
        let send = match world.disk.main {
            None => true,
            Some(d) if d.void || d.came == Came::NotSent => true,
            Some(d) if send_again && d.aftermath() != Aftermath::Changed => true,
            Some(d) if matches!(d.came, Came::Done | Came::Refused | Came::Broke) => false,
            Some(_) => return self.end(world, i, Entry::Parked(Reason::Nondeterministic)),
        };
        match send {
            true => self.intend(world, i, what, rounds),
            false => world.hosts[i].phase = Phase::Settled { what, rounds },
        }
    }

    fn intend(&self, world: &mut World, i: usize, what: What, rounds: u8) {
        if self.has(Sabotage::SendBeforeIntent) {
            self.fire(world, i, what);
            world.hosts[i].phase = Phase::Unwritten { what, rounds };
            return;
        }
        let after_absent = world.disk.absent;
        let entry = Entry::Changed(what, Change::Intended { after_absent });
        if self.append(world, i, entry) {
            world.hosts[i].phase = Phase::Holding { what, rounds };
        }
    }

    fn fire(&self, world: &mut World, i: usize, what: What) {
        let attempt = world.disk.deed(what).map_or(0, |d| d.attempt);
        let key = match self.has(Sabotage::NewKeyOnResend) {
            true => attempt,
            false => 0,
        };
        world.wires.push(Wire {
            undoes: what == What::Undo,
            key,
            waits: Some(i as u8),
        });
    }

    /// What `execute` and `undo` make of what the gate saw.
    fn after_effect(&self, world: &mut World, i: usize, what: What, rounds: u8) {
        if what == What::Undo {
            if world.disk.undo_aftermath() != Aftermath::Changed {
                return self.end(world, i, Entry::Parked(Reason::DoubtUnresolvable));
            }
            if self.append(world, i, Entry::Undone) {
                world.hosts[i].phase = Phase::Rerun { rounds };
            }
            return;
        }
        match world.disk.believed() {
            Aftermath::Changed => self.end(world, i, Entry::Observed(Told::Done)),
            Aftermath::Untouched => self.end(world, i, Entry::Observed(Told::Untouched)),
            Aftermath::Unknown => {
                world.hosts[i].phase = Phase::Curing {
                    rounds: rounds + 1,
                    found: None,
                };
            }
        }
    }

    /// One round of `Dispatcher::recover`, up to the decision.
    fn decide(&self, world: &mut World, i: usize, rounds: u8, found: Option<(Found, bool)>) {
        let doubt = self.doubt(world, rounds, found);
        let settled = doubt.now_ms >= doubt.since_ms + doubt.settles_within_ms;
        let disk = &world.disk;
        let changed = disk.believed() == Aftermath::Changed;
        let decided = if changed && settled && doubt.finding == Some(Finding::Absent) {
            Decided::Park(Reason::LedgerMismatch)
        } else if disk.undo_aftermath() == Aftermath::Unknown && !self.keeps_keys {
            Decided::Park(Reason::DoubtUnresolvable)
        } else if disk.undo_aftermath() == Aftermath::Changed
            && !self.has(Sabotage::ForgetAnsweredUndo)
        {
            Decided::Undo
        } else if self.has(Sabotage::SkipProbe) && doubt.finding.is_none() {
            Decided::SendAgain
        } else {
            self.cured(&doubt, settled)
        };
        world.hosts[i].phase = Phase::Decided {
            cure: decided,
            rounds,
        };
    }

    fn cured(&self, doubt: &Doubt, settled: bool) -> Decided {
        match cure(doubt) {
            Cure::Probe => Decided::Probe {
                settled: self.settles && settled,
            },
            Cure::WaitUntil(_) => Decided::Wait,
            Cure::Accept(_) => Decided::Accept,
            Cure::SendAgain => Decided::SendAgain,
            Cure::Undo => Decided::Undo,
            Cure::GiveUp => Decided::GiveUp,
            Cure::Park(reason, _) => Decided::Park(reason),
        }
    }

    fn doubt(&self, world: &World, rounds: u8, found: Option<(Found, bool)>) -> Doubt {
        let disk = &world.disk;
        let inconclusive = disk.main.filter(|d| d.aftermath() == Aftermath::Unknown);
        let settled = match found {
            Some((Found::Absent, _)) if self.has(Sabotage::BelieveAbsentAtOnce) => true,
            Some((Found::Unknown, _)) if self.has(Sabotage::UndoAtOnce) => true,
            Some((_, when_asked)) if !self.has(Sabotage::BelieveStaleAbsent) => when_asked,
            _ => world.settled,
        };
        let finding = found.map(|(found, _)| match found {
            Found::Absent => Finding::Absent,
            Found::Once => Finding::Once {
                output: String::new(),
            },
            Found::Several => Finding::Several { times: 2 },
            Found::Unknown => Finding::Unknown { why: String::new() },
        });
        Doubt {
            class: self.class,
            keeps_keys: self.keeps_keys,
            settles_within_ms: match self.settles {
                true => SETTLES_WITHIN_MS.into(),
                false => 0,
            },
            since_ms: 0,
            now_ms: match settled {
                true => SETTLES_WITHIN_MS.into(),
                false => 0,
            },
            sent: inconclusive
                .map_or(rounds, |d| d.attempt.max(rounds))
                .into(),
            answered: disk
                .main
                .is_some_and(|d| d.aftermath() == Aftermath::Changed),
            one_of_several: false,
            undone: disk.undo.map_or(0, |d| d.attempt).max(disk.undone).into(),
            finding,
        }
    }

    fn perform(&self, world: &mut World, i: usize, cure: Decided, rounds: u8) -> Option<()> {
        match cure {
            Decided::Probe { settled } => {
                let found = match (self.can_be_asked, world.far.in_force) {
                    (false, _) => Found::Unknown,
                    (true, 0) => Found::Absent,
                    (true, 1) => Found::Once,
                    (true, _) => Found::Several,
                };
                self.found(world, i, found, settled, rounds);
            }
            Decided::Wait if !world.settled => return None,
            Decided::Wait => {
                world.hosts[i].phase = Phase::Curing {
                    rounds,
                    found: None,
                };
            }
            Decided::Accept => self.end(world, i, Entry::Observed(Told::Done)),
            Decided::SendAgain => self.run_tool(world, i, true, rounds),
            // An undo that was answered is replayed, and not sent.
            Decided::Undo
                if world.disk.undo_aftermath() == Aftermath::Changed
                    && !self.has(Sabotage::ForgetAnsweredUndo) =>
            {
                world.hosts[i].phase = Phase::Settled {
                    what: What::Undo,
                    rounds,
                };
            }
            Decided::Undo => self.intend(world, i, What::Undo, rounds),
            Decided::GiveUp if !self.settles => {
                self.end(world, i, Entry::Parked(Reason::ResendExhausted));
            }
            Decided::GiveUp => {
                let changed = world.disk.believed() == Aftermath::Changed;
                let told = match changed {
                    true => Told::Changed,
                    false => Told::Untouched,
                };
                self.end(world, i, Entry::Observed(told));
            }
            Decided::Park(reason) => self.end(world, i, Entry::Parked(reason)),
        }
        Some(())
    }

    /// The far side was asked; `settled` says whether the settling time was over before that.
    pub(crate) fn found(
        &self,
        world: &mut World,
        i: usize,
        found: Found,
        settled: bool,
        rounds: u8,
    ) {
        let when_asked = world.settled;
        let absent = found == Found::Absent && settled;
        if self.append(world, i, Entry::Probed { absent }) {
            world.hosts[i].phase = Phase::Curing {
                rounds,
                found: Some((found, when_asked)),
            };
        }
    }

    /// The last entry of a host: behind it, it stops.
    fn end(&self, world: &mut World, i: usize, entry: Entry) {
        if self.append(world, i, entry) {
            world.stop(i);
        }
    }

    /// One commit, all of it or nothing. `false`: refused, and the host has stopped.
    fn append(&self, world: &mut World, i: usize, entry: Entry) -> bool {
        let fenced = world.hosts[i].epoch != world.epoch;
        if fenced && !self.has(Sabotage::NoEpochCheck) {
            world.stop(i);
            return false;
        }
        match self.folded(world.disk, entry) {
            Some(disk) => {
                world.disk = disk;
                world.fenced_wrote |= fenced;
                if matches!(entry, Entry::Changed(What::Main, _)) {
                    world.settled = false;
                }
                true
            }
            None => {
                world.refused |= !fenced;
                world.stop(i);
                false
            }
        }
    }

    /// The fold, as far as it matters here. `None`: not legal.
    fn folded(&self, mut disk: Disk, entry: Entry) -> Option<Disk> {
        if disk.told.is_some() {
            return None;
        }
        match entry {
            Entry::Changed(what, change) => {
                let mut next = Deed::next(*disk.deed(what), change).ok()?;
                if matches!(change, Change::Intended { .. }) {
                    disk.absent = false;
                    next.earlier_doubt &= !self.has(Sabotage::RefusalClearsDoubt);
                }
                *disk.deed(what) = Some(next);
            }
            Entry::Probed { absent } => disk.absent = absent,
            Entry::Undone => {
                disk.undone += 1;
                disk.void_all(Change::TakenBack)?;
            }
            Entry::Observed(told) => disk.told = Some(told),
            Entry::Parked(_) if disk.parked.is_some() => return None,
            Entry::Parked(reason) => disk.parked = Some(reason),
        }
        Some(disk)
    }
}

impl Disk {
    /// The same change for both effects, by the real function.
    pub(crate) fn void_all(&mut self, change: Change) -> Option<()> {
        for what in [What::Main, What::Undo] {
            if let Some(deed) = *self.deed(what) {
                *self.deed(what) = Some(Deed::next(Some(deed), change).ok()?);
            }
        }
        Some(())
    }
}

impl World {
    /// The host is gone; nobody waits for its answers any more.
    pub(crate) fn stop(&mut self, i: usize) {
        self.hosts[i].phase = Phase::Down;
        self.leave_wires(i);
    }

    pub(crate) fn leave_wires(&mut self, i: usize) {
        for wire in &mut self.wires {
            if wire.waits == Some(i as u8) {
                wire.waits = None;
            }
        }
    }

    /// Makes one state of those that differ in nothing that can still matter, so that fewer are
    /// visited: which host is which, the number of an epoch, what a host without the lease is at
    /// when all that it can do is to try an append.
    pub(crate) fn merge(&mut self, fenced_may_write: bool) {
        for i in 0..2 {
            let fenced = self.hosts[i].epoch != self.epoch;
            let over = self.disk.told.is_some();
            match self.hosts[i].phase {
                Phase::Down => {}
                Phase::Holding { what, .. } if over || (fenced && !fenced_may_write) => {
                    self.hosts[i].phase = Phase::Holding { what, rounds: 0 };
                }
                // A call that is over takes no further event.
                _ if over => self.stop(i),
                _ if fenced && !fenced_may_write => {
                    self.leave_wires(i);
                    self.hosts[i].phase = Phase::Heard {
                        what: What::Main,
                        came: Came::Unanswered,
                        rounds: 0,
                    };
                }
                _ => {}
            }
            let leased = !fenced && self.hosts[i].phase != Phase::Down;
            self.hosts[i].epoch = leased.into();
        }
        self.epoch = 1;
        let rank = |host: &Host| match host.phase {
            Phase::Down => 2,
            _ if host.epoch == 0 => 1,
            _ => 0,
        };
        if rank(&self.hosts[0]) > rank(&self.hosts[1]) {
            self.hosts.swap(0, 1);
            for wire in &mut self.wires {
                wire.waits = wire.waits.map(|i| 1 - i);
            }
        }
        if self.disk.told.is_some() {
            self.starts_left = 0;
            self.traps_left = 0;
            self.words_left = 0;
            self.settled = false;
        }
        self.wires.sort_unstable();
    }
}
