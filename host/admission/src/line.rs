//! Who is served next: pure, without waiting, clocks or locks.
//!
//! Invariants:
//! * no more places are taken than there are, in all and by a tenant;
//! * no more are in line than may be, in all and of a tenant, but for those who have begun: they
//!   cannot be refused;
//! * tenants that could take a place take turns: between two places of one tenant in line, every
//!   other in line gets one;
//! * within a tenant those who have begun come before those who have not, each in the order in
//!   which they came;
//! * a tenant without places and without anybody in line costs nothing.

use std::collections::{HashMap, VecDeque};

use stoplog_model::Tenant;

use crate::bounds::Bounds;
use crate::busy::Full;

/// The name of somebody in line.
pub(crate) type Ticket = u64;

/// Who is in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing was begun.
    Fresh,
    /// It has begun, and must go on.
    Begun,
}

/// One tenant.
#[derive(Debug, Default)]
struct Lane {
    /// Places that it has.
    held: u32,
    begun: VecDeque<Ticket>,
    fresh: VecDeque<Ticket>,
}

impl Lane {
    fn waiting(&self) -> u32 {
        (self.begun.len() + self.fresh.len()) as u32
    }

    fn next(&mut self) -> Option<Ticket> {
        self.begun.pop_front().or_else(|| self.fresh.pop_front())
    }
}

/// Places and the line before them.
#[derive(Debug)]
pub(crate) struct Line {
    bounds: Bounds,
    held: u32,
    waiting: u32,
    /// The next one in line gets this name.
    next: Ticket,
    lanes: HashMap<Tenant, Lane>,
    /// Tenants with somebody in line and room for one more place, in the order of their turns.
    /// Each is in it once, and whoever is not will be put at its end when that becomes so.
    turns: VecDeque<Tenant>,
}

impl Line {
    pub(crate) fn new(bounds: Bounds) -> Line {
        Line {
            bounds,
            held: 0,
            waiting: 0,
            next: 0,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Takes a place, if there is one for the tenant. `false`: it has to stand in line.
    pub(crate) fn take(&mut self, tenant: &Tenant) -> bool {
        let (held, waiting) = self.of(tenant);
        // Nobody is overtaken: while a place is free, those in line are of tenants that have all
        // they may have, and this one is not.
        let may = waiting == 0 && held < self.bounds.share(tenant).places.get();
        if !may || self.held >= self.bounds.places.get() {
            return false;
        }
        self.held += 1;
        self.lane(tenant).held += 1;
        true
    }

    /// Whether one more of the tenant may stand in line.
    pub(crate) fn has_room(&self, tenant: &Tenant) -> Result<(), Full> {
        if self.of(tenant).1 >= self.bounds.share(tenant).waiting {
            return Err(Full::TenantLine);
        }
        if self.waiting >= self.bounds.waiting {
            return Err(Full::Line);
        }
        Ok(())
    }

    /// Stands in line, under this name.
    pub(crate) fn join(&mut self, tenant: &Tenant, kind: Kind) -> Ticket {
        let (held, waiting) = self.of(tenant);
        if waiting == 0 && held < self.bounds.share(tenant).places.get() {
            self.turns.push_back(tenant.clone());
        }
        let ticket = self.next;
        self.next += 1;
        self.waiting += 1;
        let lane = self.lane(tenant);
        match kind {
            Kind::Fresh => lane.fresh.push_back(ticket),
            Kind::Begun => lane.begun.push_back(ticket),
        }
        ticket
    }

    /// Gives the next one in line its place; none if there is no place, or nobody who may have it.
    pub(crate) fn serve(&mut self) -> Option<(Tenant, Ticket)> {
        if self.held >= self.bounds.places.get() {
            return None;
        }
        let tenant = self.turns.pop_front()?;
        let most = self.bounds.share(&tenant).places.get();
        let lane = self.lane(&tenant);
        let ticket = lane.next()?;
        lane.held += 1;
        if lane.waiting() > 0 && lane.held < most {
            self.turns.push_back(tenant.clone());
        }
        self.held += 1;
        self.waiting -= 1;
        Some((tenant, ticket))
    }

    /// Takes a place back.
    pub(crate) fn give_back(&mut self, tenant: &Tenant) {
        let most = self.bounds.share(tenant).places.get();
        let lane = self.lane(tenant);
        let had_all = lane.held == most;
        lane.held -= 1;
        let (is_idle, waits) = (lane.held == 0, lane.waiting() > 0);
        self.held -= 1;
        match (waits, is_idle) {
            (true, _) if had_all => self.turns.push_back(tenant.clone()),
            (false, true) => drop(self.lanes.remove(tenant)),
            _ => {}
        }
    }

    /// Lets one go who does not want to wait any more. `false`: it has its place already.
    pub(crate) fn leave(&mut self, tenant: &Tenant, ticket: Ticket) -> bool {
        let Some(lane) = self.lanes.get_mut(tenant) else {
            return false;
        };
        let before = lane.waiting();
        lane.begun.retain(|t| *t != ticket);
        lane.fresh.retain(|t| *t != ticket);
        let (after, held) = (lane.waiting(), lane.held);
        if after == before {
            return false;
        }
        self.waiting -= 1;
        if after == 0 {
            self.turns.retain(|t| t != tenant);
            if held == 0 {
                self.lanes.remove(tenant);
            }
        }
        true
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Places taken, and how many are in line.
    pub(crate) fn totals(&self) -> (u32, u32) {
        (self.held, self.waiting)
    }

    /// The same of one tenant.
    pub(crate) fn of(&self, tenant: &Tenant) -> (u32, u32) {
        let lane = self.lanes.get(tenant);
        lane.map_or((0, 0), |l| (l.held, l.waiting()))
    }

    /// The same of every tenant that has either.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&Tenant, u32, u32)> {
        let lanes = self.lanes.iter();
        lanes.map(|(tenant, lane)| (tenant, lane.held, lane.waiting()))
    }

    fn lane(&mut self, tenant: &Tenant) -> &mut Lane {
        self.lanes.entry(tenant.clone()).or_default()
    }
}

#[cfg(test)]
mod tests;
