//! What tools keep, against what the events say: the table is a projection of them.
//!
//! Of two events about one key the one that was committed later counts, whichever session it is of,
//! so the fold goes over all sessions. It keeps a digest for each key that sessions still tell of,
//! and no values.
//!
//! What it cannot know: an event that is pruned may have written a key, or deleted it. Up to the
//! number of the last of those ([`Bounds::floor`]) a key that no event explains, and one that is
//! missing, are taken as they are; the sum over the table watches over them.

use std::collections::HashMap;

use stoplog_journal::{Batch, StateEntry};
use stoplog_model::state::value_digest;

/// What an event wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Tenant, tool and key.
    pub of: (String, String, String),
    /// Digest of the value; none: the key was deleted.
    pub digest: Option<[u8; 32]>,
    /// `seq` of the event.
    pub seq: u64,
}

impl Written {
    /// What a commit with this event writes.
    pub(super) fn of(batch: &Batch) -> Vec<Written> {
        let rows = batch.state.iter();
        let written = rows.map(|row| Written {
            of: (row.tenant.clone(), row.tool.clone(), row.key.clone()),
            digest: row.value.as_deref().map(value_digest),
            seq: row.seq,
        });
        written.collect()
    }
}

/// How far the journal went when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Number of the last event when looking began: what came later is not judged.
    pub until: i64,
    /// Number up to which events may have written or deleted keys without being there any more.
    pub floor: i64,
}

struct Last {
    place: i64,
    digest: Option<[u8; 32]>,
    session: String,
}

/// The fold of all events that write state.
pub struct StateFold {
    bounds: Bounds,
    keys: HashMap<(String, String, String), Last>,
}

impl StateFold {
    /// Of no events yet.
    pub fn new(bounds: Bounds) -> StateFold {
        StateFold {
            bounds,
            keys: HashMap::new(),
        }
    }

    /// Takes what a sound session wrote; `places` are the numbers of its events, in order.
    pub fn take(&mut self, session: &str, written: Vec<Written>, places: &[i64]) {
        for write in written {
            let place = usize::try_from(write.seq - 1).ok();
            let Some(place) = place.and_then(|i| places.get(i)).copied() else {
                continue;
            };
            if place > self.bounds.until {
                continue;
            }
            let last = Last {
                place,
                digest: write.digest,
                session: session.to_owned(),
            };
            match self.keys.get_mut(&write.of) {
                Some(known) if known.place > place => {}
                Some(known) => *known = last,
                None => drop(self.keys.insert(write.of, last)),
            }
        }
    }

    /// Somebody may have pruned since: events up to this number may be missing by now.
    pub fn raise_floor(&mut self, floor: i64) {
        self.bounds.floor = self.bounds.floor.max(floor);
    }

    /// Compares a row of the table. What is wrong with it, if something is.
    pub fn compare(&mut self, entry: &StateEntry) -> Option<String> {
        let of = (entry.tenant.clone(), entry.tool.clone(), entry.key.clone());
        let known = self.keys.remove(&of);
        if entry.place > self.bounds.until {
            return None;
        }
        let told = told(&of);
        match known {
            Some(last) if last.place == entry.place => {
                let same = last.digest == Some(entry.digest) && last.session == entry.session;
                (!same).then(|| format!("{told} is not what event {} wrote", entry.seq))
            }
            Some(last) if last.place > entry.place => Some(format!(
                "{told} is older than what session {} wrote last",
                last.session
            )),
            _ if entry.place <= self.bounds.floor => None,
            _ => Some(format!("{told} is kept, and no event wrote it")),
        }
    }

    /// What the events say is kept, and is not, once every row was compared. `last` is the number of
    /// the last event by now: if there are more than when looking began, they may have deleted keys.
    pub fn missing(self, last: i64) -> Vec<String> {
        if last > self.bounds.until {
            return Vec::new();
        }
        let floor = self.bounds.floor;
        let kept = |last: &Last| last.digest.is_some() && last.place > floor;
        let lost = self.keys.into_iter().filter(|(_, last)| kept(last));
        let mut lost: Vec<String> = lost
            .map(|(of, last)| {
                let told = told(&of);
                format!(
                    "{told} was written by session {}, and is missing",
                    last.session
                )
            })
            .collect();
        lost.sort();
        lost
    }
}

fn told((tenant, tool, key): &(String, String, String)) -> String {
    format!("key `{key}` of tool {tool} of tenant {tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> (String, String, String) {
        ("acme".into(), "t".into(), key.into())
    }

    fn wrote(key: &str, value: Option<&[u8]>, seq: u64) -> Written {
        Written {
            of: of(key),
            digest: value.map(value_digest),
            seq,
        }
    }

    fn entry(key: &str, value: &[u8], session: &str, place: i64) -> StateEntry {
        StateEntry {
            tenant: "acme".into(),
            tool: "t".into(),
            key: key.into(),
            bytes: value.len() as u64,
            digest: value_digest(value),
            session: session.into(),
            seq: 1,
            place,
            at_ms: 0,
        }
    }

    fn fold(floor: i64) -> StateFold {
        let mut fold = StateFold::new(Bounds { until: 100, floor });
        // Two sessions, by turns: the second one's word is the last about `n`.
        fold.take(
            "a",
            vec![
                wrote("n", Some(b"1"), 1),
                wrote("n", Some(b"3"), 2),
                wrote("gone", Some(b"x"), 2),
            ],
            &[10, 30],
        );
        fold.take(
            "b",
            vec![
                wrote("n", Some(b"2"), 1),
                wrote("gone", None, 2),
                wrote("n", Some(b"4"), 2),
            ],
            &[20, 40],
        );
        fold
    }

    #[test]
    fn the_last_commit_counts_whichever_session_it_is_of() {
        let mut sound = fold(0);
        assert_eq!(sound.compare(&entry("n", b"4", "b", 40)), None);
        assert_eq!(sound.missing(100), [""; 0]);

        for (bad, expected) in [
            (entry("n", b"3", "a", 30), "older than what session b wrote"),
            (entry("n", b"5", "b", 40), "not what event"),
            (entry("n", b"4", "a", 40), "not what event"),
            (entry("gone", b"x", "a", 30), "older than what session b"),
            (entry("other", b"x", "a", 30), "no event wrote it"),
        ] {
            let found = fold(0).compare(&bad).expect(expected);
            assert!(found.contains(expected), "{found}");
        }
        let missing = fold(0).missing(100);
        assert!(
            missing.len() == 1 && missing[0].contains("`n`"),
            "{missing:?}"
        );
    }

    #[test]
    fn what_pruned_events_or_later_ones_may_have_done_is_taken_as_it_is() {
        assert_eq!(fold(50).compare(&entry("other", b"x", "pruned", 35)), None);
        assert!(
            fold(30)
                .compare(&entry("other", b"x", "pruned", 35))
                .is_some()
        );
        assert_eq!(fold(40).missing(100), [""; 0]);
        assert_eq!(fold(0).missing(101), [""; 0], "a host goes on beside");
        assert_eq!(fold(0).compare(&entry("n", b"9", "c", 101)), None);
    }
}
