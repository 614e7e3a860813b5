use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::bounds::Share;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a name")
}

fn bounds(places: u32, each: u32, waiting: u32) -> Bounds {
    Bounds {
        places: places.try_into().expect("some"),
        waiting: 100_000,
        wait: Duration::from_secs(1),
        each: Share {
            places: each.try_into().expect("some"),
            waiting,
        },
        tenants: BTreeMap::new(),
    }
}

/// Who is served, one place after another, until nobody waits.
fn order(line: &mut Line, first: &Tenant) -> Vec<(String, Ticket)> {
    let mut served = Vec::new();
    let mut last = first.clone();
    loop {
        line.give_back(&last);
        let Some((tenant, ticket)) = line.serve() else {
            return served;
        };
        served.push((tenant.to_string(), ticket));
        last = tenant;
    }
}

#[test]
fn tenants_take_turns_however_many_one_of_them_has_in_line() {
    let [a, b, c] = ["a", "b", "c"].map(tenant);
    let mut line = Line::new(bounds(1, 1, 2_000));
    assert!(line.take(&a));
    for _ in 0..1_000 {
        line.join(&a, Kind::Fresh);
    }
    let of_b = [line.join(&b, Kind::Fresh), line.join(&b, Kind::Fresh)];
    let of_c = line.join(&c, Kind::Fresh);
    let served = order(&mut line, &a);
    assert_eq!(served.len(), 1_003);
    let names: Vec<&str> = served.iter().map(|(name, _)| name.as_str()).collect();
    // One tenant may have one place: it is in line again when that comes back, behind the others.
    assert_eq!(names[..6], ["b", "c", "a", "b", "a", "a"]);
    let tickets = |who: &str| -> Vec<Ticket> {
        let of = served.iter().filter(|(name, _)| name == who);
        of.map(|(_, ticket)| *ticket).collect()
    };
    assert_eq!(tickets("a"), (0..1_000).collect::<Vec<_>>());
    assert_eq!(tickets("b"), of_b);
    assert_eq!(tickets("c"), [of_c]);
    assert_eq!(line.totals(), (0, 0));
    assert_eq!(line.tenants().count(), 0, "who has nothing costs nothing");
}

#[test]
fn a_tenant_that_has_all_it_may_have_is_passed_over() {
    let [a, b] = ["a", "b"].map(tenant);
    let mut line = Line::new(bounds(4, 2, 10));
    assert!(line.take(&a) && line.take(&a));
    assert!(!line.take(&a), "two places are all it may have");
    let third = line.join(&a, Kind::Fresh);
    assert_eq!(line.serve(), None, "there are free places, and not for it");
    assert!(line.take(&b), "they are for others");
    line.give_back(&a);
    assert_eq!(line.serve(), Some((a, third)));
}

#[test]
fn who_has_begun_goes_first_and_is_never_refused() {
    let a = tenant("a");
    let mut line = Line::new(bounds(1, 1, 1));
    assert!(line.take(&a));
    let fresh = line.join(&a, Kind::Fresh);
    assert_eq!(line.has_room(&a), Err(Full::TenantLine));
    let begun = [line.join(&a, Kind::Begun), line.join(&a, Kind::Begun)];
    let served: Vec<Ticket> = order(&mut line, &a).into_iter().map(|(_, t)| t).collect();
    assert_eq!(served, [begun[0], begun[1], fresh]);
}

#[test]
fn the_line_is_bounded_for_each_and_for_all() {
    let [a, b] = ["a", "b"].map(tenant);
    let mut line = Line::new(Bounds {
        waiting: 3,
        ..bounds(1, 1, 2)
    });
    assert!(line.take(&a));
    for _ in 0..2 {
        assert_eq!(line.has_room(&a), Ok(()));
        line.join(&a, Kind::Fresh);
    }
    assert_eq!(line.has_room(&a), Err(Full::TenantLine));
    assert_eq!(line.has_room(&b), Ok(()));
    let ticket = line.join(&b, Kind::Fresh);
    assert_eq!(line.has_room(&b), Err(Full::Line));
    assert!(line.leave(&b, ticket));
    assert!(!line.leave(&b, ticket), "once");
    assert_eq!(line.has_room(&b), Ok(()));
}

/// What somebody does.
#[derive(Debug, Clone)]
enum Deed {
    Ask(usize, bool),
    GiveBack(usize),
    Leave(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..5usize, any::<bool>()).prop_map(|(t, begun)| Deed::Ask(t, begun)),
        3 => any::<usize>().prop_map(Deed::GiveBack),
        1 => any::<usize>().prop_map(Deed::Leave),
    ]
}

proptest! {
    /// Whatever is done in whatever order: bounds are kept, no place is idle that somebody may
    /// have, and nobody is served twice in a row while another could have been.
    #[test]
    fn bounds_are_kept_and_turns_are_taken(
        places in 1..6u32,
        each in 1..4u32,
        deeds in proptest::collection::vec(deed(), 1..200),
    ) {
        let names: Vec<Tenant> = ["a", "b", "c", "d", "e"].map(tenant).into();
        let mut line = Line::new(bounds(places, each, 3));
        let mut held: Vec<Tenant> = Vec::new();
        let mut waiting: Vec<(Tenant, Ticket, Kind)> = Vec::new();
        // Tenants that were served since each tenant in line was served last, or came.
        let mut since: BTreeMap<Tenant, BTreeSet<Tenant>> = BTreeMap::new();
        for deed in deeds {
            match deed {
                Deed::Ask(t, begun) => {
                    let tenant = &names[t];
                    let kind = if begun { Kind::Begun } else { Kind::Fresh };
                    if line.take(tenant) {
                        held.push(tenant.clone());
                    } else if begun || line.has_room(tenant).is_ok() {
                        let ticket = line.join(tenant, kind);
                        waiting.push((tenant.clone(), ticket, kind));
                        since.entry(tenant.clone()).or_default();
                    }
                }
                Deed::GiveBack(i) if !held.is_empty() => {
                    line.give_back(&held.swap_remove(i % held.len()));
                }
                Deed::Leave(i) if !waiting.is_empty() => {
                    let (tenant, ticket, _) = waiting.remove(i % waiting.len());
                    prop_assert!(line.leave(&tenant, ticket));
                    if !waiting.iter().any(|(t, _, _)| *t == tenant) {
                        since.remove(&tenant);
                    }
                }
                _ => {}
            }
            while let Some((tenant, ticket)) = line.serve() {
                let own = |(t, _, _): &&(Tenant, Ticket, Kind)| *t == tenant;
                let first = waiting.iter().filter(own).find(|(_, _, k)| *k == Kind::Begun);
                let first = first.or_else(|| waiting.iter().find(own));
                prop_assert_eq!(first.map(|f| f.1), Some(ticket), "first come, first served");
                waiting.retain(|(_, t, _)| *t != ticket);
                held.push(tenant.clone());
                for (other, seen) in &mut since {
                    let may = held.iter().filter(|h| **h == *other).count() < each as usize;
                    let waits = waiting.iter().any(|(t, _, _)| t == other);
                    if *other != tenant && may && waits {
                        prop_assert!(seen.insert(tenant.clone()), "{other} was passed over twice");
                    } else {
                        seen.clear();
                    }
                }
            }
            let of = |t: &Tenant| held.iter().filter(|h| *h == t).count() as u32;
            prop_assert!(held.len() as u32 <= places && names.iter().all(|t| of(t) <= each));
            prop_assert_eq!(line.totals(), (held.len() as u32, waiting.len() as u32));
            let stuck = waiting.iter().any(|(t, _, _)| of(t) < each);
            prop_assert!(!stuck || held.len() as u32 == places, "a place is idle");
        }
    }
}
