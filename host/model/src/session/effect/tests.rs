//! Every state of an effect against every event: a table of text, made by the function and
//! compared with what is written here. A change of the function is a changed cell.
//!
//! A new field, outcome, event or refusal does not compile until it has its word in the table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::call::Position;
use crate::digest::Digest;
use crate::effect::Request;

/// An enum, all its values, and a word for each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        enum $name { $($value,)+ }

        impl $name {
            const ALL: &[$name] = &[$($name::$value,)+];

            fn word(self) -> &'static str {
                match self { $($name::$value => $word,)+ }
            }
        }
    };
}

words! {
    /// What came of the latest attempt.
    Came {
        Open = "open",
        Done = "2xx",
        Refused = "4xx",
        GaveUp = "408",
        Broke = "5xx",
        NotSent = "nsnt",
        Unanswered = "unan",
    }
}

words! {
    /// The columns.
    Column {
        Intend = "intend",
        IntendAfterAbsent = "absent+i",
        IntendOtherKey = "i-key",
        IntendOtherAttempt = "i-att",
        SettleDone = "2xx",
        SettleRefused = "4xx",
        SettleGaveUp = "408",
        SettleBroke = "5xx",
        SettleNotSent = "nsnt",
        SettleUnanswered = "unan",
        SettleOtherAttempt = "s-att",
        TakenBack = "undone",
        NotDone = "notdone",
        Denied = "denied",
    }
}

/// A state without what does not matter: payloads, times, how many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Abstract {
    came: Came,
    earlier_doubt: bool,
    void: bool,
}

impl Abstract {
    fn of(state: &EffectState) -> Abstract {
        let EffectState {
            intent: _,
            touched_at_ms: _,
            outcome,
            void,
            earlier_doubt,
        } = state;
        let came = match outcome {
            None => Came::Open,
            Some(Outcome::Answered { response }) => came_of_status(response.status),
            Some(Outcome::NotSent { .. }) => Came::NotSent,
            Some(Outcome::Unanswered { .. }) => Came::Unanswered,
        };
        Abstract {
            came,
            earlier_doubt: *earlier_doubt,
            void: *void,
        }
    }

    /// `?` behind an earlier doubt, `~` before what is void.
    fn word(self) -> String {
        let void = if self.void { "~" } else { "" };
        let doubt = if self.earlier_doubt { "?" } else { "" };
        format!("{void}{}{doubt}", self.came.word())
    }

    fn all() -> impl Iterator<Item = Abstract> {
        Came::ALL.iter().flat_map(|came| {
            [(false, false), (true, false), (false, true), (true, true)].map(
                |(earlier_doubt, void)| Abstract {
                    came: *came,
                    earlier_doubt,
                    void,
                },
            )
        })
    }

    fn concrete(self) -> EffectState {
        EffectState {
            intent: intent("k", 1),
            touched_at_ms: 1,
            outcome: outcome_of(self.came),
            void: self.void,
            earlier_doubt: self.earlier_doubt,
        }
    }
}

fn came_of_status(status: u16) -> Came {
    match status {
        408 => Came::GaveUp,
        400..=499 => Came::Refused,
        500.. => Came::Broke,
        _ => Came::Done,
    }
}

fn outcome_of(came: Came) -> Option<Outcome> {
    let answered = |status| Outcome::Answered {
        response: Response {
            status,
            headers: vec![],
            body: vec![],
        },
    };
    match came {
        Came::Open => None,
        Came::Done => Some(answered(201)),
        Came::Refused => Some(answered(422)),
        Came::GaveUp => Some(answered(408)),
        Came::Broke => Some(answered(503)),
        Came::NotSent => Some(Outcome::NotSent { why: "w".into() }),
        Came::Unanswered => Some(Outcome::Unanswered { why: "w".into() }),
    }
}

fn intent(key: &str, attempt: u32) -> IntentRecorded {
    let request = Request {
        method: "POST".into(),
        url: "http://x/".into(),
        headers: vec![],
        body: vec![],
    };
    IntentRecorded {
        position: Position {
            iteration: 1,
            ordinal: 0,
        },
        label: String::new(),
        attempt,
        key: key.into(),
        act_key: None,
        args_digest: Digest::of(b"args"),
        fingerprint: request.fingerprint(),
        request,
        approval: None,
        one_of_several: false,
    }
}

/// An event with what it borrows.
struct Owned {
    intent: IntentRecorded,
    recorded: OutcomeRecorded,
}

impl Owned {
    fn new(known: Option<&EffectState>, column: Column) -> Owned {
        let last = known.map_or(0, |e| e.intent.attempt);
        let (key, next) = match column {
            Column::IntendOtherKey => ("other", last + 1),
            Column::IntendOtherAttempt => ("k", last + 2),
            _ => ("k", last + 1),
        };
        let came = match column {
            Column::SettleRefused => Came::Refused,
            Column::SettleGaveUp => Came::GaveUp,
            Column::SettleBroke => Came::Broke,
            Column::SettleNotSent => Came::NotSent,
            Column::SettleUnanswered => Came::Unanswered,
            _ => Came::Done,
        };
        let attempt = match column {
            Column::SettleOtherAttempt => last + 1,
            _ => last,
        };
        Owned {
            intent: intent(key, next),
            recorded: OutcomeRecorded {
                position: Position {
                    iteration: 1,
                    ordinal: 0,
                },
                label: String::new(),
                attempt,
                outcome: outcome_of(came).expect("settled"),
                latency_ms: 1,
            },
        }
    }

    fn event(&self, column: Column) -> EffectEvent<'_> {
        let intended = |after_absent| EffectEvent::Intended {
            intent: &self.intent,
            at_ms: 2,
            after_absent,
        };
        match column {
            Column::Intend | Column::IntendOtherKey | Column::IntendOtherAttempt => intended(false),
            Column::IntendAfterAbsent => intended(true),
            Column::SettleDone
            | Column::SettleRefused
            | Column::SettleGaveUp
            | Column::SettleBroke
            | Column::SettleNotSent
            | Column::SettleUnanswered
            | Column::SettleOtherAttempt => EffectEvent::Settled {
                recorded: &self.recorded,
                at_ms: 2,
            },
            Column::TakenBack => EffectEvent::TakenBack,
            Column::NotDone => EffectEvent::FoundNotDone { denied: false },
            Column::Denied => EffectEvent::FoundNotDone { denied: true },
        }
    }
}

fn next(known: Option<&EffectState>, column: Column) -> Result<EffectState, IllegalTransition> {
    let owned = Owned::new(known, column);
    EffectState::next(known, &owned.event(column))
}

fn refusal(illegal: &IllegalTransition) -> &'static str {
    match illegal {
        IllegalTransition::NeverIntended { .. } => "(never)",
        IllegalTransition::OtherKey => "(key)",
        IllegalTransition::OtherAttempt { .. } => "(att)",
        IllegalTransition::NoOpenIntent { .. } => "(shut)",
        IllegalTransition::NothingToVoid => "(none)",
    }
}

/// The column that an event belongs to: a new kind of event, or a new field, has no place here
/// until it has a column. Which attempt and key it names is seen against what is known.
fn column_of(known: Option<&EffectState>, event: &EffectEvent<'_>) -> Column {
    let last = known.map_or(0, |e| e.intent.attempt);
    match event {
        EffectEvent::Intended { intent, .. } if intent.key != "k" => Column::IntendOtherKey,
        EffectEvent::Intended { intent, .. } if intent.attempt != last + 1 => {
            Column::IntendOtherAttempt
        }
        EffectEvent::Intended {
            intent: _,
            at_ms: _,
            after_absent,
        } => match after_absent {
            true => Column::IntendAfterAbsent,
            false => Column::Intend,
        },
        EffectEvent::Settled { recorded, .. } if recorded.attempt != last => {
            Column::SettleOtherAttempt
        }
        EffectEvent::Settled { recorded, at_ms: _ } => match &recorded.outcome {
            Outcome::Answered { response } => match came_of_status(response.status) {
                Came::Refused => Column::SettleRefused,
                Came::GaveUp => Column::SettleGaveUp,
                Came::Broke => Column::SettleBroke,
                _ => Column::SettleDone,
            },
            Outcome::NotSent { .. } => Column::SettleNotSent,
            Outcome::Unanswered { .. } => Column::SettleUnanswered,
        },
        EffectEvent::TakenBack => Column::TakenBack,
        EffectEvent::FoundNotDone { denied: false } => Column::NotDone,
        EffectEvent::FoundNotDone { denied: true } => Column::Denied,
    }
}

fn row(name: &str, known: Option<&EffectState>) -> String {
    let cells = Column::ALL.iter().map(|column| match next(known, *column) {
        Ok(state) => Abstract::of(&state).word(),
        Err(illegal) => refusal(&illegal).to_owned(),
    });
    let cells: String = cells.map(|cell| format!("{cell:<9}")).collect();
    format!("{name:<7}| {cells}").trim_end().to_owned()
}

fn table() -> String {
    let head: String = Column::ALL
        .iter()
        .map(|c| format!("{:<9}", c.word()))
        .collect();
    let head = format!("{:<7}| {head}", "state").trim_end().to_owned();
    let rows = Abstract::all().map(|state| row(&state.word(), Some(&state.concrete())));
    let lines: Vec<String> = [head, row("-", None)].into_iter().chain(rows).collect();
    lines.join("\n")
}

/// One row a state, one column an event. A cell is the next state, or the refusal in parentheses.
/// `-` was never intended, `?` is behind an earlier doubt, `~` is void; `nsnt`: not sent, `unan`:
/// unanswered.
const TABLE: &str = "\
state  | intend   absent+i i-key    i-att    2xx      4xx      408      5xx      nsnt     unan     s-att    undone   notdone  denied
-      | open     open     open     (never)  (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (none)   (none)   (none)
open   | open?    open     (key)    (att)    2xx      4xx      408      5xx      nsnt     unan     (shut)   ~open    ~open    ~open
open?  | open?    open     (key)    (att)    2xx?     4xx?     408?     5xx?     nsnt?    unan?    (shut)   ~open?   ~open?   ~open?
~open  | open     open     (key)    (att)    ~2xx     ~4xx     ~408     ~5xx     ~nsnt    ~unan    (shut)   ~open    ~open    ~open
~open? | open     open     (key)    (att)    ~2xx?    ~4xx?    ~408?    ~5xx?    ~nsnt?   ~unan?   (shut)   ~open?   ~open?   ~open?
2xx    | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~2xx     2xx      ~2xx
2xx?   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~2xx?    2xx?     ~2xx?
~2xx   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~2xx     ~2xx     ~2xx
~2xx?  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~2xx?    ~2xx?    ~2xx?
4xx    | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~4xx     ~4xx     ~4xx
4xx?   | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~4xx?    ~4xx?    ~4xx?
~4xx   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~4xx     ~4xx     ~4xx
~4xx?  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~4xx?    ~4xx?    ~4xx?
408    | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~408     ~408     ~408
408?   | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~408?    ~408?    ~408?
~408   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~408     ~408     ~408
~408?  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~408?    ~408?    ~408?
5xx    | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~5xx     ~5xx     ~5xx
5xx?   | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~5xx?    ~5xx?    ~5xx?
~5xx   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~5xx     ~5xx     ~5xx
~5xx?  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~5xx?    ~5xx?    ~5xx?
nsnt   | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~nsnt    ~nsnt    ~nsnt
nsnt?  | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~nsnt?   ~nsnt?   ~nsnt?
~nsnt  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~nsnt    ~nsnt    ~nsnt
~nsnt? | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~nsnt?   ~nsnt?   ~nsnt?
unan   | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~unan    ~unan    ~unan
unan?  | open?    open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~unan?   ~unan?   ~unan?
~unan  | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~unan    ~unan    ~unan
~unan? | open     open     (key)    (att)    (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   (shut)   ~unan?   ~unan?   ~unan?
";

#[test]
fn every_state_against_every_event() {
    let got = table();
    assert!(got == TABLE.trim_end(), "the function says now:\n{got}");
}

#[test]
fn every_column_is_the_event_that_its_name_says() {
    for known in [
        None,
        Some(Abstract::all().next().expect("a state").concrete()),
    ] {
        for column in Column::ALL {
            let owned = Owned::new(known.as_ref(), *column);
            assert_eq!(column_of(known.as_ref(), &owned.event(*column)), *column);
        }
    }
}

/// The words of the table hide payloads: they are kept, or taken from the event.
#[test]
fn an_event_changes_nothing_beside_what_it_is_about() {
    for known in Abstract::all().map(Abstract::concrete) {
        for column in Column::ALL {
            let Ok(state) = next(Some(&known), *column) else {
                continue;
            };
            let owned = Owned::new(Some(&known), *column);
            match owned.event(*column) {
                EffectEvent::Intended { intent, at_ms, .. } => {
                    assert_eq!(state.intent, *intent);
                    assert_eq!(state.touched_at_ms, at_ms);
                }
                EffectEvent::Settled { recorded, at_ms } => {
                    assert_eq!(state.intent, known.intent);
                    assert_eq!(state.outcome.as_ref(), Some(&recorded.outcome));
                    assert_eq!(state.touched_at_ms, at_ms);
                }
                EffectEvent::TakenBack | EffectEvent::FoundNotDone { .. } => {
                    assert_eq!(state.intent, known.intent);
                    assert_eq!(state.outcome, known.outcome);
                    assert_eq!(state.touched_at_ms, known.touched_at_ms);
                }
            }
        }
    }
}

/// Every status has the aftermath of the one that stands for its kind in the table.
#[test]
fn one_status_stands_for_its_kind() {
    for status in 100..=999 {
        for (earlier_doubt, void) in [(false, false), (true, false), (false, true), (true, true)] {
            let sample = Abstract {
                came: came_of_status(status),
                earlier_doubt,
                void,
            }
            .concrete();
            let response = Response {
                status,
                headers: vec![],
                body: vec![],
            };
            let state = EffectState {
                outcome: Some(Outcome::Answered { response }),
                ..sample.clone()
            };
            assert_eq!(state.aftermath(), sample.aftermath(), "{status}");
            assert_eq!(state.in_doubt(), sample.in_doubt(), "{status}");
        }
    }
}

/// What is true of one attempt, as somebody knows who writes down every attempt and forgets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Nobody knows.
    Unknown,
    /// The far side said that it is done.
    Done,
    /// It did not leave, or was refused; or it was cleared up later.
    Over,
}

/// What a column does to the fates of all attempts so far.
fn fates_after(mut fates: Vec<Fate>, column: Column) -> Vec<Fate> {
    match column {
        Column::Intend | Column::IntendOtherKey | Column::IntendOtherAttempt => {
            fates.push(Fate::Unknown);
        }
        Column::IntendAfterAbsent => {
            fates.iter_mut().for_each(|f| *f = Fate::Over);
            fates.push(Fate::Unknown);
        }
        // One key: success of one attempt is success of all.
        Column::SettleDone | Column::SettleOtherAttempt => {
            fates.iter_mut().for_each(|f| *f = Fate::Over);
            fates.pop();
            fates.push(Fate::Done);
        }
        Column::SettleRefused | Column::SettleNotSent => {
            fates.pop();
            fates.push(Fate::Over);
        }
        Column::SettleGaveUp | Column::SettleBroke | Column::SettleUnanswered => {}
        Column::TakenBack | Column::Denied => fates.iter_mut().for_each(|f| *f = Fate::Over),
        Column::NotDone => {
            let over = |f: &mut Fate| {
                if *f == Fate::Unknown {
                    *f = Fate::Over;
                }
            };
            fates.iter_mut().for_each(over);
        }
    }
    fates
}

/// Attempts in one history: three may be sent, a fourth behind a person.
const ATTEMPTS: usize = 4;

/// Over all histories: what the state believes is what the list of all attempts says. So no event
/// makes a doubt vanish but an answer, a settled absence, an undo or a person, and a resend never.
#[test]
fn no_history_forgets_a_doubt() {
    let mut seen: BTreeMap<(Abstract, Vec<Fate>), EffectState> = BTreeMap::new();
    let first = next(None, Column::Intend).expect("legal");
    let mut queue = VecDeque::from([(first, vec![Fate::Unknown])]);
    while let Some((state, fates)) = queue.pop_front() {
        let place = (Abstract::of(&state), fates.clone());
        if seen.contains_key(&place) {
            continue;
        }
        seen.insert(place, state.clone());
        let expected = match &fates {
            fates if fates.contains(&Fate::Unknown) => Aftermath::Unknown,
            fates if fates.contains(&Fate::Done) => Aftermath::Changed,
            _ => Aftermath::Untouched,
        };
        assert_eq!(state.aftermath(), expected, "{state:?} after {fates:?}");
        if state.in_doubt() {
            assert_eq!(expected, Aftermath::Unknown, "{state:?} after {fates:?}");
        }
        for column in Column::ALL {
            let resend = matches!(column, Column::Intend | Column::IntendAfterAbsent);
            // Nobody sends again what the far side answered with success, or settles what is void.
            let idle = match resend {
                true => state.aftermath() == Aftermath::Changed || fates.len() == ATTEMPTS,
                false => state.void,
            };
            if let Ok(after) = next(Some(&state), *column).map_err(|_| ())
                && !idle
            {
                if *column == Column::Intend {
                    let doubt = state.aftermath() == Aftermath::Unknown;
                    assert_eq!(after.earlier_doubt, doubt, "{state:?}");
                }
                queue.push_back((after, fates_after(fates.clone(), *column)));
            }
        }
    }
    let reached: BTreeSet<Abstract> = seen.keys().map(|(state, _)| *state).collect();
    let all: BTreeSet<Abstract> = Abstract::all().collect();
    let not_reached: Vec<String> = all.difference(&reached).map(|s| s.word()).collect();
    assert!(not_reached.is_empty(), "never reached: {not_reached:?}");
}

/// A cell of each kind is in the table: a refusal that nothing meets would be dead.
#[test]
fn every_refusal_is_met() {
    for word in ["(never)", "(key)", "(att)", "(shut)", "(none)"] {
        assert!(TABLE.contains(word), "{word}");
    }
}
