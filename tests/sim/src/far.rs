//! The far side: another process, in memory. It outlives every host, does what it was sent even
//! if the sender is gone, and keeps a ledger that the oracle and the person read.
//!
//! It breaks no promise that its tools declare: a key that it keeps is never done twice, and a
//! request that settles within 200 ms is done by then or never. What it may do: refuse, fail
//! before or behind the deed, hang up, answer late, in part or not at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::locked;
use crate::tools::{SECRET_VALUE, TIMEOUT_MS, writer};

/// One deed in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Its id.
    pub id: String,
    /// Which tool's far side did it.
    pub tool: String,
    /// Under which key.
    pub key: String,
    /// The name that was to be acted on.
    pub name: String,
    /// The call that asked, as the guest names it.
    pub call: String,
    /// Which effect of the call.
    pub part: String,
    /// When, milliseconds.
    pub at_ms: u64,
    /// It was taken back.
    pub undone: bool,
    /// The far side lost it, or did it twice on its own: no host is to blame.
    pub own_fault: bool,
}

impl Deed {
    /// It is in force, as far as a host can be held to it.
    pub fn in_force(&self) -> bool {
        !self.undone && !self.own_fault
    }
}

/// One request for a deed that reached the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Which tool's far side.
    pub tool: String,
    /// Its key header.
    pub key: String,
    /// The name that was to be acted on.
    pub name: String,
    /// The amount.
    pub amount: i64,
    /// The call that asked.
    pub call: String,
    /// Which effect of the call.
    pub part: String,
    /// When, milliseconds.
    pub at_ms: u64,
}

/// What the wire brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Milliseconds until then.
    pub after_ms: u64,
    /// The answer, or how it got lost.
    pub came: Came,
}

/// See [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Status and body.
    Answer(u16, String),
    /// The connection never came up.
    NoConnection,
    /// The connection broke behind the request.
    HungUp,
}

#[derive(Debug, Default)]
struct State {
    deeds: Vec<Deed>,
    sent: Vec<Sent>,
    /// Deeds under way: done at that time.
    under_way: Vec<(u64, Sent)>,
    wrong: Vec<String>,
    ids: u64,
}

/// The far side of every tool of a world.
pub struct Far {
    state: Mutex<State>,
    dice: Mutex<Dice>,
    /// So many requests in a hundred meet a fault.
    faults_percent: Mutex<u64>,
    coverage: Arc<Mutex<Coverage>>,
    /// Called when a request arrives, before anything else.
    on_arrival: Mutex<Option<OnArrival>>,
}

/// Told of each request that arrives.
pub type OnArrival = Arc<dyn Fn() + Send + Sync>;

impl Far {
    /// A far side that misbehaves so often.
    pub fn new(dice: Dice, faults_percent: u64, coverage: Arc<Mutex<Coverage>>) -> Far {
        Far {
            state: Mutex::default(),
            dice: Mutex::new(dice),
            faults_percent: Mutex::new(faults_percent),
            coverage,
            on_arrival: Mutex::default(),
        }
    }

    /// Has this called when a request arrives.
    pub fn tell(&self, on_arrival: OnArrival) {
        *locked(&self.on_arrival) = Some(on_arrival);
    }

    /// From here on nothing goes wrong any more: a world must come to an end.
    pub fn behave(&self) {
        *locked(&self.faults_percent) = 0;
    }

    fn count(&self, case: &str) {
        locked(&self.coverage).count("far", case);
    }

    /// The ledger, with everything done that is due by now.
    pub fn deeds(&self, now_ms: u64) -> Vec<Deed> {
        let mut state = locked(&self.state);
        self.land(&mut state, now_ms);
        state.deeds.clone()
    }

    /// Every request for a deed that arrived.
    pub fn sent(&self) -> Vec<Sent> {
        locked(&self.state).sent.clone()
    }

    /// What arrived and should not have.
    pub fn wrong(&self) -> Vec<String> {
        locked(&self.state).wrong.clone()
    }

    /// When the last deed under way will be done; none if none is.
    pub fn busy_until_ms(&self) -> Option<u64> {
        locked(&self.state).under_way.iter().map(|u| u.0).max()
    }

    /// Loses a deed of these tools, as an operator's slip does. Whether there was one.
    pub fn lose_one(&self, tools: &[&str]) -> bool {
        let mut state = locked(&self.state);
        let deed = state
            .deeds
            .iter_mut()
            .find(|d| d.in_force() && tools.contains(&d.tool.as_str()));
        let Some(deed) = deed else { return false };
        deed.own_fault = true;
        // It shows no more: taken out of the list as if it had never been.
        deed.undone = true;
        self.count("lost");
        true
    }

    /// A person takes the copies back that the far side made on its own.
    pub fn correct(&self, call: &str) {
        for deed in &mut locked(&self.state).deeds {
            if deed.call == call && deed.own_fault {
                deed.undone = true;
            }
        }
    }

    /// A request arrives.
    pub fn receive(&self, request: Arrived<'_>, now_ms: u64) -> Reply {
        if let Some(tell) = &*locked(&self.on_arrival) {
            tell();
        }
        let mut state = locked(&self.state);
        self.land(&mut state, now_ms);
        if request.secret != Some(&format!("Bearer {SECRET_VALUE}")[..]) {
            state.wrong.push("a request came without its secret".into());
        }
        let mut dice = locked(&self.dice);
        let faulty = dice.percent(*locked(&self.faults_percent));
        let after_ms = 1 + dice.below(20);
        let mut parts = request.path.trim_start_matches('/').split('/');
        let (tool, what, key) = (
            parts.next().unwrap_or(""),
            parts.next().unwrap_or(""),
            parts.next(),
        );
        let answer = |after_ms, status, body: Value| Reply {
            after_ms,
            came: Came::Answer(status, body.to_string()),
        };
        match (request.method, what, key) {
            ("GET", _, _) if faulty && dice.percent(50) => Reply {
                after_ms,
                came: Came::HungUp,
            },
            ("GET", _, _) if faulty => answer(after_ms, 503, json!({})),
            ("GET", "acts", Some(key)) => {
                self.count("looked");
                let shown = state
                    .deeds
                    .iter()
                    .filter(|d| d.tool == tool && d.key == key && !d.undone);
                let ids: Vec<&str> = shown.map(|d| d.id.as_str()).collect();
                answer(after_ms, 200, json!({ "acts": ids }))
            }
            ("GET", _, _) => answer(after_ms, 200, json!({ "price": 5 })),
            ("POST", "undo", None) => self.undo(&mut state, &mut dice, tool, &request, faulty),
            ("POST", "acts", None) => {
                self.act(&mut state, &mut dice, tool, &request, faulty, now_ms)
            }
            _ => {
                state
                    .wrong
                    .push(format!("{} {}", request.method, request.path));
                answer(after_ms, 404, json!({}))
            }
        }
    }

    /// Takes back by key, what is under way too. What was never done is taken back at once.
    fn undo(
        &self,
        state: &mut State,
        dice: &mut Dice,
        tool: &str,
        request: &Arrived<'_>,
        faulty: bool,
    ) -> Reply {
        let after_ms = 1 + dice.below(20);
        let body: Value = serde_json::from_slice(request.body).unwrap_or(Value::Null);
        let key = body["key"].as_str().unwrap_or("");
        if request.key != Some(&format!("{key}.undo")[..]) {
            let text = format!("an undo of {key} came under the key {:?}", request.key);
            state.wrong.push(text);
        }
        let fault = faulty.then(|| dice.below(4));
        if fault != Some(0) {
            let mut taken_back = false;
            for deed in &mut state.deeds {
                let same = deed.tool == tool && deed.key == key && !deed.undone;
                taken_back |= same;
                deed.undone |= same;
            }
            let before = state.under_way.len();
            state
                .under_way
                .retain(|(_, s)| !(s.tool == tool && s.key == key));
            taken_back |= before != state.under_way.len();
            self.count(if taken_back {
                "undid"
            } else {
                "nothing_to_undo"
            });
        }
        let came = match fault {
            Some(0 | 1) => Came::HungUp,
            Some(2) => Came::Answer(500, "{}".into()),
            _ => Came::Answer(200, "{}".into()),
        };
        Reply { after_ms, came }
    }

    fn act(
        &self,
        state: &mut State,
        dice: &mut Dice,
        tool: &str,
        request: &Arrived<'_>,
        faulty: bool,
        now_ms: u64,
    ) -> Reply {
        let after_ms = 1 + dice.below(20);
        let reply = |after_ms, came| Reply { after_ms, came };
        let fault = match faulty {
            true => *dice.pick(&FAULTS),
            false => Mishap::None,
        };
        if fault == Mishap::NoConnection {
            self.count("refused_connection");
            return reply(after_ms, Came::NoConnection);
        }
        let Some((sent, kind)) = read(tool, request, now_ms).zip(writer(tool)) else {
            let text = format!("a request for {tool} cannot be read, or has no key");
            state.wrong.push(text);
            return reply(after_ms, Came::Answer(404, "{}".into()));
        };
        state.sent.push(sent.clone());
        let same = |s: &Sent| s.tool == sent.tool && s.key == sent.key;
        if kind.keeps_keys && state.under_way.iter().any(|(_, s)| same(s)) {
            self.count("in_flight");
            return reply(after_ms, Came::Answer(409, "{}".into()));
        }
        // Later than the deadline of the call, unless it promised to be quicker.
        let late_ms = match kind.settles_ms {
            0 => 50 + dice.below(4000),
            settles => dice.below(u64::from(settles)),
        };
        let broken = |status| Came::Answer(status, "{}".to_owned());
        let past_deadline_ms = u64::from(TIMEOUT_MS) + 500;
        let (when, came, after_ms) = match fault {
            Mishap::SaysNo => (None, broken(422), after_ms),
            Mishap::FailsBefore => (None, broken(500), after_ms),
            Mishap::TimesOut => (None, broken(408), after_ms),
            Mishap::HangsUpBefore => (None, Came::HungUp, after_ms),
            Mishap::FailsAfter => (Some(0), broken(502), after_ms),
            Mishap::HangsUpAfter => (Some(0), Came::HungUp, after_ms),
            Mishap::LateSilent => (Some(late_ms), Came::HungUp, past_deadline_ms),
            Mishap::LateFailed => (Some(late_ms), broken(504), after_ms),
            Mishap::TooSlow => (Some(0), broken(200), past_deadline_ms),
            Mishap::Garbage => (Some(0), broken(200), after_ms),
            Mishap::Slow => (
                Some(0),
                Came::Answer(0, String::new()),
                300 + dice.below(500),
            ),
            Mishap::Twice | Mishap::None | Mishap::NoConnection => {
                (Some(0), Came::Answer(0, String::new()), after_ms)
            }
        };
        self.count(fault.word());
        let id = match when {
            None => None,
            Some(0) => Some(self.doing(state, &sent, now_ms)),
            Some(ms) => {
                state.under_way.push((now_ms + ms, sent.clone()));
                None
            }
        };
        if fault == Mishap::Twice && !kind.keeps_keys {
            self.count("twice");
            let mut copy = deed(state, &sent, now_ms);
            copy.own_fault = true;
            state.deeds.push(copy);
        }
        let came = match (came, id) {
            // The secret is echoed, as careless far sides do.
            (Came::Answer(0, _), Some(id)) => {
                let body = json!({ "act_id": id, "you_sent": request.secret });
                Came::Answer(200, body.to_string())
            }
            (came, _) => came,
        };
        reply(after_ms, came)
    }

    /// Does it, unless the key is kept and was done before. The id of the deed.
    fn doing(&self, state: &mut State, sent: &Sent, now_ms: u64) -> String {
        let keeps = writer(&sent.tool).is_some_and(|k| k.keeps_keys);
        let known = state
            .deeds
            .iter()
            .find(|d| keeps && d.tool == sent.tool && d.key == sent.key);
        if let Some(known) = known {
            self.count("remembered");
            return known.id.clone();
        }
        self.count("did");
        let new = deed(state, sent, now_ms);
        let id = new.id.clone();
        state.deeds.push(new);
        id
    }

    fn land(&self, state: &mut State, now_ms: u64) {
        let mut due: Vec<(u64, Sent)> = Vec::new();
        state.under_way.retain(|(at_ms, sent)| {
            let lands = *at_ms <= now_ms;
            if lands {
                due.push((*at_ms, sent.clone()));
            }
            !lands
        });
        due.sort_by_key(|(at_ms, _)| *at_ms);
        for (at_ms, sent) in due {
            self.doing(state, &sent, at_ms);
        }
    }

    /// Names of all calls that have something in force.
    pub fn calls_in_force(&self, now_ms: u64) -> BTreeSet<String> {
        let in_force = self.deeds(now_ms).into_iter().filter(Deed::in_force);
        in_force.map(|d| d.call).collect()
    }
}

/// A request as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Method.
    pub method: &'a str,
    /// Path.
    pub path: &'a str,
    /// The key header.
    pub key: Option<&'a str>,
    /// The authorization header.
    pub secret: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
}

fn deed(state: &mut State, sent: &Sent, at_ms: u64) -> Deed {
    state.ids += 1;
    Deed {
        id: format!("act_{}", state.ids),
        tool: sent.tool.clone(),
        key: sent.key.clone(),
        name: sent.name.clone(),
        call: sent.call.clone(),
        part: sent.part.clone(),
        at_ms,
        undone: false,
        own_fault: false,
    }
}

fn read(tool: &str, request: &Arrived<'_>, at_ms: u64) -> Option<Sent> {
    let body: Value = serde_json::from_slice(request.body).ok()?;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Some(Sent {
        tool: tool.to_owned(),
        key: request.key?.to_owned(),
        name: text("name")?,
        amount: body["amount"].as_i64()?,
        call: text("call")?,
        part: text("part")?,
        at_ms,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    None,
    NoConnection,
    SaysNo,
    FailsBefore,
    FailsAfter,
    HangsUpBefore,
    HangsUpAfter,
    LateSilent,
    LateFailed,
    Slow,
    TooSlow,
    Garbage,
    TimesOut,
    Twice,
}

const FAULTS: [Mishap; 13] = [
    Mishap::NoConnection,
    Mishap::SaysNo,
    Mishap::FailsBefore,
    Mishap::FailsAfter,
    Mishap::HangsUpBefore,
    Mishap::HangsUpAfter,
    Mishap::LateSilent,
    Mishap::LateFailed,
    Mishap::Slow,
    Mishap::TooSlow,
    Mishap::Garbage,
    Mishap::TimesOut,
    Mishap::Twice,
];

impl Mishap {
    fn word(self) -> &'static str {
        match self {
            Mishap::None | Mishap::Twice => "well",
            Mishap::NoConnection => "refused_connection",
            Mishap::SaysNo => "said_no",
            Mishap::FailsBefore => "failed_before",
            Mishap::FailsAfter => "failed_after",
            Mishap::HangsUpBefore => "hung_up_before",
            Mishap::HangsUpAfter => "hung_up_after",
            Mishap::LateSilent => "late_silent",
            Mishap::LateFailed => "late_failed",
            Mishap::Slow => "slow",
            Mishap::TooSlow => "too_slow",
            Mishap::Garbage => "garbage",
            Mishap::TimesOut => "timed_out",
        }
    }
}
