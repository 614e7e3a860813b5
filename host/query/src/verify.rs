//! Whether a session is what was written: its chain, its fold, and all that is derived from it.
//!
//! Invariants: pure, rows in and a finding out; the first flaw of a session is told and nothing
//! behind it is believed. What a journal has beside the sessions (pages, strays) is the store's
//! own to check.

mod state;
mod walk;

use std::fmt;

use stoplog_journal::{ActKeyRow, ActKeyState, Dossier, Link, SessionRow, chain, codec};

pub use state::{Bounds, StateFold, Written};
pub use walk::{Walk, walk};

/// The first thing that is wrong with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The session.
    pub session: String,
    /// The event, if it is about one.
    pub seq: Option<u64>,
    /// Kind of the event, or which row it is about: `session`, `snapshot`, `open_intent`,
    /// `act_key`, `unreadable`.
    pub kind: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(
                f,
                "session {}, event {seq} ({}): {}",
                self.session, self.kind, self.what
            ),
            None => write!(f, "session {}, {}: {}", self.session, self.kind, self.what),
        }
    }
}

/// What a sound session has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sound {
    /// Events.
    pub events: u64,
    /// Snapshots: one or none.
    pub snapshots: u64,
    /// Claims of acts.
    pub keys: u64,
    /// What its calls wrote into the state of tools, in order.
    pub written: Vec<Written>,
    /// Link of the last event; none without events, or without a chain.
    pub last: Option<Link>,
}

/// A link in hex, as it is printed and exported.
pub fn hex(link: &Link) -> String {
    link.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a session. A journal of format 1 has no chain: its events are folded and compared only.
pub fn session(name: &str, dossier: &Dossier, has_chain: bool) -> Result<Sound, Flaw> {
    let flaw = |kind: &str, what: String| Flaw {
        session: name.to_owned(),
        seq: None,
        kind: kind.to_owned(),
        what,
    };
    let walked = walk(name, &dossier.rows, has_chain)?;
    if let Some(what) = dossier.unreadable.first() {
        return Err(flaw("unreadable", what.clone()));
    }
    let Some(walked) = walked else {
        if let Some(listed) = &dossier.listed {
            let what = format!("it is listed with {} events, and has none", listed.last_seq);
            return Err(flaw("session", what));
        }
        let strays = [
            ("snapshot", dossier.snapshot.is_some()),
            ("open_intent", !dossier.open_intents.is_empty()),
            ("act_key", !dossier.act_keys.is_empty()),
        ];
        return match strays.into_iter().find(|s| s.1) {
            Some((kind, _)) => Err(flaw(kind, "its session has no events".into())),
            None => Ok(Sound::default()),
        };
    };
    let Some(listed) = &dossier.listed else {
        return Err(flaw("session", "it has events, and is not listed".into()));
    };
    if let Some(what) = compare_listed(listed, &walked, has_chain) {
        return Err(flaw("session", what));
    }
    if dossier.lease_epoch < walked.epoch {
        let what = format!(
            "its lease is at epoch {}, and epoch {} has written",
            dossier.lease_epoch, walked.epoch
        );
        return Err(flaw("session", what));
    }
    if let Some(what) = compare_snapshot(dossier, &walked) {
        return Err(flaw("snapshot", what));
    }
    if let Some(what) = compare_intents(dossier, &walked) {
        return Err(flaw("open_intent", what));
    }
    if let Some(what) = compare_keys(dossier, &walked) {
        return Err(flaw("act_key", what));
    }
    Ok(Sound {
        events: dossier.rows.len() as u64,
        snapshots: u64::from(dossier.snapshot.is_some()),
        keys: dossier.act_keys.len() as u64,
        last: has_chain.then_some(walked.last),
        written: walked.written,
    })
}

fn differs<T: PartialEq + fmt::Display>(what: &str, stored: T, implied: T) -> Option<String> {
    (stored != implied).then(|| format!("{what} is `{stored}`, and the events say `{implied}`"))
}

fn compare_listed(listed: &SessionRow, walked: &Walk, has_chain: bool) -> Option<String> {
    let head = walked.head();
    let last_seq = walked.session.last_seq;
    let bad_end = has_chain && listed.chain != Some(walked.last);
    differs("last_seq", listed.last_seq, last_seq)
        .or_else(|| bad_end.then(|| "its last link is not that of its last event".to_owned()))
        .or_else(|| differs("updated_at_ms", listed.updated_at_ms, walked.at_ms))
        .or_else(|| differs("tenant", &listed.head.tenant, &head.tenant))
        .or_else(|| differs("user", &listed.head.user, &head.user))
        .or_else(|| differs("feature", &listed.head.feature, &head.feature))
        .or_else(|| differs("status", &listed.head.status, &head.status))
        .or_else(|| differs("trace_id", &listed.head.trace_id, &head.trace_id))
}

/// A snapshot is a shortcut: taken with the events behind it, it must say what all events say.
fn compare_snapshot(dossier: &Dossier, walked: &Walk) -> Option<String> {
    let snapshot = dossier.snapshot.as_ref()?;
    if !chain::is_sealed(snapshot) {
        return Some("it, or its seal, is not what was written".into());
    }
    let Some(at) = dossier.rows.iter().position(|r| r.seq == snapshot.seq) else {
        return Some(format!(
            "it is of event {}, which is not there",
            snapshot.seq
        ));
    };
    if dossier.rows[at].chain != snapshot.chain {
        return Some(format!("its link is not that of event {}", snapshot.seq));
    }
    let mut thawed = match codec::thaw(&dossier.rows[0], snapshot) {
        Ok(Some(thawed)) => thawed,
        // Written by another version: passed over, as a host does.
        Ok(None) if snapshot.format != stoplog_journal::store::SNAPSHOT_FORMAT => return None,
        Ok(None) => return Some("it cannot be read".into()),
        Err(e) => return Some(e.to_string()),
    };
    for row in &dossier.rows[at + 1..] {
        let record = match codec::decode(row) {
            Ok(record) => record,
            Err(e) => return Some(e.to_string()),
        };
        if thawed.apply(&record).is_err() {
            // About a turn that it has left out: whoever opens the session reads all events.
            return None;
        }
    }
    let same = thawed.freeze() == walked.session.freeze();
    (!same).then(|| "with the events behind it, it is not what all events say".into())
}

fn compare_intents(dossier: &Dossier, walked: &Walk) -> Option<String> {
    let mut implied = walked.open.clone();
    for stored in &dossier.open_intents {
        let place = (stored.iteration, stored.ordinal, stored.label.clone());
        let told = format!("{}.{} `{}`", place.0, place.1, place.2);
        match implied.remove(&place) {
            None => return Some(format!("{told} is open, and the events say it is not")),
            Some(row) if row != *stored => {
                return Some(format!("{told} is not what the events say"));
            }
            Some(_) => {}
        }
    }
    let (iteration, ordinal, label) = implied.into_keys().next()?;
    Some(format!(
        "{iteration}.{ordinal} `{label}` is open, and is missing"
    ))
}

fn compare_keys(dossier: &Dossier, walked: &Walk) -> Option<String> {
    let mut implied = walked.claims.clone();
    for stored in &dossier.act_keys {
        let told = format!("`{}` in {}", stored.key, stored.scope);
        match implied.remove(&(stored.scope.clone(), stored.key.clone())) {
            None => return Some(format!("{told} is claimed, and no event claims it")),
            Some(row) if !says_the_same(&row, stored) => {
                return Some(format!("{told} is not what the events say"));
            }
            Some(_) => {}
        }
    }
    let (scope, key) = implied.into_keys().next()?;
    Some(format!(
        "`{key}` in {scope} is claimed by the events, and is missing"
    ))
}

/// Class and time are left out: a journal that was brought up to date did not know them.
fn says_the_same(a: &ActKeyRow, b: &ActKeyRow) -> bool {
    a.same_call(b)
        && (&a.tool, &a.args_digest, a.state, a.seq) == (&b.tool, &b.args_digest, b.state, b.seq)
}

/// What is wrong with a claim that was kept of a pruned session: it must hold its result.
pub fn kept_key(row: &ActKeyRow) -> Option<String> {
    if row.state == ActKeyState::InFlight {
        return None;
    }
    let body = row.kept.as_deref().unwrap_or_default();
    let told = format!("act `{}` in {}", row.key, row.scope);
    match codec::kept_observation(body) {
        Err(e) => Some(format!("{told}: {e}")),
        Ok(o) if o.args_digest.as_str() != row.args_digest || o.tool != row.tool => Some(format!(
            "{told}: the result that was kept is that of another call"
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests;
