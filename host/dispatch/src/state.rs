//! A tool's state as one run sees it.
//!
//! Invariants:
//! * the run sees what is committed, each key as it was when it first looked, and its own writes over
//!   that; nobody else sees those before the call is observed;
//! * what `call` of a write tool saw is recorded, and a rerun sees it again, before it may look at
//!   anything new. So a rerun writes what the first run would have written;
//! * `probe` and `preview` write nothing, and a tool whose line in the lock does not say so keeps
//!   nothing;
//! * whether a write is too much is decided by what was recorded, so a rerun is refused the same.
//!
//! What may go wrong: two calls of one tool at the same time. Each writes what it computed from what
//! it saw; of two writes to one key, the one that is committed later stands. And a call that waited
//! for a person for a week writes what it computed a week ago.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoplog_journal::{JournalError, SessionJournal};
use stoplog_model::event::Event;
use stoplog_model::session::CallState;
use stoplog_model::state::{
    BYTES, KEY_BYTES, KEYS, LOOKS_A_CALL, PAGE_KEYS, READ_BYTES_A_CALL, StateAsk, StateGot,
    StateOp, StateRead, StateRefused, StateSeen, StateWrite, VALUE_BYTES, Value, WRITES_A_CALL,
    WRITTEN_BYTES_A_CALL,
};
use stoplog_model::{Position, Reason};

/// What a run may do with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateRights {
    /// Nothing: the operator has not granted it.
    None,
    /// See it.
    Look,
    /// See it, and write to it.
    Write,
}

/// Why an operation came to nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The guest is told so, and may go on.
    Refused(StateRefused),
    /// It looks at something else than before: the call cannot go on.
    Diverged(String),
    /// The journal failed: neither.
    Journal(JournalError),
}

impl From<StateRefused> for Failed {
    fn from(refused: StateRefused) -> Failed {
        Failed::Refused(refused)
    }
}

/// The state in one run.
pub(crate) struct StateView {
    /// Where what is committed is asked for; none: nothing is.
    journal: Option<Arc<SessionJournal>>,
    position: Position,
    tool: String,
    rights: StateRights,
    /// What it sees is recorded.
    records: bool,
    view: tokio::sync::Mutex<View>,
}

#[derive(Default)]
struct View {
    /// Recorded looks that this run has not asked for yet.
    to_replay: Vec<StateRead>,
    /// How many are recorded.
    recorded: u32,
    /// What is committed, as far as this run has looked.
    values: BTreeMap<String, Option<Vec<u8>>>,
    keys: Option<Vec<String>>,
    room: Option<(u32, u64)>,
    written: BTreeMap<String, Option<Vec<u8>>>,
    /// The keys that pages are cut from.
    listed: Vec<String>,
    looks: u32,
    read_bytes: usize,
}

fn denied(why: impl std::fmt::Display) -> StateRefused {
    StateRefused::Denied(format!("{}: {why}", Reason::StateDenied))
}

fn limit(why: impl std::fmt::Display) -> StateRefused {
    StateRefused::Limit(format!("{}: {why}", Reason::StateLimit))
}

impl StateView {
    pub(crate) fn new(
        journal: Option<Arc<SessionJournal>>,
        (position, tool): (Position, &str),
        rights: StateRights,
        records: bool,
        recorded: &[StateRead],
    ) -> StateView {
        let view = View {
            to_replay: match records {
                true => recorded.to_vec(),
                false => Vec::new(),
            },
            recorded: recorded.len() as u32,
            ..View::default()
        };
        StateView {
            journal,
            position,
            tool: tool.to_owned(),
            rights,
            records,
            view: tokio::sync::Mutex::new(view),
        }
    }

    /// What the run has written, each key once.
    pub(crate) async fn writes(&self) -> Vec<StateWrite> {
        let view = self.view.lock().await;
        let written = view.written.iter();
        let writes = written.map(|(key, value)| StateWrite {
            key: key.clone(),
            value: value.clone().map(Value),
        });
        writes.collect()
    }

    /// Does what the guest asks for.
    pub(crate) async fn perform(&self, op: StateOp) -> Result<StateGot, Failed> {
        if self.rights == StateRights::None {
            let why = format!("stoplog.lock does not let `{}` keep state", self.tool);
            return Err(denied(why).into());
        }
        let mut view = self.view.lock().await;
        view.looks += 1;
        if view.looks > LOOKS_A_CALL {
            return Err(limit(format!("more than {LOOKS_A_CALL} looks in one call")).into());
        }
        match op {
            StateOp::Get(key) => {
                let value = self.value(&mut view, key).await?;
                Ok(StateGot::Value(value))
            }
            StateOp::Exists(key) => {
                let value = self.value(&mut view, key).await?;
                Ok(StateGot::Exists(value.is_some()))
            }
            StateOp::Set(key, value) => self.write(&mut view, key, Some(value)).await,
            StateOp::Delete(key) => self.write(&mut view, key, None).await,
            StateOp::Keys(from) => self.page(&mut view, from).await,
        }
    }

    async fn value(&self, view: &mut View, key: String) -> Result<Option<Vec<u8>>, Failed> {
        check_key(&key)?;
        if let Some(own) = view.written.get(&key) {
            return Ok(own.clone());
        }
        if let Some(seen) = view.values.get(&key) {
            return Ok(seen.clone());
        }
        let StateSeen::Value { value, .. } = self.ask(view, StateAsk::Value(key.clone())).await?
        else {
            return Err(Failed::Diverged(format!("key `{key}` has no value")));
        };
        let value = value.map(|v| v.0);
        view.values.insert(key, value.clone());
        Ok(value)
    }

    async fn write(
        &self,
        view: &mut View,
        key: String,
        value: Option<Vec<u8>>,
    ) -> Result<StateGot, Failed> {
        if self.rights != StateRights::Write {
            return Err(denied("`probe` and `preview` only look").into());
        }
        check_key(&key)?;
        if let Some(value) = &value {
            if value.len() > VALUE_BYTES {
                let why = format!("a value of {} bytes, at most {VALUE_BYTES}", value.len());
                return Err(limit(why).into());
            }
            self.room(view).await?;
        }
        let before = view.written.insert(key.clone(), value);
        if let Err(refused) = view.check() {
            match before {
                Some(before) => drop(view.written.insert(key, before)),
                None => drop(view.written.remove(&key)),
            }
            return Err(refused.into());
        }
        Ok(StateGot::Done)
    }

    /// How much there is, asked once.
    async fn room(&self, view: &mut View) -> Result<(), Failed> {
        if view.room.is_none() {
            let StateSeen::Room { keys, bytes } = self.ask(view, StateAsk::Room).await? else {
                return Err(Failed::Diverged("the state has no size".into()));
            };
            view.room = Some((keys, bytes));
        }
        Ok(())
    }

    async fn page(&self, view: &mut View, from: u64) -> Result<StateGot, Failed> {
        if from == 0 {
            if view.keys.is_none() {
                let StateSeen::Keys { keys } = self.ask(view, StateAsk::Keys).await? else {
                    return Err(Failed::Diverged("the state has no keys".into()));
                };
                view.keys = Some(keys);
            }
            view.listed = view.with_own_writes();
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = view.listed.get(from..).unwrap_or_default();
        let page: Vec<String> = rest.iter().take(PAGE_KEYS).cloned().collect();
        let next = (rest.len() > page.len()).then(|| (from + page.len()) as u64);
        Ok(StateGot::Keys(page, next))
    }

    /// What is recorded, as long as something is; then what is committed.
    async fn ask(&self, view: &mut View, ask: StateAsk) -> Result<StateSeen, Failed> {
        // By what was read before, and not by this: a rerun must be refused at the same place.
        if view.read_bytes >= READ_BYTES_A_CALL {
            let why = format!("{READ_BYTES_A_CALL} bytes read in one call");
            return Err(limit(why).into());
        }
        let replays = !view.to_replay.is_empty();
        let seen = match view.to_replay.iter().position(|r| r.seen.answers(&ask)) {
            Some(i) => view.to_replay.remove(i).seen,
            None if replays => {
                let what = named(&ask);
                let why = format!("{what} of the tool's state was not looked at before");
                return Err(Failed::Diverged(why));
            }
            None => match &self.journal {
                Some(journal) => {
                    let seen = journal.state(&self.tool, &ask).await;
                    seen.map_err(Failed::Journal)?
                }
                None => nothing(ask),
            },
        };
        view.read_bytes = view.read_bytes.saturating_add(size(&seen));
        if self.records && !replays {
            let read = StateRead {
                position: self.position,
                index: view.recorded,
                seen: seen.clone(),
            };
            view.recorded += 1;
            if let Some(journal) = &self.journal {
                journal.stage(Event::StateRead(read));
            }
        }
        Ok(seen)
    }
}

impl View {
    /// The keys with the run's own writes in it.
    fn with_own_writes(&self) -> Vec<String> {
        let committed = self.keys.iter().flatten();
        let mut keys: std::collections::BTreeSet<String> = committed.cloned().collect();
        for (key, value) in &self.written {
            match value {
                Some(_) => drop(keys.insert(key.clone())),
                None => drop(keys.remove(key)),
            }
        }
        keys.into_iter().collect()
    }

    /// Whether what the run has written is too much: for one call, or with what there is. A key that
    /// it has not looked at counts as new.
    fn check(&self) -> Result<(), StateRefused> {
        if self.written.len() > WRITES_A_CALL {
            return Err(limit(format!(
                "more than {WRITES_A_CALL} keys written in one call"
            )));
        }
        let size = |key: &str, value: &[u8]| key.len() + value.len();
        let (mut keys, mut bytes) = match self.room {
            Some((keys, bytes)) => (i64::from(keys), bytes as i64),
            None => return Ok(()),
        };
        let mut written = 0;
        for (key, value) in &self.written {
            if let Some(Some(old)) = self.values.get(key) {
                keys -= 1;
                bytes -= size(key, old) as i64;
            }
            if let Some(value) = value {
                keys += 1;
                bytes += size(key, value) as i64;
                written += size(key, value);
            }
        }
        if written > WRITTEN_BYTES_A_CALL {
            let why = format!("more than {WRITTEN_BYTES_A_CALL} bytes written in one call");
            return Err(limit(why));
        }
        if keys > i64::from(KEYS) {
            return Err(limit(format!("more than {KEYS} keys; delete some")));
        }
        if bytes > BYTES as i64 {
            return Err(limit(format!("more than {BYTES} bytes; delete some keys")));
        }
        Ok(())
    }
}

/// The state of a tool outside of a session: what a call has recorded, and nothing behind that. For
/// running it once more on its record.
pub struct StateRecord(StateView);

impl StateRecord {
    /// That of a call which may write.
    pub fn of(call: &CallState, at: Position) -> StateRecord {
        let tool = (at, call.call.tool.as_str());
        let rights = StateRights::Write;
        StateRecord(StateView::new(None, tool, rights, true, &call.state_reads))
    }

    /// Nothing, for a tool's export that only looks.
    pub fn empty(tool: &str, at: Position) -> StateRecord {
        StateRecord(StateView::new(
            None,
            (at, tool),
            StateRights::Look,
            false,
            &[],
        ))
    }

    /// Does what the guest asks for. An error: the call did not look at this.
    pub async fn perform(&self, op: StateOp) -> Result<Result<StateGot, StateRefused>, String> {
        match self.0.perform(op).await {
            Ok(got) => Ok(Ok(got)),
            Err(Failed::Refused(refused)) => Ok(Err(refused)),
            Err(Failed::Diverged(what)) => Err(what),
            Err(Failed::Journal(error)) => Ok(Err(StateRefused::Stopped(error.to_string()))),
        }
    }
}

/// The answer where nothing is kept.
fn nothing(ask: StateAsk) -> StateSeen {
    match ask {
        StateAsk::Value(key) => StateSeen::Value { key, value: None },
        StateAsk::Keys => StateSeen::Keys { keys: Vec::new() },
        StateAsk::Room => StateSeen::Room { keys: 0, bytes: 0 },
    }
}

fn check_key(key: &str) -> Result<(), StateRefused> {
    match key.len() {
        1..=KEY_BYTES => Ok(()),
        n => Err(limit(format!("a key of {n} bytes; 1 to {KEY_BYTES}"))),
    }
}

fn named(ask: &StateAsk) -> String {
    match ask {
        StateAsk::Value(key) => format!("key `{key}`"),
        StateAsk::Keys => "the list of keys".into(),
        StateAsk::Room => "the size".into(),
    }
}

fn size(seen: &StateSeen) -> usize {
    match seen {
        StateSeen::Value { key, value } => key.len() + value.as_ref().map_or(0, |v| v.0.len()),
        StateSeen::Keys { keys } => keys.iter().map(String::len).sum(),
        StateSeen::Room { .. } => 0,
    }
}
