//! What must be true of a history, whoever made it.
//!
//! The oracle knows nothing of how the host works. It sees what the far side did and was sent,
//! what the model was asked and shown, what people said, and how each call and session ended.
//! Each rule is a function from a history to complaints; `tests.rs` breaks each one on purpose.

use std::collections::{BTreeMap, BTreeSet};

use crate::far::{Deed, Sent};
use crate::tools::{Kind, writer};

/// One entry of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// What the model said.
    Turn {
        /// Which turn, counted from 1.
        iteration: u32,
        /// Text and calls, in one line.
        said: String,
    },
    /// What it was told of a call.
    Result {
        /// The turn of the call.
        iteration: u32,
        /// Its place in the turn.
        ordinal: u32,
        /// It failed.
        is_error: bool,
        /// Reason or error code, or nothing.
        code: String,
        /// `nothing`, `something`, `nobody knows`, or empty.
        changed: String,
        /// All that was told; empty where only the rest is known.
        text: String,
    },
}

/// One question to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The session.
    pub session: String,
    /// For which turn.
    pub iteration: u32,
    /// When, milliseconds.
    pub at_ms: u64,
    /// The conversation that it was shown.
    pub shown: Vec<Shown>,
    /// Turns up to this one are left out of it, and it was told so.
    pub dropped: u32,
    /// The usable turn that it gave; none if it failed or was cut off.
    pub said: Option<String>,
}

/// How a call ended, as the loop knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It did not.
    Open,
    /// With an output.
    Done,
    /// With an error, and what that says of the outside.
    Failed {
        /// `nothing`, `something` or `nobody knows`.
        changed: String,
    },
}

/// One call of the final transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The session.
    pub session: String,
    /// The turn.
    pub iteration: u32,
    /// The place in the turn.
    pub ordinal: u32,
    /// The name that the far side knows it by.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// The arguments, as text.
    pub arguments: String,
    /// What is acted on.
    pub name: String,
    /// How the tool goes about it: see `tools::HOWS`.
    pub how: String,
    /// How it ended.
    pub end: End,
}

/// A person's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The call, as the far side knows it.
    pub call: String,
    /// For these arguments.
    pub arguments: String,
    /// When, milliseconds.
    pub at_ms: u64,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The session.
    pub session: String,
    /// The word for its state.
    pub status: String,
    /// The reason of its last run's end, or nothing.
    pub reason: String,
    /// The conversation as the journal has it.
    pub shown: Vec<Shown>,
}

/// All that was seen of a world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The far side's ledger.
    pub deeds: Vec<Deed>,
    /// The requests that reached it.
    pub sent: Vec<Sent>,
    /// The questions to the model, in order.
    pub asked: Vec<Asked>,
    /// Every call.
    pub calls: Vec<Call>,
    /// Every approval.
    pub approved: Vec<Approved>,
    /// Every session.
    pub endings: Vec<Ending>,
    /// Intents that are still open, by session.
    pub open_intents: Vec<String>,
    /// What tools, far side and world saw go wrong by themselves.
    pub wrong: Vec<String>,
}

/// A rule that a history breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: &'static str,
    /// What of the history breaks it.
    pub detail: String,
}

type Rule = fn(&History) -> Vec<String>;

/// Every rule, by name.
pub const RULES: [(&str, Rule); 10] = [
    ("once", once),
    ("untouched", untouched),
    ("done", done),
    ("one_key", one_key),
    ("remembered", remembered),
    ("asked_once", asked_once),
    ("approved", approved),
    ("closed", closed),
    ("ended", ended),
    ("seen", seen),
];

/// Every violation.
pub fn check(history: &History) -> Vec<Violation> {
    let of_rule = |(rule, broken): &(&'static str, Rule)| {
        let rule = *rule;
        let found = broken(history).into_iter();
        found.map(move |detail| Violation { rule, detail })
    };
    RULES.iter().flat_map(of_rule).collect()
}

impl History {
    fn call(&self, id: &str) -> Option<&Call> {
        self.calls.iter().find(|c| c.id == id)
    }

    fn in_force(&self) -> impl Iterator<Item = &Deed> {
        self.deeds.iter().filter(|d| d.in_force())
    }
}

/// What is meant to be done once: the tool's act, in its scope, one part of it.
fn act(kind: &Kind, session: &str, name: &str, part: &str) -> String {
    let scope = if kind.tenant_wide { "" } else { session };
    format!("{} of {name} part `{part}` {scope}", kind.name)
}

/// An act is in force at most once.
fn once(history: &History) -> Vec<String> {
    let mut acts: BTreeMap<String, Vec<&Deed>> = BTreeMap::new();
    for deed in history.in_force() {
        let session = history.call(&deed.call).map_or("", |c| &c.session);
        if let Some(kind) = writer(&deed.tool) {
            let act = act(kind, session, &deed.name, &deed.part);
            acts.entry(act).or_default().push(deed);
        }
    }
    let several = acts.into_iter().filter(|(_, deeds)| deeds.len() > 1);
    several
        .map(|(act, deeds)| {
            let deeds: Vec<String> = deeds
                .iter()
                .map(|d| format!("{} key {} at {}", d.id, d.key, d.at_ms))
                .collect();
            format!("{act}: {}", deeds.join(", "))
        })
        .collect()
}

/// Who was told that nothing changed can rely on it.
fn untouched(history: &History) -> Vec<String> {
    let places: BTreeMap<(&str, u32, u32), &Call> = history
        .calls
        .iter()
        .map(|c| ((c.session.as_str(), c.iteration, c.ordinal), c))
        .collect();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for asked in &history.asked {
        for shown in &asked.shown {
            if let Shown::Result {
                iteration,
                ordinal,
                changed,
                ..
            } = shown
                && changed == "nothing"
                && let Some(call) = places.get(&(asked.session.as_str(), *iteration, *ordinal))
            {
                told.insert(&call.id);
            }
        }
    }
    for call in &history.calls {
        if matches!(&call.end, End::Failed { changed } if changed == "nothing") {
            told.insert(&call.id);
        }
    }
    history
        .in_force()
        .filter(|d| told.contains(d.call.as_str()))
        .map(|d| {
            format!(
                "{} is in force; the model was told that nothing changed",
                d.id
            )
        })
        .collect()
}

/// Who was given an output can rely on the deed, unless the tool itself makes things up.
fn done(history: &History) -> Vec<String> {
    let mut acts: BTreeSet<String> = BTreeSet::new();
    // What the far side lost on its own was done all the same.
    for deed in history.deeds.iter().filter(|d| d.in_force() || d.own_fault) {
        let session = history.call(&deed.call).map_or("", |c| &c.session);
        if let Some(kind) = writer(&deed.tool) {
            acts.insert(act(kind, session, &deed.name, &deed.part));
        }
    }
    let mut broken = Vec::new();
    for call in &history.calls {
        let honest = !matches!(call.how.as_str(), "hide" | "leave");
        let Some(kind) = writer(&call.tool).filter(|_| honest && call.end == End::Done) else {
            continue;
        };
        for part in kind.parts {
            let part = match kind.plain_http {
                true => "",
                false => part,
            };
            let act = act(kind, &call.session, &call.name, part);
            if !acts.contains(&act) {
                broken.push(format!("{act} was reported as done, and is not"));
            }
        }
    }
    broken
}

/// All requests for one effect of a call carry one key, over every host that sent them; and so
/// do all for one act.
fn one_key(history: &History) -> Vec<String> {
    let mut keys: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for sent in &history.sent {
        let effect = format!("call {} part `{}`", sent.call, sent.part);
        keys.entry(effect).or_default().insert(&sent.key);
        let session = history.call(&sent.call).map_or("", |c| &c.session);
        if let Some(kind) = writer(&sent.tool) {
            let act = act(kind, session, &sent.name, &sent.part);
            keys.entry(act).or_default().insert(&sent.key);
        }
    }
    let several = keys.into_iter().filter(|(_, keys)| keys.len() > 1);
    several
        .map(|(what, keys)| format!("{what}: {keys:?}"))
        .collect()
}

/// What the model was shown is never lost or changed in silence. Two things may happen to it. A
/// person found that the far side does not have what the journal calls done: then it is corrected.
/// And it may be left out to make room: then the model is told so, and it stays left out; the last
/// turn is always there, whole. The journal has all of it.
fn remembered(history: &History) -> Vec<String> {
    let mut known: BTreeMap<&str, BTreeMap<Place, &Shown>> = BTreeMap::new();
    let mut dropped: BTreeMap<&str, u32> = BTreeMap::new();
    let mut broken = Vec::new();
    for asked in &history.asked {
        let session = asked.session.as_str();
        let before = dropped.insert(session, asked.dropped).unwrap_or(0);
        if asked.dropped < before {
            broken.push(format!(
                "{session}: turn {before} was left out, and came back"
            ));
        }
        if asked.dropped > 0 && asked.dropped + 1 >= asked.iteration {
            broken.push(format!(
                "{session}: turn {} was left out at once",
                asked.dropped
            ));
        }
        let last = asked.iteration.saturating_sub(1);
        let cut_last = asked
            .shown
            .iter()
            .any(|s| s.place().0 == last && s.is_cut());
        if cut_last {
            broken.push(format!("{session}: the last turn, {last}, is cut"));
        }
        let known = known.entry(session).or_default();
        broken.extend(missing(session, known, &asked.shown, asked.dropped));
    }
    for ending in &history.endings {
        let session = ending.session.as_str();
        let known = known.entry(session).or_default();
        broken.extend(missing(session, known, &ending.shown, 0));
    }
    broken
}

/// Iteration, and 0 for the turn itself, 1 and more for its calls.
type Place = (u32, u32);

impl Shown {
    fn place(&self) -> Place {
        match self {
            Shown::Turn { iteration, .. } => (*iteration, 0),
            Shown::Result {
                iteration, ordinal, ..
            } => (*iteration, ordinal + 1),
        }
    }

    /// Its middle is left out, and it says so.
    fn is_cut(&self) -> bool {
        matches!(self, Shown::Result { text, .. } if text.contains("left out to make room"))
    }
}

/// What was known of a session and is not shown, or is shown as something else. What is shown is
/// known from now on.
fn missing<'a>(
    session: &str,
    known: &mut BTreeMap<Place, &'a Shown>,
    shown: &'a [Shown],
    dropped: u32,
) -> Vec<String> {
    let mut broken = Vec::new();
    if !shown.is_sorted_by_key(Shown::place) {
        broken.push(format!("{session}: the prompt is out of order"));
    }
    let now: BTreeMap<Place, &Shown> = shown.iter().map(|s| (s.place(), s)).collect();
    for (place, old) in known.iter().filter(|(place, _)| place.0 > dropped) {
        match now.get(place) {
            None => broken.push(format!("{session}: {old:?} is lost")),
            Some(new) if !same_or_corrected(old, new) => {
                broken.push(format!("{session}: {old:?} became {new:?}"));
            }
            Some(_) => {}
        }
    }
    known.extend(now);
    broken
}

fn same_or_corrected(old: &Shown, new: &Shown) -> bool {
    match (old, new) {
        (
            Shown::Result {
                is_error,
                changed,
                text,
                code,
                ..
            },
            Shown::Result {
                is_error: e,
                changed: c,
                text: t,
                code: new_code,
                ..
            },
        ) => {
            let corrected = *e
                && matches!(new_code.as_str(), "ledger_mismatch" | "found_several")
                && c == "nothing";
            let same = (is_error, changed, code) == (e, c, new_code)
                && (text == t || text.is_empty() || t.is_empty());
            // Cut once, it stays cut, but for the journal, which has no text here.
            let is_same_end = (is_error, code) == (e, new_code);
            let cut = is_same_end && (new.is_cut() || (old.is_cut() && t.is_empty()));
            same || corrected || cut
        }
        _ => old == new,
    }
}

/// A turn that had caused a request is never asked for again, and each turn of the journal is the
/// last that the model gave for its place.
fn asked_once(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for sent in &history.sent {
        let Some(call) = history.call(&sent.call) else {
            continue;
        };
        let again = history.asked.iter().find(|a| {
            a.session == call.session && a.iteration <= call.iteration && a.at_ms > sent.at_ms
        });
        if let Some(again) = again {
            broken.push(format!(
                "{}: turn {} was asked for at {} although turn {} had sent something at {}",
                call.session, again.iteration, again.at_ms, call.iteration, sent.at_ms
            ));
        }
    }
    for ending in &history.endings {
        for shown in &ending.shown {
            let Shown::Turn { iteration, said } = shown else {
                continue;
            };
            let mut given = history.asked.iter().rev();
            let last = given.find(|a| {
                a.session == ending.session && a.iteration == *iteration && a.said.is_some()
            });
            if last.and_then(|a| a.said.as_ref()) != Some(said) {
                broken.push(format!(
                    "{}: turn {iteration} of the journal is not what the model said last",
                    ending.session
                ));
            }
        }
    }
    broken
}

/// Nothing irreversible leaves without an approval for those arguments, and each is good for one
/// call.
fn approved(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for sent in &history.sent {
        let is_held = writer(&sent.tool).is_some_and(|k| k.class.held_by_default());
        if !is_held {
            continue;
        }
        let arguments = history.call(&sent.call).map_or("", |c| &c.arguments);
        let good = history
            .approved
            .iter()
            .any(|a| a.call == sent.call && a.arguments == arguments && a.at_ms <= sent.at_ms);
        if !good {
            broken.push(format!("call {} left without an approval", sent.call));
        }
    }
    let mut calls = BTreeSet::new();
    for approved in &history.approved {
        if !calls.insert(&approved.call) {
            broken.push(format!("call {} was approved twice", approved.call));
        }
    }
    broken
}

/// In the end no intent is open; but for a session that a person gave up, which may leave another
/// call in doubt behind.
fn closed(history: &History) -> Vec<String> {
    let given_up = |session: &&String| {
        let mut endings = history.endings.iter();
        endings.any(|e| {
            e.session == **session && e.status == "failed" && e.reason == "ledger_mismatch"
        })
    };
    let open = history.open_intents.iter().filter(|s| !given_up(s));
    open.map(|session| format!("{session} has an open intent"))
        .collect()
}

/// Every session ended, or failed for a reason that it gives; then every call has its end.
fn ended(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for ending in &history.endings {
        let fine =
            ending.status == "ended" || (ending.status == "failed" && !ending.reason.is_empty());
        if !fine {
            broken.push(format!(
                "{} is {} ({})",
                ending.session, ending.status, ending.reason
            ));
        }
        let open = history
            .calls
            .iter()
            .find(|c| c.session == ending.session && c.end == End::Open);
        if let Some(open) = open.filter(|_| ending.status == "ended") {
            broken.push(format!(
                "{} ended, and its call {}.{} did not",
                ending.session, open.iteration, open.ordinal
            ));
        }
    }
    broken
}

/// What nobody may ever see: and no request comes from a call that no transcript has.
fn seen(history: &History) -> Vec<String> {
    let mut broken = history.wrong.clone();
    for sent in &history.sent {
        if history.call(&sent.call).is_none() {
            broken.push(format!("call {} is in no transcript, and sent", sent.call));
        }
    }
    broken
}

#[cfg(test)]
mod tests;
